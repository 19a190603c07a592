//! Finds libfreenect2 and compiles the C face over it, with the feature `link` only.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    #[cfg(feature = "link")]
    link::run();
}

#[cfg(feature = "link")]
#[path = "src/layout.rs"]
mod layout;

#[cfg(feature = "link")]
mod link {
    use std::path::Path;
    use std::{env, fs};

    use crate::layout;

    pub(crate) fn run() {
        for file in ["shim/lf2.h", "shim/lf2.cpp", "src/layout.rs"] {
            println!("cargo:rerun-if-changed={file}");
        }
        // The metadata of cargo are printed by hand, after the C face: a static library precedes what it needs.
        let library =
            pkg_config::Config::new().atleast_version("0.2").cargo_metadata(false).probe("freenect2");
        let library = match library {
            Ok(library) => library,
            Err(error) => {
                let why = match error {
                    pkg_config::Error::Command { .. } => "pkg-config does not run: install it",
                    _ => {
                        "pkg-config knows no freenect2 of version 0.2 or later: install libfreenect2 and, unless it is \
                          in a standard place, add its lib/pkgconfig to PKG_CONFIG_PATH"
                    }
                };
                println!("cargo::error={why}; or build without the feature `libfreenect2`");
                return;
            }
        };
        let out = env::var("OUT_DIR").expect("cargo sets it");
        let pointer = env::var("CARGO_CFG_TARGET_POINTER_WIDTH").expect("cargo sets it");
        let pointer = pointer.parse::<usize>().expect("a number") / 8;
        fs::write(Path::new(&out).join("lf2_layout.h"), layout::assertions(pointer))
            .expect("OUT_DIR is writable");
        let mut build = cc::Build::new();
        build.cpp(true).std("c++11").include(&out).file("shim/lf2.cpp").warnings(true);
        for include in &library.include_paths {
            // Their warnings are not ours.
            build.flag(format!("-isystem{}", include.display()));
        }
        build.compile("depthcast_lf2");
        for path in &library.link_paths {
            println!("cargo:rustc-link-search=native={}", path.display());
        }
        for name in &library.libs {
            println!("cargo:rustc-link-lib={name}");
        }
        println!("cargo:rustc-env=LIBFREENECT2_VERSION={}", library.version);
    }
}
