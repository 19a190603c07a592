"""Licences and bill of materials of what a build of PROGRAM for TARGET links, from cargo's own account.

licences.py depthcast|depthcast-view TARGET FOLDER

Writes copyright (Debian's machine-readable form), THIRD-PARTY (every crate with the licence texts that it carries) and
sbom.cdx.json (CycloneDX 1.5). The same sources give the same bytes: no time, no path of this machine.
"""

import json
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
MANIFESTS = {"depthcast": "Cargo.toml", "depthcast-view": "viewer/Cargo.toml"}
# What is linked besides crates.
LIBRARIES = {
    "depthcast": "The GNU C library: LGPL-2.1-or-later; depthcast's sources and deploy/package are what it takes to link the\n"
                 "program anew with another version of it.",
    "depthcast-view": "The GNU C library and the libraries of X11 or Wayland are those of the system, found when the program starts.",
}


def linked(program, target):
    """The packages that the program is linked from, and the root: normal dependencies, no build or test ones."""
    command = ["cargo", "metadata", "--format-version=1", "--locked", "--filter-platform", target,
               "--manifest-path", MANIFESTS[program]]
    data = json.loads(subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE).stdout)
    packages = {package["id"]: package for package in data["packages"]}
    nodes = {node["id"]: node for node in data["resolve"]["nodes"]}
    root = data["resolve"]["root"]
    found, waiting = {}, [root]
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        normal = [d["pkg"] for d in nodes[name]["deps"] if any(kind["kind"] is None for kind in d["dep_kinds"])]
        # A macro runs in the compiler: nothing of it, nor of what it uses, is in the program.
        macro = any("proc-macro" in t["kind"] for t in packages[name]["targets"])
        found[name] = [] if macro else sorted(normal)
        waiting.extend(found[name])
        if macro:
            packages[name]["macro"] = True
    order = sorted((n for n in found if not packages[n].get("macro")), key=lambda n: (packages[n]["name"], packages[n]["version"]))
    return packages, {n: [d for d in found[n] if not packages[d].get("macro")] for n in order}, root


def texts(package):
    """The licence files that a crate carries."""
    folder = pathlib.Path(package["manifest_path"]).parent
    files = [f for f in folder.iterdir() if f.is_file() and f.name.upper().startswith(("LICENSE", "LICENCE", "COPYING", "UNLICENSE"))]
    return [(f.name, f.read_text(errors="replace").strip()) for f in sorted(files)]


def url(package):
    """The package's name by the purl specification."""
    return f"pkg:cargo/{package['name']}@{package['version']}"


def main(program, target, folder):
    packages, tree, root = linked(program, target)
    outside = [packages[n] for n in tree if packages[n]["source"]]
    missing = [p["name"] for p in outside if not p["license"]]
    if missing:
        sys.exit(f"no licence is stated by {', '.join(missing)}")

    seen, out = {}, [f"What {program} is linked from besides its own sources, and on what terms.", ""]
    out += [f"{p['name']} {p['version']}: {p['license']}" for p in outside]
    out += ["", "The Rust standard library: MIT OR Apache-2.0.", LIBRARIES[program], ""]
    for package in outside:
        for name, text in texts(package):
            seen.setdefault(text, []).append(f"{package['name']} {package['version']} ({name})")
    for text, users in seen.items():
        out += ["=" * 80, ", ".join(users), "=" * 80, text, ""]
    (folder / "THIRD-PARTY").write_text("\n".join(out))

    def component(package, kind):
        return {"type": kind, "bom-ref": url(package), "name": package["name"], "version": package["version"],
                "licenses": [{"expression": package["license"].replace("/", " OR ")}], "purl": url(package)}

    bom = {
        "bomFormat": "CycloneDX", "specVersion": "1.5", "version": 1,
        "metadata": {"component": component(packages[root], "application"), "properties": [{"name": "target", "value": target}]},
        "components": [component(packages[n], "library") for n in tree if n != root],
        "dependencies": [{"ref": url(packages[n]), "dependsOn": [url(packages[d]) for d in tree[n]]} for n in tree],
    }
    (folder / "sbom.cdx.json").write_text(json.dumps(bom, indent=1) + "\n")

    mit = (ROOT / "LICENSE-MIT").read_text().strip()
    holder = next((line for line in mit.splitlines() if line.startswith("Copyright")), "Copyright: the depthcast developers")
    indented = "\n".join(f" {line}" if line.strip() else " ." for line in mit.splitlines())
    (folder / "copyright").write_text(
        "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n"
        f"Upstream-Name: depthcast\nSource: {packages[root]['repository']}\n"
        "Comment: The crates that it is linked from, with their licences, are in THIRD-PARTY.\n\n"
        f"Files: *\nCopyright: {holder.removeprefix('Copyright').strip(' (c)')}\nLicense: MIT or Apache-2.0\n\n"
        f"License: MIT\n{indented}\n\n"
        "License: Apache-2.0\n On Debian systems, the full text is in /usr/share/common-licenses/Apache-2.0.\n")
    print(f"{len(outside)} crates, {len(seen)} licence texts")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], pathlib.Path(sys.argv[3]))
