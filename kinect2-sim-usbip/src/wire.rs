//! What goes over a USB/IP connection, as bytes: parsed from a buffer that may end anywhere, emitted into one.
//!
//! Layouts: Documentation/usb/usbip_protocol.rst of the kernel, and where it is silent drivers/usb/usbip/usbip_common.c.
//! All integers are big-endian, but for the eight bytes of a control request.

use kinect2::protocol::PAGE_MAX;

/// `USBIP_VERSION`: 1.1.1.
pub(crate) const VERSION: u16 = 0x0111;
/// `USB_SPEED_SUPER`.
pub(crate) const SPEED_SUPER: u32 = 5;
/// `USB_SPEED_HIGH`.
pub(crate) const SPEED_HIGH: u32 = 3;

/// Most bytes of one transfer: the largest page that a sensor can be asked for.
pub(crate) const TRANSFER_MAX: usize = PAGE_MAX;
/// Most packets of one isochronous transfer, as in the kernel's usbfs.
pub(crate) const PACKETS_MAX: usize = 128;
/// Bytes of what stands in front of every command and reply.
pub(crate) const HEAD_BYTES: usize = 48;
/// Bytes that describe one isochronous packet.
pub(crate) const PACKET_BYTES: usize = 16;
/// Most bytes of one message; what a connection has to keep until it is whole.
pub(crate) const MESSAGE_MAX: usize = HEAD_BYTES + TRANSFER_MAX + PACKETS_MAX * PACKET_BYTES;

/// Bytes of a bus id, as sent.
const BUS_ID_BYTES: usize = 32;
const PATH_BYTES: usize = 256;

const OP_REQ_IMPORT: u16 = 0x8003;
const OP_REP_IMPORT: u16 = 0x0003;
const OP_REQ_DEVLIST: u16 = 0x8005;
const OP_REP_DEVLIST: u16 = 0x0005;

const CMD_SUBMIT: u32 = 1;
const CMD_UNLINK: u32 = 2;
const RET_SUBMIT: u32 = 3;
const RET_UNLINK: u32 = 4;

const DIRECTION_IN: u32 = 1;
/// What stands for "not isochronous"; older kernels send 0.
const NO_PACKETS: u32 = 0xFFFF_FFFF;

/// Errors of Linux as a reply carries them, negative.
pub(crate) mod errno {
    /// A command that was unlinked: `ECONNRESET`.
    pub(crate) const CONNRESET: i32 = -104;
}

/// Why a connection is given up. Nothing of the message that broke the rule was acted on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Violation {
    /// Another version of the protocol.
    Version(u16),
    /// An operation that a server does not know.
    Operation(u16),
    /// A command that a server does not know.
    Command(u32),
    /// An endpoint number above 15, or a direction that is none.
    Endpoint,
    /// A transfer longer than [`TRANSFER_MAX`].
    TransferTooLong(u32),
    /// More packets than [`PACKETS_MAX`], or none where there must be some.
    Packets(u32),
    /// A packet outside its transfer, or packets that overlap or leave gaps.
    PacketLayout,
    /// A sequence number that is still in use.
    Sequence(u32),
    /// More transfers or bytes in flight than a session may have.
    TooMuchInFlight,
}

impl std::fmt::Display for Violation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Violation::Version(v) => write!(f, "version {v:#06x} instead of {VERSION:#06x}"),
            Violation::Operation(code) => write!(f, "unknown operation {code:#06x}"),
            Violation::Command(code) => write!(f, "unknown command {code}"),
            Violation::Endpoint => f.write_str("no such endpoint or direction"),
            Violation::TransferTooLong(length) => write!(f, "a transfer of {length} bytes"),
            Violation::Packets(count) => write!(f, "a transfer of {count} packets"),
            Violation::PacketLayout => f.write_str("packets that do not fit their transfer"),
            Violation::Sequence(number) => write!(f, "sequence number {number} is still in use"),
            Violation::TooMuchInFlight => f.write_str("too much in flight"),
        }
    }
}

/// What a client may ask before it has a device.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Operation<'a> {
    /// Which devices are there?
    List,
    /// This one, please: the bus id without the zeros behind it.
    Import(&'a [u8]),
}

/// A transfer as it was asked for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Submit<'a> {
    /// Names it in the reply.
    pub(crate) sequence: u32,
    /// Endpoint address, bit 7 set for IN.
    pub(crate) endpoint: u8,
    /// Bytes asked for, or sent; at most [`TRANSFER_MAX`].
    pub(crate) length: usize,
    /// First frame, of meaning only to the sender.
    pub(crate) start_frame: u32,
    /// The request, on endpoint 0.
    pub(crate) setup: [u8; 8],
    /// What is to be sent, for OUT; empty for IN.
    pub(crate) data: &'a [u8],
    /// The descriptors of isochronous packets, [`PACKET_BYTES`] each; empty if it is another kind of transfer.
    packets: &'a [u8],
}

impl<'a> Submit<'a> {
    /// Lengths of the isochronous packets, which lie one behind the other.
    pub(crate) fn packet_lengths(&self) -> impl ExactSizeIterator<Item = usize> + 'a {
        self.packets.chunks_exact(PACKET_BYTES).map(|packet| word(packet, 4) as usize)
    }
}

/// What a client may ask of its device.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Command<'a> {
    /// A transfer.
    Submit(Submit<'a>),
    /// Take back the transfer `victim`.
    Unlink {
        /// Names this command in the reply.
        sequence: u32,
        /// The transfer's sequence number.
        victim: u32,
    },
}

/// A parsed message and how many bytes it took; `None` if it is not whole yet.
type Parsed<T> = Result<Option<(T, usize)>, Violation>;

/// Takes one operation from the front of `bytes`.
pub(crate) fn operation(bytes: &[u8]) -> Parsed<Operation<'_>> {
    let Some(head) = bytes.get(..8) else { return Ok(None) };
    let version = half(head, 0);
    if version != VERSION {
        return Err(Violation::Version(version));
    }
    match half(head, 2) {
        OP_REQ_DEVLIST => Ok(Some((Operation::List, 8))),
        OP_REQ_IMPORT => {
            let Some(id) = bytes.get(8..8 + BUS_ID_BYTES) else { return Ok(None) };
            let end = id.iter().position(|byte| *byte == 0).unwrap_or(BUS_ID_BYTES);
            Ok(Some((Operation::Import(&id[..end]), 8 + BUS_ID_BYTES)))
        }
        other => Err(Violation::Operation(other)),
    }
}

/// Takes one command from the front of `bytes`. `isochronous` says of an endpoint address whether it is that.
///
/// Never asks for more than [`MESSAGE_MAX`] bytes; a head that would is refused at once.
pub(crate) fn command(bytes: &[u8], isochronous: impl Fn(u8) -> bool) -> Parsed<Command<'_>> {
    let Some(head) = bytes.get(..HEAD_BYTES) else { return Ok(None) };
    let sequence = word(head, 4);
    match word(head, 0) {
        CMD_UNLINK => Ok(Some((Command::Unlink { sequence, victim: word(head, 20) }, HEAD_BYTES))),
        CMD_SUBMIT => {
            let (direction, number) = (word(head, 12), word(head, 16));
            let number =
                u8::try_from(number).ok().filter(|number| *number < 16).ok_or(Violation::Endpoint)?;
            if direction > DIRECTION_IN {
                return Err(Violation::Endpoint);
            }
            let inward = direction == DIRECTION_IN;
            let endpoint = number | if inward { 0x80 } else { 0 };
            let length = word(head, 24) as usize;
            if length > TRANSFER_MAX {
                return Err(Violation::TransferTooLong(word(head, 24)));
            }
            let count = match word(head, 32) {
                NO_PACKETS => 0,
                count => count,
            };
            if isochronous(endpoint) != (count > 0) || count as usize > PACKETS_MAX {
                return Err(Violation::Packets(count));
            }
            let data = HEAD_BYTES..HEAD_BYTES + if inward { 0 } else { length };
            let packets = data.end..data.end + count as usize * PACKET_BYTES;
            let end = packets.end;
            let Some(message) = bytes.get(..end) else { return Ok(None) };
            let mut setup = [0; 8];
            setup.copy_from_slice(&head[40..48]);
            let submit = Submit {
                sequence,
                endpoint,
                length,
                start_frame: word(head, 28),
                setup,
                data: &message[data],
                packets: &message[packets],
            };
            let mut at = 0;
            for packet in submit.packets.chunks_exact(PACKET_BYTES) {
                // The kernel puts them one behind the other, and the model does too.
                if word(packet, 0) as usize != at || word(packet, 4) as usize > length - at {
                    return Err(Violation::PacketLayout);
                }
                at += word(packet, 4) as usize;
            }
            Ok(Some((Command::Submit(submit), end)))
        }
        other => Err(Violation::Command(other)),
    }
}

/// Appends the answer to [`Operation::List`].
///
/// * `device`: the 18 bytes of its descriptor; `None` if there is none now.
/// * `interfaces`: class, subclass and protocol of each.
pub(crate) fn emit_list(out: &mut Vec<u8>, device: Option<&Description<'_>>) {
    put_operation(out, OP_REP_DEVLIST, true);
    put(out, u32::from(device.is_some()));
    if let Some(device) = device {
        put_device(out, device);
        for interface in device.interfaces {
            out.extend_from_slice(interface);
            out.push(0);
        }
    }
}

/// Appends the answer to [`Operation::Import`]; `None` refuses.
pub(crate) fn emit_import(out: &mut Vec<u8>, device: Option<&Description<'_>>) {
    put_operation(out, OP_REP_IMPORT, device.is_some());
    if let Some(device) = device {
        put_device(out, device);
    }
}

/// What a list says of a device.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Description<'a> {
    /// The name by which it is imported.
    pub(crate) bus_id: &'a str,
    /// Bus and device number; together the id that a client repeats in each command.
    pub(crate) number: (u32, u32),
    /// [`SPEED_SUPER`] or [`SPEED_HIGH`].
    pub(crate) speed: u32,
    /// Its descriptor.
    pub(crate) descriptor: [u8; 18],
    /// Class, subclass and protocol of each interface.
    pub(crate) interfaces: &'a [[u8; 3]],
}

/// Appends the reply to [`Command::Submit`].
///
/// * `status`: 0 or a negative error number.
/// * `data`: what came, for IN, without gaps; `sent`: bytes taken, for OUT.
/// * `packets`: offset and length as they were asked for, bytes that came, and status, of each isochronous packet.
pub(crate) fn emit_submitted(
    out: &mut Vec<u8>,
    sequence: u32,
    start_frame: u32,
    status: i32,
    reply: Reply<'_, impl Iterator<Item = PacketReply>>,
) {
    put_head(out, RET_SUBMIT, sequence);
    out.extend_from_slice(&status.to_be_bytes());
    let lengths_at = out.len();
    put(out, 0);
    put(out, start_frame);
    put(out, 0);
    put(out, 0);
    out.extend_from_slice(&[0; 8]);
    let (actual, count, errors) = match reply {
        Reply::Sent(bytes) => (bytes, 0, 0),
        Reply::Came(data) => {
            out.extend_from_slice(data);
            (data.len(), 0, 0)
        }
        Reply::Packets { buffer, packets, scratch } => {
            let data_at = out.len();
            // The descriptors come behind data whose length is not known yet: they are gathered aside.
            scratch.clear();
            let (mut offset, mut count, mut errors) = (0, 0, 0);
            for packet in packets {
                let came = &buffer[offset..offset + packet.actual];
                out.extend_from_slice(came);
                put(scratch, number(offset));
                put(scratch, number(packet.length));
                put(scratch, number(packet.actual));
                scratch.extend_from_slice(&packet.status.to_be_bytes());
                offset += packet.length;
                count += 1;
                errors += u32::from(packet.status != 0);
            }
            let actual = out.len() - data_at;
            out.extend_from_slice(scratch);
            (actual, count, errors)
        }
    };
    out[lengths_at..lengths_at + 4].copy_from_slice(&number(actual).to_be_bytes());
    out[lengths_at + 8..lengths_at + 12].copy_from_slice(&u32::to_be_bytes(count));
    out[lengths_at + 12..lengths_at + 16].copy_from_slice(&u32::to_be_bytes(errors));
}

/// What a transfer brought.
pub(crate) enum Reply<'a, P> {
    /// Bytes that were taken.
    Sent(usize),
    /// Bytes that came.
    Came(&'a [u8]),
    /// Isochronous packets.
    Packets {
        /// Room for every packet, one behind the other, as asked for.
        buffer: &'a [u8],
        /// What came of each. No more than its length, all lengths no more than `buffer`.
        packets: P,
        /// Scratch memory, kept from reply to reply.
        scratch: &'a mut Vec<u8>,
    },
}

/// What became of one isochronous packet.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct PacketReply {
    /// Bytes asked for.
    pub(crate) length: usize,
    /// Bytes that came.
    pub(crate) actual: usize,
    /// 0 or a negative error number.
    pub(crate) status: i32,
}

/// Appends the reply to [`Command::Unlink`]: [`errno::CONNRESET`] if the transfer was taken back, 0 if it had ended.
pub(crate) fn emit_unlinked(out: &mut Vec<u8>, sequence: u32, status: i32) {
    put_head(out, RET_UNLINK, sequence);
    out.extend_from_slice(&status.to_be_bytes());
    out.extend_from_slice(&[0; 24]);
}

fn put_operation(out: &mut Vec<u8>, code: u16, fine: bool) {
    out.extend_from_slice(&VERSION.to_be_bytes());
    out.extend_from_slice(&code.to_be_bytes());
    put(out, u32::from(!fine));
}

fn put_device(out: &mut Vec<u8>, device: &Description<'_>) {
    let d = &device.descriptor;
    put_text(out, &format!("/sys/devices/simulated/{}", device.bus_id), PATH_BYTES);
    put_text(out, device.bus_id, BUS_ID_BYTES);
    put(out, device.number.0);
    put(out, device.number.1);
    put(out, device.speed);
    // Vendor, product and release are little-endian in the descriptor.
    for at in [8, 10, 12] {
        out.extend_from_slice(&[d[at + 1], d[at]]);
    }
    out.extend_from_slice(&d[4..7]);
    out.push(0);
    out.push(d[17]);
    out.push(u8::try_from(device.interfaces.len()).unwrap_or(u8::MAX));
}

fn put_text(out: &mut Vec<u8>, text: &str, size: usize) {
    let end = out.len() + size;
    // The last byte stays zero.
    out.extend_from_slice(&text.as_bytes()[..text.len().min(size - 1)]);
    out.resize(end, 0);
}

fn put_head(out: &mut Vec<u8>, command: u32, sequence: u32) {
    put(out, command);
    put(out, sequence);
    // Device, direction and endpoint are of no meaning in a reply.
    out.extend_from_slice(&[0; 12]);
}

fn put(out: &mut Vec<u8>, word: u32) {
    out.extend_from_slice(&word.to_be_bytes());
}

fn number(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

fn half(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

#[cfg(test)]
mod tests;
