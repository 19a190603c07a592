//! Makes the representations of a frame in its ring slot, each when it is first wanted.
//!
//! This is the one place that knows the chain depth → index → PNG or JPEG → message; the stages themselves see slices only.

use crate::camera::{Camera, LocalClock, TextFacts, text_block};
use crate::colormap::{self, JET, Mapper, Range};
use crate::encode::{jpeg, metadata, png, rvl};
use crate::placeholder;
use crate::proto::pickle;
use crate::ring::{Capacities, Form, Picture, Slot};
use crate::source::{HEIGHT, PIXELS, Stamp, WIDTH};
use crate::view::View;

/// The stages and their scratch memory.
#[derive(Debug)]
pub struct Renderer {
    range: Range,
    mapper: Mapper,
    encoder: png::Encoder,
    camera: Camera,
    clock: LocalClock,
    view: View,
    jpeg: jpeg::Encoder,
    /// See [`greys`].
    greys: Box<[u8]>,
    made: [u64; Form::ALL.len()],
}

impl Renderer {
    /// Allocates everything that rendering needs.
    ///
    /// Of `view`, only the overlay is drawn here; the rest is for whoever fills the slots, see [`Renderer::view`].
    pub fn new(range: Range, camera: Camera, clock: LocalClock, view: View) -> Self {
        let encoder = png::Encoder::new(WIDTH, HEIGHT);
        let mapper = Mapper::new(range);
        let jpeg = jpeg::Encoder::new(jpeg::Settings::default(), (WIDTH, HEIGHT));
        Self { range, mapper, encoder, camera, clock, view, jpeg, greys: greys(), made: [0; Form::ALL.len()] }
    }

    /// The same with other settings for JPEG than the default.
    #[must_use]
    pub fn with_jpeg(self, jpeg: jpeg::Settings) -> Self {
        Self { jpeg: jpeg::Encoder::new(jpeg, (WIDTH, HEIGHT)), ..self }
    }

    /// Goes on with another range, camera and view; the counters go on rising.
    pub fn replace(&mut self, other: Renderer) {
        *self = Renderer { made: self.made, ..other };
    }

    /// What the ring's slots must hold.
    pub fn capacities() -> Capacities {
        let png = png::indexed_bound(WIDTH, HEIGHT);
        Capacities {
            png,
            jpeg: jpeg::bound(WIDTH, HEIGHT, metadata::METADATA_MAX),
            protocol0: pickle::message_bound(pickle::Style::Protocol0, png),
            compact: pickle::message_bound(pickle::Style::Compact, png),
            depth_png: png::depth_bound(WIDTH, HEIGHT),
            rvl: rvl::bound(PIXELS),
        }
    }

    /// The depths at the ends of the palette.
    pub fn range(&self) -> Range {
        self.range
    }

    /// Who and where the camera is.
    pub fn camera(&self) -> &Camera {
        &self.camera
    }

    /// How the picture is turned and what is hidden from it: [`View::apply`] it to depth before a slot is published.
    pub fn view(&self) -> &View {
        &self.view
    }

    /// How JPEGs are made.
    pub fn jpeg(&self) -> jpeg::Settings {
        self.jpeg.settings()
    }

    /// How often each [`Form`] was made since the start.
    pub fn made(&self) -> [u64; Form::ALL.len()] {
        self.made
    }

    /// Makes `form` of what the slot holds, and what it is made of, unless that is there already.
    ///
    /// `fps` is the frame rate that the text block states. Never allocates.
    ///
    /// # Panics
    /// If the depth of a placeholder is wanted: it has none, and the caller answers that without a picture. The same of
    /// infrared where [`Renderer::take_infrared`] has not been: [`Form::needs`] says so before.
    pub fn make(&mut self, slot: &mut Slot, form: Form, fps: u32) {
        if slot.bytes(form).is_some() {
            return;
        }
        self.made[form as usize] += 1;
        match form {
            Form::Index => {
                assert_eq!(slot.picture, Picture::Depth, "a placeholder is drawn when it is published");
                let Slot { depth, index, stamp, measured, .. } = slot;
                index.make(|out| {
                    *measured = Some(self.mapper.map(depth, out));
                    if self.view.has_overlay() {
                        self.view.overlay(out, stamp.seq, &self.dashes(stamp.captured.wall_us));
                    }
                    out.len()
                });
            }
            Form::Png => {
                self.make(slot, Form::Index, fps);
                let (palette, text) = (palette(slot.picture), self.metadata(slot, false));
                let Slot { index, png, .. } = slot;
                let index = index.bytes().expect("made above");
                png.make(|out| self.encoder.indexed(index, palette, &text, out));
            }
            Form::Jpeg => {
                self.make(slot, Form::Index, fps);
                let (palette, text) = (palette(slot.picture), self.metadata(slot, false));
                let Slot { index, jpeg, .. } = slot;
                let index = index.bytes().expect("made above");
                jpeg.make(|out| self.jpeg.encode(index, palette, text.as_bytes(), out));
            }
            Form::Protocol0 => self.message(slot, pickle::Style::Protocol0, fps),
            Form::Compact => self.message(slot, pickle::Style::Compact, fps),
            Form::DepthPng => {
                assert_eq!(slot.picture, Picture::Depth, "a placeholder has no depth");
                let text = self.metadata(slot, false);
                let Slot { depth, depth_png, .. } = slot;
                depth_png.make(|out| self.encoder.depth(depth, &text, out));
            }
            Form::Rvl => {
                assert_eq!(slot.picture, Picture::Depth, "a placeholder has no depth");
                let Slot { depth, rvl, .. } = slot;
                rvl.make(|out| rvl::encode(depth, WIDTH, out));
            }
            Form::Raw => {
                assert_eq!(slot.picture, Picture::Depth, "a placeholder has no depth");
                let Slot { depth, raw, .. } = slot;
                // A copy that a little-endian processor would not need: made once a frame, and only if wanted.
                raw.make(|out| {
                    for (bytes, mm) in out.chunks_exact_mut(2).zip(depth.iter()) {
                        bytes.copy_from_slice(&mm.to_le_bytes());
                    }
                    out.len()
                });
            }
            Form::Infrared => unreachable!("it is there from the start or never: see `take_infrared`"),
            Form::InfraredPng => {
                let text = self.metadata(slot, true);
                let Slot { infrared, infrared_png, .. } = slot;
                let infrared = infrared.bytes().expect(INFRARED_NEEDED);
                infrared_png.make(|out| self.encoder.grey(infrared, &text, out));
            }
            Form::InfraredJpeg => {
                let text = self.metadata(slot, true);
                let Slot { infrared, infrared_jpeg, .. } = slot;
                let infrared = infrared.bytes().expect(INFRARED_NEEDED);
                infrared_jpeg.make(|out| self.jpeg.encode(infrared, &GREY, text.as_bytes(), out));
            }
        }
    }

    /// Writes the infrared picture of the frame that a slot is being filled with: [`Form::Infrared`].
    ///
    /// * `infrared`: as [`Feed::infrared`](crate::source::Feed::infrared) gives it and [`View::apply_infrared`] left it.
    ///
    /// [`INFRARED_WHITE`] and all above are white; what is below is light as it came back, written as screens expect it (sRGB,
    /// IEC 61966-2-1). Nothing is stretched: equal surfaces look equal from frame to frame. Never allocates.
    pub fn take_infrared(&mut self, slot: &mut Slot, infrared: &[u16], stamp: Stamp) {
        self.made[Form::Infrared as usize] += 1;
        slot.infrared.make(|out| {
            for (grey, ir) in out.iter_mut().zip(infrared) {
                *grey = self.greys[usize::from((*ir).min(INFRARED_WHITE))];
            }
            if self.view.has_overlay() {
                self.view.overlay(out, stamp.seq, &self.dashes(stamp.captured.wall_us));
            }
            out.len()
        });
    }

    /// Draws the placeholder into a slot that is being filled.
    ///
    /// * `reason`: why there is no picture.
    /// * `wall_us`: what its clock shows, microseconds since 1970.
    pub fn draw_placeholder(&self, slot: &mut Slot, reason: &str, wall_us: i64) {
        let clock = self.dashes(wall_us);
        slot.index.make(|out| {
            placeholder::draw(out, reason, &clock, &self.camera.name);
            out.len()
        });
    }

    /// What a picture says about itself.
    ///
    /// * `infrared`: whether it shows brightness instead of depth.
    fn metadata(&self, slot: &mut Slot, infrared: bool) -> heapless::String<{ metadata::METADATA_MAX }> {
        let Slot { depth, measured, .. } = slot;
        let valid = match slot.picture {
            // Mapping has counted; a 16-bit PNG may be wanted without a picture in colours.
            Picture::Depth => Some((*measured.get_or_insert_with(|| colormap::measured(depth)), depth.len())),
            Picture::Placeholder => None,
        };
        let metadata = metadata::Metadata {
            seq: slot.stamp.seq,
            captured_us: slot.stamp.captured.wall_us,
            range_mm: (!infrared).then(|| (self.range.min_mm(), self.range.max_mm())),
            valid,
            uid: &self.camera.uid,
            name: &self.camera.name,
        };
        metadata.text()
    }

    /// Local time as people read it.
    fn dashes(&self, wall_us: i64) -> heapless::String<32> {
        use core::fmt::Write;
        let mut clock = heapless::String::new();
        // Nineteen characters by the docs of `dashes`; were it longer, a cut clock is better than none.
        let _ = write!(clock, "{}", self.clock.civil(wall_us).dashes());
        clock
    }

    fn message(&mut self, slot: &mut Slot, style: pickle::Style, fps: u32) {
        self.make(slot, Form::Png, fps);
        let captured = self.clock.civil(slot.stamp.captured.wall_us);
        let text = text_block(&TextFacts {
            camera: &self.camera,
            width: WIDTH,
            height: HEIGHT,
            fps,
            start: captured,
            end: captured,
            event_id: 0,
        });
        let Slot { png, protocol0, compact, .. } = slot;
        let png = png.bytes().expect("made above");
        let made = match style {
            pickle::Style::Protocol0 => protocol0,
            pickle::Style::Compact => compact,
        };
        made.make(|out| pickle::message(style, &text, png, out));
    }
}

/// The brightness from which on infrared is white, of at most 65,535: that of libfreenect2's own viewer (`examples/viewer.cpp`
/// divides by it). A light wall has it at one and a half metres.
pub const INFRARED_WHITE: u16 = 4500;

/// The grey of each brightness up to [`INFRARED_WHITE`].
fn greys() -> Box<[u8]> {
    let grey = |ir: u16| {
        let light = f32::from(ir) / f32::from(INFRARED_WHITE);
        let screen = if light <= 0.003_130_8 { 12.92 * light } else { 1.055 * light.powf(1.0 / 2.4) - 0.055 };
        // Within 0 to 255, as light is within 0 to 1.
        (255.0 * screen).round() as u8
    };
    (0..=INFRARED_WHITE).map(grey).collect()
}

const INFRARED_NEEDED: &str = "infrared is asked of frames that have it";

/// Palette of infrared pictures: 256 greys.
static GREY: [u8; 768] = {
    let mut palette = [0; 768];
    let mut i = 0;
    while i < palette.len() {
        palette[i] = (i / 3) as u8;
        i += 1;
    }
    palette
};

fn palette(picture: Picture) -> &'static [u8; 768] {
    match picture {
        Picture::Depth => &JET,
        Picture::Placeholder => &placeholder::PALETTE,
    }
}
