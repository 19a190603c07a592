//! Descriptors as bytes.
//!
//! Identity, interfaces and endpoints are those of the real sensor, and so are bcdDevice, the string indices, the 144 mA
//! and the packets of the depth endpoint (3 x 11 x 1,024 bytes in each 125 µs). Made up, because no program looks at
//! them: bursts of the bulk endpoints, the interrupt endpoint's size, the exit latencies, the units of the audio function.
//!
//! Layouts: USB 3.0, chapter 9; USB Device Class Definition for Audio Devices 1.0, chapter 4; and its Data Formats.

use kinect2::protocol::{
    COLOR_IN, COMMAND_OUT, CONFIGURATION, CONTROL_INTERFACE, DEPTH_IN, DEPTH_INTERFACE, PACKET_BYTES,
    PRODUCTS, REPLY_IN, VENDOR,
};

/// Interrupt IN of interface 0, that no driver known uses.
pub(super) const INTERRUPT_IN: u8 = 0x82;
/// Isochronous IN of the microphones. Described, but no data come.
pub(super) const AUDIO_IN: u8 = 0x85;
/// Interface with the audio's controls, without an endpoint.
pub(super) const AUDIO_CONTROL: u8 = 2;
/// Interface with the audio's stream: alternate setting 0 is idle, 1 streams.
pub(super) const AUDIO_STREAM: u8 = 3;

pub(super) const MANUFACTURER: u8 = 1;
pub(super) const PRODUCT: u8 = 2;
pub(super) const SERIAL: u8 = 4;

pub(super) const DEVICE: u8 = 1;
pub(super) const CONFIG: u8 = 2;
pub(super) const STRING: u8 = 3;
pub(super) const BOS: u8 = 15;
const INTERFACE: u8 = 4;
const ENDPOINT: u8 = 5;
const ASSOCIATION: u8 = 11;
const CAPABILITY: u8 = 16;
const CLASS_INTERFACE: u8 = 0x24;
const CLASS_ENDPOINT: u8 = 0x25;
const COMPANION: u8 = 0x30;

const VENDOR_CLASS: u8 = 0xFF;
const AUDIO_CLASS: u8 = 1;

const ISOCHRONOUS: u8 = 1;
const BULK: u8 = 2;
const INTERRUPT: u8 = 3;
/// Synchronisation of an isochronous endpoint: asynchronous.
const ASYNCHRONOUS: u8 = 1 << 2;

/// Bytes of a packet in a burst.
const SUPER_PACKET: u16 = 1024;
/// `bMaxBurst` and Mult of the depth endpoint, each one less than what it stands for.
const DEPTH_BURST: u8 = 10;
const DEPTH_MULT: u8 = 2;
const _: () =
    assert!((DEPTH_BURST as usize + 1) * (DEPTH_MULT as usize + 1) * SUPER_PACKET as usize == PACKET_BYTES);
/// 1 ms of 16 kHz, four channels, 32 bits, and a sample more for when the clocks differ.
const AUDIO_PACKET: u16 = 16 * 16 + 16;

/// The device descriptor.
pub(super) fn device(usb2: bool) -> [u8; 18] {
    let (usb, packet) = if usb2 { (0x0210_u16, 64) } else { (0x0300, 9) };
    let [usb_low, usb_high] = usb.to_le_bytes();
    let [vendor_low, vendor_high] = VENDOR.to_le_bytes();
    let [product_low, product_high] = PRODUCTS[0].to_le_bytes();
    // A class that says "see the interface associations"; bcdDevice 1.00; one configuration.
    [
        18,
        DEVICE,
        usb_low,
        usb_high,
        0xEF,
        2,
        1,
        packet,
        vendor_low,
        vendor_high,
        product_low,
        product_high,
        0x00,
        0x01,
        MANUFACTURER,
        PRODUCT,
        SERIAL,
        1,
    ]
}

/// The configuration descriptor with all that belongs to it.
pub(super) fn config(usb2: bool, audio: bool) -> Vec<u8> {
    let mut config = Config { bytes: Vec::with_capacity(320), usb2 };
    // Bus-powered. In USB 3 the unit of current is 8 mA, before it was 2 mA.
    let power = if usb2 { 72 } else { 18 };
    config.bytes.extend([9, CONFIG, 0, 0, if audio { 4 } else { 2 }, CONFIGURATION, 0, 0x80, power]);
    config.association(CONTROL_INTERFACE, VENDOR_CLASS, 0);
    config.interface(CONTROL_INTERFACE, 0, 4, [VENDOR_CLASS, 0, 0]);
    for endpoint in [COMMAND_OUT, REPLY_IN] {
        config.bulk(endpoint, 0);
    }
    config.endpoint(&[7, ENDPOINT, INTERRUPT_IN, INTERRUPT, 64, 0, 4], [0, 0], 64);
    config.bulk(COLOR_IN, 15);
    config.interface(DEPTH_INTERFACE, 0, 0, [VENDOR_CLASS, 0, 0]);
    config.interface(DEPTH_INTERFACE, 1, 1, [VENDOR_CLASS, 0, 0]);
    // Three transactions of 1,024 bytes in each microframe are the most that USB 2 has.
    let [low, high] = if usb2 { SUPER_PACKET | 2 << 11 } else { SUPER_PACKET }.to_le_bytes();
    config.endpoint(
        &[7, ENDPOINT, DEPTH_IN, ISOCHRONOUS | ASYNCHRONOUS, low, high, 1],
        [DEPTH_BURST, DEPTH_MULT],
        u16::try_from(PACKET_BYTES).expect("it is 33,792"),
    );
    if audio {
        config.audio();
    }
    let [low, high] = u16::try_from(config.bytes.len()).expect("some 300 bytes").to_le_bytes();
    (config.bytes[2], config.bytes[3]) = (low, high);
    config.bytes
}

/// The binary device object store: link power management for USB 2, and that the sensor is worth nothing below 5 Gbit/s.
pub(super) fn bos() -> Vec<u8> {
    [
        &[5, BOS, 22, 0, 2][..],
        &[7, CAPABILITY, 2, 0x02, 0, 0, 0],
        // Speeds: high and super; all functions from super on; exit latencies of 10 µs and 2,047 µs at most.
        &[10, CAPABILITY, 3, 0, 0x0C, 0, 3, 10, 0xFF, 0x07],
    ]
    .concat()
}

struct Config {
    bytes: Vec<u8>,
    usb2: bool,
}

impl Config {
    /// Two interfaces that are one function.
    fn association(&mut self, first: u8, class: u8, sub_class: u8) {
        self.bytes.extend([8, ASSOCIATION, first, 2, class, sub_class, 0, 0]);
    }

    fn interface(&mut self, number: u8, alternate: u8, endpoints: u8, [class, sub_class, protocol]: [u8; 3]) {
        self.bytes.extend([9, INTERFACE, number, alternate, endpoints, class, sub_class, protocol, 0]);
    }

    fn bulk(&mut self, address: u8, burst: u8) {
        let [low, high] = if self.usb2 { 512 } else { SUPER_PACKET }.to_le_bytes();
        self.endpoint(&[7, ENDPOINT, address, BULK, low, high, 0], [burst, 0], 0);
    }

    /// An endpoint and, on a SuperSpeed link, its companion: burst, attributes, bytes in each interval.
    fn endpoint(&mut self, descriptor: &[u8], [burst, attributes]: [u8; 2], bytes: u16) {
        self.bytes.extend(descriptor);
        if !self.usb2 {
            let [low, high] = bytes.to_le_bytes();
            self.bytes.extend([6, COMPANION, burst, attributes, low, high]);
        }
    }

    /// Four microphones at 16 kHz, as little as a driver needs to see them.
    fn audio(&mut self) {
        const MICROPHONES: u8 = 1;
        const STREAMING: u8 = 2;
        self.association(AUDIO_CONTROL, AUDIO_CLASS, 0);
        self.interface(AUDIO_CONTROL, 0, 0, [AUDIO_CLASS, 1, 0]);
        // Header, microphone array (0x0205) of four channels, and its way to the bus (0x0101).
        self.bytes.extend([9, CLASS_INTERFACE, 1, 0x00, 0x01, 30, 0, 1, AUDIO_STREAM]);
        self.bytes.extend([12, CLASS_INTERFACE, 2, MICROPHONES, 0x05, 0x02, 0, 4, 0, 0, 0, 0]);
        self.bytes.extend([9, CLASS_INTERFACE, 3, STREAMING, 0x01, 0x01, 0, MICROPHONES, 0]);
        self.interface(AUDIO_STREAM, 0, 0, [AUDIO_CLASS, 2, 0]);
        self.interface(AUDIO_STREAM, 1, 1, [AUDIO_CLASS, 2, 0]);
        // PCM; four channels of four bytes, 32 bits, at 16,000 Hz and nothing else.
        self.bytes.extend([7, CLASS_INTERFACE, 1, STREAMING, 1, 0x01, 0x00]);
        self.bytes.extend([11, CLASS_INTERFACE, 2, 1, 4, 4, 32, 1, 0x80, 0x3E, 0x00]);
        let [low, high] = AUDIO_PACKET.to_le_bytes();
        let attributes = ISOCHRONOUS | ASYNCHRONOUS;
        self.endpoint(&[9, ENDPOINT, AUDIO_IN, attributes, low, high, 4, 0, 0], [0, 0], AUDIO_PACKET);
        self.bytes.extend([7, CLASS_ENDPOINT, 1, 0, 0, 0, 0]);
    }
}
