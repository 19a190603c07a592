//! What viewers need to know before they can make sense of depth, as JSON.

use std::fmt::{self, Write};

use kinect2::depth::Intrinsics;

use crate::camera::Camera;
use crate::colormap::JET;
use crate::metrics::Json;
use crate::render::Renderer;
use crate::source::{Feed, HEIGHT, WIDTH};
use crate::view::View;

/// Writes the body of `/config.json`: resolution, range, palette, lens, and who and where the camera is.
///
/// The lens is that of the picture as it is served, turned. Its numbers are OpenCV's `fx fy cx cy k1 k2 p1 p2 k3`, in pixels
/// whose centres are whole numbers; `null` while they are not known.
///
/// # Errors
/// When `out` is full.
pub(super) fn write_config(out: &mut impl Write, renderer: &Renderer, feed: &Feed) -> fmt::Result {
    let (fps, infrared) = (feed.fps(), feed.has_infrared());
    let range = renderer.range();
    write!(out, r#"{{"width":{WIDTH},"height":{HEIGHT},"unit":"mm","invalid":0,"fps":{fps},"#)?;
    write!(out, r#""infrared":{infrared},"intrinsics":"#)?;
    match feed.intrinsics() {
        None => out.write_str("null,")?,
        Some(lens) => {
            let Intrinsics { fx, fy, cx, cy, k1, k2, k3, p1, p2 } = turned(lens, renderer.view());
            write!(out, r#"{{"fx":{fx},"fy":{fy},"cx":{cx},"cy":{cy},"k1":{k1},"k2":{k2},"#)?;
            write!(out, r#""p1":{p1},"p2":{p2},"k3":{k3}}},"#)?;
        }
    }
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

/// A lens whose pictures are turned.
fn turned(lens: Intrinsics, view: &View) -> Intrinsics {
    let (cx, cy) = view.intrinsics(lens.cx, lens.cy);
    let (mirror_x, mirror_y) = view.mirrors();
    // Each tangential term is odd along one axis: see `View::intrinsics`.
    let p1 = if mirror_y { -lens.p1 } else { lens.p1 };
    let p2 = if mirror_x { -lens.p2 } else { lens.p2 };
    Intrinsics { cx, cy, p1, p2, ..lens }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::demo;
    use crate::view::{Flip, Spec};
    use proptest::prelude::*;

    fn pixel(lens: Intrinsics, x: f64, y: f64) -> [f64; 2] {
        let Intrinsics { fx, fy, cx, cy, k1, k2, k3, p1, p2 } = lens;
        let [fx, fy, cx, cy, k1, k2, k3, p1, p2] = [fx, fy, cx, cy, k1, k2, k3, p1, p2].map(f64::from);
        demo::Intrinsics { fx, fy, cx, cy, k1, k2, k3, p1, p2 }.pixel(x, y)
    }

    proptest! {
        /// A point in a mirrored world, seen through the turned lens, is at the mirrored pixel.
        #[test]
        fn the_lens_is_that_of_the_turned_picture(
            x in -0.6f64..0.6, y in -0.5f64..0.5, p1 in -0.02f32..0.02, p2 in -0.02f32..0.02,
            rotate_180 in any::<bool>(), axis in 0..3,
        ) {
            let flip = [Flip::None, Flip::X, Flip::Y][axis as usize];
            let view = View::new(&Spec { rotate_180, flip, ..Spec::default() });
            let lens = Intrinsics { p1, p2, ..demo::INTRINSICS.single() };
            let (mirror_x, mirror_y) = view.mirrors();
            let seen = pixel(lens, x, y);
            let wanted = [
                if mirror_x { 511.0 - seen[0] } else { seen[0] },
                if mirror_y { 423.0 - seen[1] } else { seen[1] },
            ];
            let (x, y) = (if mirror_x { -x } else { x }, if mirror_y { -y } else { y });
            let through = pixel(turned(lens, &view), x, y);
            prop_assert!((through[0] - wanted[0]).abs() < 1e-3 && (through[1] - wanted[1]).abs() < 1e-3, "{through:?} {wanted:?}");
        }
    }
}
