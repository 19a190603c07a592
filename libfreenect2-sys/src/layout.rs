//! Where the fields of the shared structures are: the one statement, checked by both compilers.
//!
//! Offsets are `bytes + pointers x size of a pointer`, so that they hold for every machine.

/// A structure: its name in C, its fields with bytes and pointers before them, and those of the whole.
pub(crate) struct Layout {
    pub(crate) name: &'static str,
    pub(crate) fields: &'static [(&'static str, usize, usize)],
    pub(crate) size: (usize, usize),
}

pub(crate) const LAYOUTS: [Layout; 3] = [
    Layout {
        name: "lf2_frame",
        fields: &[
            ("type", 0, 0),
            ("format", 4, 0),
            ("width", 8, 0),
            ("height", 12, 0),
            ("timestamp", 16, 0),
            ("sequence", 20, 0),
            ("status", 24, 0),
            ("reserved", 28, 0),
            ("data", 32, 0),
            ("length", 32, 1),
        ],
        size: (32, 2),
    },
    Layout {
        name: "lf2_settings",
        fields: &[("min_depth_m", 0, 0), ("max_depth_m", 4, 0), ("bilateral", 8, 0), ("edge", 12, 0)],
        size: (16, 0),
    },
    Layout {
        name: "lf2_lens",
        fields: &[
            ("fx", 0, 0),
            ("fy", 4, 0),
            ("cx", 8, 0),
            ("cy", 12, 0),
            ("k1", 16, 0),
            ("k2", 20, 0),
            ("k3", 24, 0),
            ("p1", 28, 0),
            ("p2", 32, 0),
        ],
        size: (36, 0),
    },
];

/// The same for the C++ compiler.
///
/// * `pointer`: bytes of a pointer on the machine that is compiled for.
#[allow(dead_code, reason = "the build script's part")]
pub(crate) fn assertions(pointer: usize) -> String {
    let mut text = String::from("// Written by build.rs from src/layout.rs.\n");
    for Layout { name, fields, size } in &LAYOUTS {
        for (field, bytes, pointers) in *fields {
            let at = bytes + pointers * pointer;
            text += &format!("static_assert(offsetof({name}, {field}) == {at}, \"{name}.{field}\");\n");
        }
        let size = size.0 + size.1 * pointer;
        text += &format!("static_assert(sizeof({name}) == {size}, \"{name}\");\n");
    }
    text
}
