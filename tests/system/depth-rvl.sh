#!/usr/bin/env bash
# /depth.rvl beside two other implementations: the package `rvl` writes the same bits (of depths up to 32,767, beyond which it
# takes them for negative), and the crate `re_rvl` reads the same depth. The crate stays outside the workspace: a program of a few
# lines is made for it here.
. "$(dirname "$0")/lib.sh"
venv rvl
frames=$OUT/rvl
"$PYTHON" -W error "$ROOT/tests/system/depth_rvl.py" "$frames"

reader=$OUT/re_rvl
mkdir -p "$reader/src"
# The newest that this toolchain builds.
version=$(rustc --version | sed 's/^rustc \([0-9]*\.[0-9]*\).*/\1/')
cat >"$reader/Cargo.toml" <<TOML
[package]
name = "reader"
version = "0.0.0"
edition = "2024"
rust-version = "$version"
publish = false

[dependencies]
re_rvl = ">=0.30, <1"

[workspace]
TOML
cat >"$reader/src/main.rs" <<'RUST'
use std::{env, fs, path::PathBuf};

fn main() {
    let folder = PathBuf::from(env::args().nth(1).expect("a folder"));
    let mut same = 0;
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.extension().is_none_or(|e| e != "rvl") {
            continue;
        }
        let bytes = fs::read(&path).expect("readable");
        let raw = fs::read(path.with_extension("raw")).expect("readable");
        let head = re_rvl::RosRvlMetadata::parse(&bytes).expect("a head");
        let depth = re_rvl::decode_rvl_with_quantization(&bytes, &head).expect("depth");
        let wanted = raw.chunks_exact(2).map(|b| f32::from(u16::from_le_bytes([b[0], b[1]])));
        assert!(depth.iter().copied().eq(wanted), "{} reads differently", path.display());
        same += 1;
    }
    println!("{same}");
}
RUST
again cargo build --quiet --manifest-path "$reader/Cargo.toml" --target-dir "$reader/target" || die 're_rvl does not build'
read_by=$("$reader/target/debug/reader" "$frames")
[ "$read_by" -ge 12 ] || die "only $read_by frames were read"
say "re_rvl $(sed -n '/^name = "re_rvl"/{n;s/version = "\(.*\)"/\1/p}' "$reader/Cargo.lock") reads all $read_by frames as they were"
