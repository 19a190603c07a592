//! What viewers need to know before they can make sense of depth, as JSON.

use std::fmt::{self, Write};

use crate::camera::Camera;
use crate::colormap::JET;
use crate::metrics::Json;
use crate::render::Renderer;
use crate::source::{HEIGHT, WIDTH};

/// Writes the body of `/config.json`: resolution, range, palette, and who and where the camera is.
///
/// * `fps`: frames a second asked for, 0 for on demand.
///
/// # Errors
/// When `out` is full.
pub(super) fn write_config(out: &mut impl Write, renderer: &Renderer, fps: u32) -> fmt::Result {
    let range = renderer.range();
    write!(out, r#"{{"width":{WIDTH},"height":{HEIGHT},"unit":"mm","invalid":0,"fps":{fps},"#)?;
    write!(out, r#""range":{{"min_mm":{},"max_mm":{}}},"#, range.min_mm(), range.max_mm())?;
    // Each colour as it is written in a style sheet, without the number sign.
    out.write_str(r#""palette":{"name":"jet","rgb":""#)?;
    for byte in JET {
        write!(out, "{byte:02x}")?;
    }
    let Camera { uid, name, kind, location } = renderer.camera();
    write!(out, r#""}},"camera":{{"uid":"{}","name":"{}","#, Json(uid), Json(name))?;
    write!(out, r#""type":"{}","location":"{}"}}}}"#, Json(kind), Json(location))
}
