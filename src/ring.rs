//! Stage 4: the preallocated ring of frames.
//!
//! Eight slots that never move are handed around by index. The source fills one, the loop publishes it, viewers
//! pin it while its bytes are on their way, and it is free again when the last of them lets go:
//!
//! ```text
//!          acquire            publish               pin
//!   Free ----------> Filling ---------> Ready(0) <-------> Ready(n)
//!    ^                  |                  |      release
//!    +---- abandon -----+                  |
//!    +------ no longer newest, no pins ----+
//! ```
//!
//! Each representation of a frame ([`Form`]) is made in the slot's own buffer at most once, on first demand, and
//! shared by everybody who pins the slot. Buffers are sized for their worst case, but a page is touched only when
//! something is written there, so the worst case costs address space, not memory.
//!
//! # Scarcity
//! The newest frame always finds a slot, and only those who hold everybody up pay. When one free slot is left, a
//! viewer that becomes ready shares the newest frame that others already hold, if it has not had that one. When
//! none is left, [`Ring::acquire`] names the oldest slot, and the loop closes the viewers on it.

use memmap2::MmapMut;

use crate::limits::RING_SLOTS;
use crate::source::{PIXELS, Stamp};

/// What a slot shows.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Picture {
    /// Depth from the source: `depth` holds it.
    #[default]
    Depth,
    /// The "no signal" picture: `index` holds it, `depth` means nothing.
    Placeholder,
}

/// One representation of a frame: "representation" in documents, `format` in metrics and requests.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Form {
    /// Palette indices, one byte a pixel.
    Index,
    /// Indexed PNG.
    Png,
    /// JPEG.
    Jpeg,
    /// Whole message of the Python protocol: header, text and a protocol-0 pickle of the PNG.
    Protocol0,
    /// The same with the short pickle.
    Compact,
    /// 16-bit grey PNG of the depth.
    DepthPng,
    /// The depth as RVL, in ROS' compressedDepth layout.
    Rvl,
    /// The depth as it is, little-endian.
    Raw,
    /// Infrared as grey, one byte a pixel; only of frames that were captured with it.
    Infrared,
    /// The same as a PNG.
    InfraredPng,
    /// The same as a JPEG.
    InfraredJpeg,
}

impl Form {
    /// All of them, each at its own number.
    pub const ALL: [Form; 11] = [
        Form::Index,
        Form::Png,
        Form::Jpeg,
        Form::Protocol0,
        Form::Compact,
        Form::DepthPng,
        Form::Rvl,
        Form::Raw,
        Form::Infrared,
        Form::InfraredPng,
        Form::InfraredJpeg,
    ];

    /// Whether it is depth: what a placeholder has none of.
    pub fn is_depth(self) -> bool {
        matches!(self, Form::DepthPng | Form::Rvl | Form::Raw)
    }

    /// The form that has to be there already when the frame is published; `None` if it can be made later.
    pub fn needs(self) -> Option<Form> {
        matches!(self, Form::Infrared | Form::InfraredPng | Form::InfraredJpeg).then_some(Form::Infrared)
    }

    /// What of a placeholder stands for it: one picture says that there is none.
    pub fn of_placeholder(self) -> Form {
        match self {
            Form::InfraredPng => Form::Png,
            Form::InfraredJpeg => Form::Jpeg,
            other => other,
        }
    }

    /// Its name in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Form::Index => "index",
            Form::Png => "png",
            Form::Jpeg => "jpeg",
            Form::Protocol0 => "pickle0",
            Form::Compact => "pickle_compact",
            Form::DepthPng => "depth_png",
            Form::Rvl => "rvl",
            Form::Raw => "raw",
            Form::Infrared => "infrared",
            Form::InfraredPng => "infrared_png",
            Form::InfraredJpeg => "infrared_jpeg",
        }
    }
}

/// The buffer of one representation, and whether it has been made.
#[derive(Debug)]
pub struct Made {
    buffer: MmapMut,
    len: usize,
    /// False until the bytes belong to the frame that the slot now holds.
    ready: bool,
}

impl Made {
    fn with_capacity(bytes: usize) -> Self {
        // From the kernel itself, so that nothing is resident yet: an allocator that has been given memory back may take
        // room from there, and has to write zeros to all of it.
        let buffer = MmapMut::map_anon(bytes).expect("address space for the ring");
        Self { buffer, len: 0, ready: false }
    }

    /// The bytes, once made.
    pub fn bytes(&self) -> Option<&[u8]> {
        self.ready.then(|| &self.buffer[..self.len])
    }

    /// Lets `write` fill the buffer and keeps the length it returns.
    ///
    /// # Panics
    /// If it was made already (each representation is made at most once a frame) or `write` claims more than the
    /// buffer; both are bugs of the caller.
    pub fn make(&mut self, write: impl FnOnce(&mut [u8]) -> usize) {
        assert!(!self.ready, "a representation is made at most once a frame");
        let len = write(&mut self.buffer);
        assert!(len <= self.buffer.len(), "a representation is as long as its buffer at most");
        self.len = len;
        self.ready = true;
    }
}

/// The memory of one frame.
#[derive(Debug)]
pub struct Slot {
    serial: u64,
    /// When the frame was captured, and its sequence number.
    pub stamp: Stamp,
    /// What the slot shows.
    pub picture: Picture,
    /// Millimetres, row-major, 424 rows of 512; 0 means no return.
    pub depth: Box<[u16]>,
    /// Pixels of `depth` that are not 0, once somebody has counted them.
    pub measured: Option<usize>,
    /// [`Form::Index`].
    pub index: Made,
    /// [`Form::Png`].
    pub png: Made,
    /// [`Form::Jpeg`].
    pub jpeg: Made,
    /// [`Form::Protocol0`].
    pub protocol0: Made,
    /// [`Form::Compact`].
    pub compact: Made,
    /// [`Form::DepthPng`].
    pub depth_png: Made,
    /// [`Form::Rvl`].
    pub rvl: Made,
    /// [`Form::Raw`].
    pub raw: Made,
    /// [`Form::Infrared`].
    pub infrared: Made,
    /// [`Form::InfraredPng`].
    pub infrared_png: Made,
    /// [`Form::InfraredJpeg`].
    pub infrared_jpeg: Made,
}

/// Bytes that the worst case of each encoded representation needs.
#[derive(Clone, Copy, Debug)]
pub struct Capacities {
    /// For [`Form::Png`].
    pub png: usize,
    /// For [`Form::Jpeg`].
    pub jpeg: usize,
    /// For [`Form::Protocol0`].
    pub protocol0: usize,
    /// For [`Form::Compact`].
    pub compact: usize,
    /// For [`Form::DepthPng`].
    pub depth_png: usize,
    /// For [`Form::Rvl`].
    pub rvl: usize,
}

impl Slot {
    fn new(capacities: Capacities) -> Self {
        Self {
            serial: 0,
            stamp: Stamp::default(),
            picture: Picture::Depth,
            depth: vec![0; PIXELS].into_boxed_slice(),
            measured: None,
            index: Made::with_capacity(PIXELS),
            png: Made::with_capacity(capacities.png),
            jpeg: Made::with_capacity(capacities.jpeg),
            protocol0: Made::with_capacity(capacities.protocol0),
            compact: Made::with_capacity(capacities.compact),
            depth_png: Made::with_capacity(capacities.depth_png),
            rvl: Made::with_capacity(capacities.rvl),
            raw: Made::with_capacity(2 * PIXELS),
            infrared: Made::with_capacity(PIXELS),
            infrared_png: Made::with_capacity(capacities.png),
            infrared_jpeg: Made::with_capacity(capacities.jpeg),
        }
    }

    /// Publication number: rises by one with everything published, placeholders included.
    pub fn serial(&self) -> u64 {
        self.serial
    }

    /// The bytes of one representation, if it has been made.
    pub fn bytes(&self, form: Form) -> Option<&[u8]> {
        self.made(form).bytes()
    }

    fn made(&self, form: Form) -> &Made {
        match form {
            Form::Index => &self.index,
            Form::Png => &self.png,
            Form::Jpeg => &self.jpeg,
            Form::Protocol0 => &self.protocol0,
            Form::Compact => &self.compact,
            Form::DepthPng => &self.depth_png,
            Form::Rvl => &self.rvl,
            Form::Raw => &self.raw,
            Form::Infrared => &self.infrared,
            Form::InfraredPng => &self.infrared_png,
            Form::InfraredJpeg => &self.infrared_jpeg,
        }
    }

    fn clear(&mut self) {
        let Self { index, png, jpeg, protocol0, compact, depth_png, rvl, raw, .. } = self;
        let Self { infrared, infrared_png, infrared_jpeg, .. } = self;
        let of_infrared = [infrared, infrared_png, infrared_jpeg];
        for made in [index, png, jpeg, protocol0, compact, depth_png, rvl, raw].into_iter().chain(of_infrared)
        {
            made.ready = false;
        }
        self.measured = None;
    }

    /// Bytes of address space one slot takes.
    fn mapped_bytes(&self) -> usize {
        self.depth.len() * 2 + Form::ALL.iter().map(|&form| self.made(form).buffer.len()).sum::<usize>()
    }
}

/// The right to fill one slot; ends in [`Ring::publish`] or [`Ring::abandon`].
#[derive(Debug, Eq, PartialEq)]
#[must_use = "a slot that is neither published nor abandoned is lost"]
pub struct Filling(u8);

/// The promise that one published slot stays as it is; ends in [`Ring::release`].
#[derive(Debug, Eq, PartialEq)]
#[must_use = "a slot that is never released is lost"]
pub struct Pin(u8);

impl Pin {
    /// Whether this pin holds the slot that [`Full`] named.
    pub fn holds(&self, full: Full) -> bool {
        self.0 == full.oldest
    }
}

/// No slot is free: whoever pins the oldest one must let go.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Full {
    oldest: u8,
}

/// The ring itself.
#[derive(Debug)]
pub struct Ring {
    slots: Box<[Slot]>,
    states: [State; RING_SLOTS],
    newest: Option<u8>,
    serial: u64,
}

impl Ring {
    /// Allocates all slots.
    pub fn new(capacities: Capacities) -> Self {
        Self {
            slots: (0..RING_SLOTS).map(|_| Slot::new(capacities)).collect(),
            states: [State::Free; RING_SLOTS],
            newest: None,
            serial: 0,
        }
    }

    /// Bytes of address space all slots take, touched or not.
    pub fn mapped_bytes(&self) -> usize {
        self.slots.iter().map(Slot::mapped_bytes).sum()
    }

    /// Takes a free slot to fill.
    ///
    /// # Errors
    /// [`Full`] when viewers pin all others; release those on the oldest and ask again.
    pub fn acquire(&mut self) -> Result<Filling, Full> {
        let Some(free) = self.states.iter().position(|s| *s == State::Free) else {
            let oldest = self.ready().filter(|&i| Some(i) != self.newest).min_by_key(|&i| self.serial_of(i));
            return Err(Full {
                oldest: oldest.expect("with all slots taken, one older than the newest is pinned"),
            });
        };
        self.states[free] = State::Filling;
        self.slots[free].clear();
        self.check_invariants();
        Ok(Filling(slot_number(free)))
    }

    /// The slot being filled.
    pub fn filling(&mut self, filling: &Filling) -> &mut Slot {
        &mut self.slots[usize::from(filling.0)]
    }

    /// Makes a filled slot the newest frame and returns its serial number, which is above all before it.
    pub fn publish(&mut self, filling: Filling, stamp: Stamp, picture: Picture) -> u64 {
        let n = usize::from(filling.0);
        self.serial += 1;
        let slot = &mut self.slots[n];
        slot.serial = self.serial;
        slot.stamp = stamp;
        slot.picture = picture;
        self.states[n] = State::Ready { pins: 0 };
        if let Some(old) = self.newest.replace(filling.0) {
            self.free_if_unused(old);
        }
        self.check_invariants();
        self.serial
    }

    /// Gives a slot back unfilled (a torn frame).
    pub fn abandon(&mut self, filling: Filling) {
        self.states[usize::from(filling.0)] = State::Free;
        self.check_invariants();
    }

    /// The newest frame, if anything was published yet.
    pub fn newest(&self) -> Option<&Slot> {
        self.newest.map(|n| &self.slots[usize::from(n)])
    }

    /// Pins the newest frame whose serial number is above `had`, or as "Scarcity" in the module's docs says.
    pub fn pin(&mut self, had: u64) -> Option<Pin> {
        let newest = self.newest.filter(|&n| self.serial_of(n) > had)?;
        let mut chosen = newest;
        if self.pins(newest) == 0 && self.free() <= 1 {
            let shared = self.ready().filter(|&i| self.pins(i) > 0 && self.serial_of(i) > had);
            chosen = shared.max_by_key(|&i| self.serial_of(i)).unwrap_or(newest);
        }
        if let State::Ready { pins } = &mut self.states[usize::from(chosen)] {
            *pins += 1;
        }
        self.check_invariants();
        Some(Pin(chosen))
    }

    /// The slot behind a pin.
    pub fn slot(&self, pin: &Pin) -> &Slot {
        &self.slots[usize::from(pin.0)]
    }

    /// The same, to have a representation made.
    pub fn slot_mut(&mut self, pin: &Pin) -> &mut Slot {
        &mut self.slots[usize::from(pin.0)]
    }

    /// Lets go of a slot.
    pub fn release(&mut self, pin: Pin) {
        if let State::Ready { pins } = &mut self.states[usize::from(pin.0)] {
            *pins -= 1;
        }
        self.free_if_unused(pin.0);
        self.check_invariants();
    }

    /// Slots that can be filled at once.
    pub fn free(&self) -> usize {
        self.states.iter().filter(|s| **s == State::Free).count()
    }

    fn free_if_unused(&mut self, n: u8) {
        if Some(n) != self.newest && self.states[usize::from(n)] == (State::Ready { pins: 0 }) {
            self.states[usize::from(n)] = State::Free;
        }
    }

    fn ready(&self) -> impl Iterator<Item = u8> {
        let ready = |(i, s): (usize, &State)| matches!(s, State::Ready { .. }).then(|| slot_number(i));
        self.states.iter().enumerate().filter_map(ready)
    }

    fn pins(&self, n: u8) -> u16 {
        match self.states[usize::from(n)] {
            State::Ready { pins } => pins,
            State::Free | State::Filling => 0,
        }
    }

    fn serial_of(&self, n: u8) -> u64 {
        self.slots[usize::from(n)].serial
    }

    /// Only debug builds pay for this.
    fn check_invariants(&self) {
        if !cfg!(debug_assertions) {
            return;
        }
        for n in self.ready() {
            let kept = Some(n) == self.newest || self.pins(n) > 0;
            assert!(kept, "slot {n} is neither newest nor pinned, yet not free");
            assert!(self.serial_of(n) <= self.serial, "slot {n} is from the future");
        }
        if let Some(n) = self.newest {
            assert!(
                matches!(self.states[usize::from(n)], State::Ready { .. }),
                "the newest slot is not ready"
            );
            assert_eq!(self.serial_of(n), self.serial, "the newest slot is not the last published");
        }
    }
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
    Free,
    Filling,
    Ready { pins: u16 },
}

fn slot_number(i: usize) -> u8 {
    u8::try_from(i).expect("there are eight slots")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn small() -> Ring {
        Ring::new(Capacities { png: 16, jpeg: 16, protocol0: 16, compact: 16, depth_png: 16, rvl: 16 })
    }

    fn publish(ring: &mut Ring) -> u64 {
        let filling = ring.acquire().expect("a free slot");
        ring.publish(filling, Stamp::default(), Picture::Depth)
    }

    #[test]
    fn forms_stand_at_their_numbers() {
        for (n, form) in Form::ALL.into_iter().enumerate() {
            assert_eq!(form as usize, n, "{form:?}");
        }
    }

    #[test]
    fn nothing_to_pin_before_the_first_frame() {
        let mut ring = small();
        assert_eq!(ring.pin(0), None);
        assert!(ring.newest().is_none());
    }

    #[test]
    fn a_viewer_gets_each_frame_once_and_always_the_newest() {
        let mut ring = small();
        publish(&mut ring);
        let pin = ring.pin(0).expect("the first frame");
        let had = ring.slot(&pin).serial();
        ring.release(pin);
        assert_eq!(ring.pin(had), None, "the same frame twice");
        publish(&mut ring);
        publish(&mut ring);
        let pin = ring.pin(had).expect("a newer frame");
        assert_eq!(ring.slot(&pin).serial(), 3, "the frame between is skipped, not queued");
        ring.release(pin);
    }

    #[test]
    fn representations_belong_to_one_frame() {
        let mut ring = small();
        publish(&mut ring);
        let pin = ring.pin(0).expect("a frame");
        assert_eq!(ring.slot(&pin).bytes(Form::Png), None);
        ring.slot_mut(&pin).png.make(|buffer| {
            buffer[..3].copy_from_slice(b"one");
            3
        });
        assert_eq!(ring.slot(&pin).bytes(Form::Png), Some(&b"one"[..]));
        ring.release(pin);
        for _ in 0..RING_SLOTS {
            publish(&mut ring);
            assert_eq!(ring.newest().expect("published").bytes(Form::Png), None, "bytes of another frame");
        }
    }

    #[test]
    fn a_pinned_slot_is_never_filled_again() {
        let mut ring = small();
        publish(&mut ring);
        let pin = ring.pin(0).expect("a frame");
        for _ in 0..100 {
            publish(&mut ring);
            assert_eq!(ring.slot(&pin).serial(), 1);
        }
        ring.release(pin);
    }

    #[test]
    fn torn_frames_leave_the_newest_alone() {
        let mut ring = small();
        publish(&mut ring);
        let filling = ring.acquire().expect("a free slot");
        ring.filling(&filling).depth[0] = 9;
        ring.abandon(filling);
        assert_eq!(ring.newest().expect("published").serial(), 1);
        assert_eq!(ring.free(), RING_SLOTS - 1);
    }

    #[test]
    fn with_one_free_slot_viewers_share_what_is_held_already() {
        let mut ring = small();
        let mut held = Vec::new();
        for _ in 0..6 {
            let had = publish(&mut ring) - 1;
            held.push(ring.pin(had).expect("a frame"));
        }
        publish(&mut ring);
        assert_eq!(ring.free(), 1);
        let late = ring.pin(3).expect("a frame newer than 3");
        assert_eq!(ring.slot(&late).serial(), 6, "the newest that is pinned already, not 7");
        let fast = ring.pin(6).expect("a frame newer than 6");
        assert_eq!(ring.slot(&fast).serial(), 7, "one who has had all shared ones is not held up");
        for pin in held.into_iter().chain([late, fast]) {
            ring.release(pin);
        }
    }

    #[test]
    fn with_no_free_slot_the_oldest_must_go() {
        let mut ring = small();
        let mut held = Vec::new();
        for _ in 0..RING_SLOTS {
            let had = publish(&mut ring) - 1;
            held.push(ring.pin(had).expect("a frame"));
        }
        let full = ring.acquire().expect_err("all slots are pinned");
        let at = held.iter().position(|p| p.holds(full)).expect("somebody holds it");
        assert_eq!(ring.slot(&held[at]).serial(), 1, "the oldest");
        ring.release(held.remove(at));
        let filling = ring.acquire().expect("one is free now");
        ring.abandon(filling);
        for pin in held {
            ring.release(pin);
        }
    }

    #[derive(Clone, Debug)]
    enum Op {
        Publish,
        Abandon,
        Pin(u64),
        Release(usize),
    }

    fn op() -> impl Strategy<Value = Op> {
        prop_oneof![
            3 => Just(Op::Publish),
            1 => Just(Op::Abandon),
            4 => (0u64..6).prop_map(Op::Pin),
            3 => (0usize..64).prop_map(Op::Release),
        ]
    }

    proptest! {
        /// Whatever viewers do, a pinned slot keeps its frame, nobody gets what they have had, and a slot can be
        /// had again by releasing those on the one named.
        #[test]
        fn invariants_hold(ops in prop::collection::vec(op(), 1..200)) {
            let mut ring = small();
            let mut held: Vec<(Pin, u64)> = Vec::new();
            let mut published = 0u64;
            for op in ops {
                match op {
                    Op::Publish | Op::Abandon => {
                        let filling = loop {
                            match ring.acquire() {
                                Ok(filling) => break filling,
                                Err(full) => {
                                    let on: Vec<_> = held.extract_if(.., |(p, _)| p.holds(full)).collect();
                                    prop_assert!(!on.is_empty(), "a slot nobody holds was named");
                                    let oldest = on[0].1;
                                    prop_assert!(held.iter().all(|(_, s)| *s > oldest), "not the oldest");
                                    on.into_iter().for_each(|(p, _)| ring.release(p));
                                }
                            }
                        };
                        if matches!(op, Op::Publish) {
                            published += 1;
                            prop_assert_eq!(ring.publish(filling, Stamp::default(), Picture::Depth), published);
                        } else {
                            ring.abandon(filling);
                        }
                    }
                    Op::Pin(back) => {
                        let had = published.saturating_sub(back);
                        let pin = ring.pin(had);
                        prop_assert_eq!(pin.is_some(), published > had);
                        if let Some(pin) = pin {
                            let serial = ring.slot(&pin).serial();
                            prop_assert!(serial > had && serial <= published);
                            held.push((pin, serial));
                        }
                    }
                    Op::Release(n) if !held.is_empty() => {
                        let (pin, serial) = held.swap_remove(n % held.len());
                        prop_assert_eq!(ring.slot(&pin).serial(), serial);
                        ring.release(pin);
                    }
                    Op::Release(_) => {}
                }
                for (pin, serial) in &held {
                    prop_assert_eq!(ring.slot(pin).serial(), *serial, "a pinned slot was overwritten");
                }
            }
        }
    }
}
