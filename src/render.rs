//! Makes the representations of a frame in its ring slot, each when it is first wanted.
//!
//! This is the one place that knows the chain depth → index → PNG or JPEG → message; the stages themselves see slices only.

use crate::camera::{Camera, LocalClock, TextFacts, text_block};
use crate::colormap::{self, JET, Range, Table};
use crate::encode::{jpeg, metadata, png, rvl};
use crate::placeholder;
use crate::proto::pickle;
use crate::ring::{Form, Picture, Room, Slot};
use crate::source::{HEIGHT, PIXELS, WIDTH};
use crate::view::View;

/// The stages and their scratch memory.
#[derive(Debug)]
pub struct Renderer {
    range: Range,
    table: Table,
    encoder: png::Encoder,
    camera: Camera,
    clock: LocalClock,
    view: View,
    jpeg: jpeg::Settings,
    made: Made,
}

/// How often each representation was made.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Made {
    /// Index images mapped from depth.
    pub index: u64,
    /// Indexed PNGs.
    pub png: u64,
    /// JPEGs.
    pub jpeg: u64,
    /// Messages of the Python protocol, of either form.
    pub message: u64,
    /// 16-bit PNGs of depth.
    pub depth_png: u64,
    /// RVL images of depth.
    pub rvl: u64,
    /// Depths in bytes.
    pub raw: u64,
}

impl Made {
    /// Each with its name in metrics.
    pub fn by_format(self) -> [(&'static str, u64); 7] {
        let Made { index, png, jpeg, message, depth_png, rvl, raw } = self;
        [
            ("index", index),
            ("png", png),
            ("jpeg", jpeg),
            ("message", message),
            ("depth_png", depth_png),
            ("rvl", rvl),
            ("raw", raw),
        ]
    }
}

impl Renderer {
    /// Allocates everything that rendering needs.
    ///
    /// Of `view`, only the overlay is drawn here; the rest is for whoever fills the slots, see [`Renderer::view`].
    pub fn new(range: Range, camera: Camera, clock: LocalClock, view: View) -> Self {
        let encoder = png::Encoder::new(WIDTH, HEIGHT);
        let table = Table::new(range);
        let jpeg = jpeg::Settings::default();
        Self { range, table, encoder, camera, clock, view, jpeg, made: Made::default() }
    }

    /// The same with other settings for JPEG than the default.
    #[must_use]
    pub fn with_jpeg(self, jpeg: jpeg::Settings) -> Self {
        Self { jpeg, ..self }
    }

    /// Goes on with another range, camera and view; the counters go on rising.
    pub fn replace(&mut self, other: Renderer) {
        *self = Renderer { made: self.made, ..other };
    }

    /// What the ring's slots must have room for.
    pub fn room() -> Room {
        let png = png::indexed_bound(WIDTH, HEIGHT);
        Room {
            png,
            jpeg: jpeg::bound(WIDTH, HEIGHT, metadata::METADATA_MAX),
            protocol0: pickle::message_bound(pickle::Form::Protocol0, png),
            compact: pickle::message_bound(pickle::Form::Compact, png),
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
        self.jpeg
    }

    /// How often each representation was made since the start.
    pub fn made(&self) -> Made {
        self.made
    }

    /// Makes `form` of what the slot holds, and what it is made of, unless that is there already.
    ///
    /// `fps` is the frame rate that the text block states. Allocates for JPEG, [`jpeg::ALLOCATIONS`] times; else never.
    ///
    /// # Panics
    /// If the depth of a placeholder is wanted: it has none, and the caller answers that without a picture.
    pub fn make(&mut self, slot: &mut Slot, form: Form, fps: u32) {
        if slot.bytes(form).is_some() {
            return;
        }
        match form {
            Form::Index => {
                assert_eq!(slot.picture, Picture::Depth, "a placeholder is drawn when it is published");
                self.made.index += 1;
                let Slot { depth, index, stamp, measured, .. } = slot;
                index.make(|out| {
                    *measured = Some(self.table.map(depth, out));
                    if self.view.has_overlay() {
                        self.view.overlay(out, stamp.seq, &self.dashes(stamp.captured.wall_us));
                    }
                    out.len()
                });
            }
            Form::Png => {
                self.make(slot, Form::Index, fps);
                self.made.png += 1;
                let (palette, text) = (palette(slot.picture), self.metadata(slot));
                let Slot { index, png, .. } = slot;
                let index = index.bytes().expect("made above");
                png.make(|out| self.encoder.indexed(index, palette, &text, out));
            }
            Form::Jpeg => {
                self.make(slot, Form::Index, fps);
                self.made.jpeg += 1;
                let (palette, text) = (palette(slot.picture), self.metadata(slot));
                let Slot { index, jpeg, .. } = slot;
                let index = index.bytes().expect("made above");
                let size = (WIDTH, HEIGHT);
                jpeg.make(|out| jpeg::encode(self.jpeg, size, index, palette, text.as_bytes(), out));
            }
            Form::Protocol0 => self.message(slot, pickle::Form::Protocol0, fps),
            Form::Compact => self.message(slot, pickle::Form::Compact, fps),
            Form::DepthPng => {
                assert_eq!(slot.picture, Picture::Depth, "a placeholder has no depth");
                self.made.depth_png += 1;
                let text = self.metadata(slot);
                let Slot { depth, depth_png, .. } = slot;
                depth_png.make(|out| self.encoder.depth(depth, &text, out));
            }
            Form::Rvl => {
                assert_eq!(slot.picture, Picture::Depth, "a placeholder has no depth");
                self.made.rvl += 1;
                let Slot { depth, rvl, .. } = slot;
                rvl.make(|out| rvl::encode(depth, WIDTH, out));
            }
            Form::Raw => {
                assert_eq!(slot.picture, Picture::Depth, "a placeholder has no depth");
                self.made.raw += 1;
                let Slot { depth, raw, .. } = slot;
                // A copy that a little-endian processor would not need: made once a frame, and only if wanted.
                raw.make(|out| {
                    for (bytes, mm) in out.chunks_exact_mut(2).zip(depth.iter()) {
                        bytes.copy_from_slice(&mm.to_le_bytes());
                    }
                    out.len()
                });
            }
        }
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
    fn metadata(&self, slot: &mut Slot) -> heapless::String<{ metadata::METADATA_MAX }> {
        let Slot { depth, measured, .. } = slot;
        let valid = match slot.picture {
            // Mapping has counted; a 16-bit PNG may be wanted without a picture in colours.
            Picture::Depth => Some((*measured.get_or_insert_with(|| colormap::measured(depth)), depth.len())),
            Picture::Placeholder => None,
        };
        let metadata = metadata::Metadata {
            seq: slot.stamp.seq,
            captured_us: slot.stamp.captured.wall_us,
            min_mm: self.range.min_mm(),
            max_mm: self.range.max_mm(),
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

    fn message(&mut self, slot: &mut Slot, form: pickle::Form, fps: u32) {
        self.make(slot, Form::Png, fps);
        self.made.message += 1;
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
        let made = match form {
            pickle::Form::Protocol0 => protocol0,
            pickle::Form::Compact => compact,
        };
        made.make(|out| pickle::message(form, &text, png, out));
    }
}

fn palette(picture: Picture) -> &'static [u8; 768] {
    match picture {
        Picture::Depth => &JET,
        Picture::Placeholder => &placeholder::PALETTE,
    }
}
