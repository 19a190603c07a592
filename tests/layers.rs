//! The order of the modules is a law: see the docs of the crate and of each stage.

use std::fs;
use std::path::{Path, PathBuf};

/// What each module may use of the crate. Whoever is not named may be used by nobody: `net_poll` and `config`.
const MAY_USE: &[(&str, &[&str])] = &[
    ("clock", &[]),
    ("limits", &[]),
    ("peer", &[]),
    ("access", &["peer"]),
    ("camera", &[]),
    ("text", &[]),
    ("source", &["clock"]),
    ("colormap", &[]),
    ("encode", &["colormap"]),
    ("ring", &["source"]),
    ("placeholder", &["source", "text"]),
    ("view", &["source", "text"]),
    ("proto", &["access", "camera", "encode"]),
    ("render", &["camera", "colormap", "encode", "placeholder", "proto", "ring", "source", "view"]),
    ("metrics", &["camera", "proto", "render", "ring", "source"]),
    ("service", &["source"]),
    (
        "net_poll",
        &[
            "access", "camera", "clock", "colormap", "metrics", "peer", "proto", "render", "ring", "service",
            "source", "view",
        ],
    ),
    ("files", &[]),
    ("convert", &["encode", "files", "source"]),
    ("waiter", &[]),
    ("record", &["clock", "encode", "files", "service", "source", "waiter"]),
    ("probe", &[]),
    ("acceptance", &["clock", "service", "source", "waiter"]),
    ("config", &["access", "camera", "colormap", "encode", "net_poll", "peer", "proto", "source", "view"]),
];

#[test]
fn modules_use_only_what_comes_before_them() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut seen = 0;
    for file in rust_files(&src) {
        let inside = file.strip_prefix(&src).expect("below src").to_string_lossy().into_owned();
        let module = inside.split(['/', '.']).next().expect("a name");
        if matches!(module, "main" | "lib") {
            continue;
        }
        let allowed = MAY_USE.iter().find(|(name, _)| *name == module);
        let (_, allowed) =
            allowed.unwrap_or_else(|| panic!("{inside}: say in tests/layers.rs what it may use"));
        let text = fs::read_to_string(&file).expect("readable");
        for part in non_test(&text).split("crate::").skip(1) {
            for used in names(part) {
                seen += 1;
                let fine = used == module || used == "limits" || allowed.contains(&used.as_str());
                assert!(
                    fine,
                    "{inside} uses crate::{used}: an arrow back, or one missing in tests/layers.rs"
                );
            }
        }
    }
    assert!(seen > 30, "the scan sees only {seen} uses: it looks in the wrong place");
}

#[test]
fn protocols_own_no_socket_no_clock_and_no_heap() {
    let proto = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/proto");
    for file in rust_files(&proto) {
        let text = fs::read_to_string(&file).expect("readable");
        for word in [
            "mio",
            "TcpStream",
            "UnixStream",
            "Instant",
            "SystemTime",
            "Vec<u8>",
            "String",
            "Box<",
            "format!",
        ] {
            let at = non_test(&text).find(word).filter(|_| word != "Vec<u8>" || text.contains("std::vec"));
            let heapless = non_test(&text).contains(&format!("heapless::{word}"));
            assert!(at.is_none() || heapless, "{}: {word} has no place in a protocol", file.display());
        }
    }
}

#[test]
fn unsafe_stays_behind_its_doors() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for file in ["src", "viewer/src"].iter().flat_map(|folder| rust_files(&root.join(folder))) {
        if DOORS.iter().any(|door| file.ends_with(door)) {
            continue;
        }
        let text = fs::read_to_string(&file).expect("readable");
        let lines = text.lines().filter(|l| !l.trim_start().starts_with("//"));
        assert!(!lines.clone().any(|l| l.contains("unsafe ") || l.contains("unsafe{")), "{}", file.display());
    }
}

/// Where `unsafe` may stand, each with the reason in its file.
const DOORS: &[&str] = &[
    "src/colormap/avx2.rs",
    "src/encode/deflate/avx2.rs",
    "src/encode/escape/avx2.rs",
    "src/encode/jpeg/avx2.rs",
    "src/encode/png/avx2.rs",
    "src/net_poll/kernel.rs",
    "src/source/libfreenect2.rs",
];

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            if path.file_name().is_some_and(|n| n == "tests") {
                continue;
            }
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|e| e == "rs")
            && path.file_name().is_some_and(|n| n != "tests.rs")
        {
            files.push(path);
        }
    }
    files
}

/// Tests may use what they like; they stand last in a file.
fn non_test(text: &str) -> &str {
    text.split("\n#[cfg(test)]\nmod tests").next().expect("the first part")
}

/// `a::b`, `{a, b::c}` → the module names at the front.
fn names(part: &str) -> Vec<String> {
    let name = |text: &str| text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    match part.strip_prefix('{') {
        None => vec![name(part)],
        Some(list) => list.split('}').next().expect("a list").split(',').map(|n| name(n.trim())).collect(),
    }
}
