//! The limits of the appliance, in one place: what may be used up, and how long anything may take. What a format or a
//! protocol bounds by itself stands with the code that keeps to it.
//!
//! Memory is decided at start from the first group; nothing grows beyond it. What a configuration may change has its
//! default here.

use std::time::Duration;

// Memory.

/// Slots in the ring: the newest frame, one being filled, and room for six frames on slow connections.
pub const RING_SLOTS: usize = 8;

/// Most places for viewers that can be configured; with the lobby they fit the 14 bits that a token has for them.
pub const VIEWERS_LIMIT: usize = 4096;

/// Places for viewers, unless configured.
pub const VIEWERS_DEFAULT: usize = 64;

/// Connections beside the viewers: those that have not spoken, and plain requests.
pub const LOBBY: usize = 32;

/// Replies a viewer may be owed; at this number reading pauses.
pub const OWED_MAX: u8 = 64;

/// Longest request head; a longer one is answered 431.
pub const REQUEST_HEAD_MAX: usize = 8192;

/// Most header fields in a request; more are answered 431.
pub const REQUEST_FIELDS_MAX: usize = 64;

/// Bytes of a decoded value in a query; a longer one is no word that is known.
pub const QUERY_VALUE_MAX: usize = 64;

/// Bytes of the names of header fields that a page of another origin may ask to send; of more it is allowed none.
pub const CORS_NAMES_MAX: usize = 112;

/// Longest response head, its extra fields included.
pub const RESPONSE_HEAD_MAX: usize = 1536;

/// Longest body that stands in a connection's own room, behind its head; longer ones are written elsewhere and lent to it.
pub const SHORT_ANSWER_MAX: usize = 512;

/// Long answers (`/state`, `/metrics`, the state for WebSockets) that may be on their way at once: one for each connection
/// of the lobby, and the newest state. One more is answered 503; a WebSocket waits.
pub const LONG_ANSWERS: usize = LOBBY + 1;

/// Bytes that a message of a WebSocket viewer may have, all its fragments together; a longer one is answered 1009.
pub const WS_MESSAGE_MAX: usize = 4096;

/// Fragments that it may have, empty ones too; more are answered 1008.
pub const WS_FRAGMENTS_MAX: usize = 64;

/// Bytes of a user and a password in Base64, decoded; a token has 32.
pub const CREDENTIALS_MAX: usize = 384;

/// Bytes of a log line; what is beyond is cut off.
pub const LOG_LINE_MAX: usize = 512;

/// Bytes of the status line that systemd shows; what is beyond is left out.
pub const STATUS_MAX: usize = 256;

// Work in one turn of the loop.

/// Events taken from the system at once; the rest come in the next turn.
pub const EVENTS_PER_TURN: usize = 256;

/// Bytes read from a connection at once.
pub const READ_MAX: usize = 4096;

/// Connections accepted in one turn. Fewer than the lobby holds: whoever has spoken is heard before a crowd of silent
/// connections can push it out.
pub const ACCEPTS_PER_TURN: usize = LOBBY / 2;

/// Messages begun for one connection in one turn, so that a fast peer does not keep the others waiting.
pub const STEPS_PER_TURN: usize = 8;

// Time.

/// Time a connection has for its first byte.
pub const FIRST_BYTE: Duration = Duration::from_secs(10);

/// Time a request has from its first byte to its last.
pub const REQUEST_TIME: Duration = Duration::from_secs(10);

/// An answer that has been on its way for this long gives its place up when somebody else needs it.
pub const ANSWER_TIME: Duration = Duration::from_secs(10);

/// Time an HTTP connection may idle between requests.
pub const KEEP_ALIVE: Duration = Duration::from_secs(60);

/// Debt that a wrong token adds; see [`FAILURES_DEBT_MAX`]: ten at once, then one in this time.
pub const FAILURE_COST: Duration = Duration::from_secs(6);

/// Above this debt a peer is not listened to. Nine failures are not above it, nor is a tenth that took its time.
pub const FAILURES_DEBT_MAX: Duration = FAILURE_COST.saturating_mul(9);

/// Addresses whose failures are kept.
pub const FAILURES_KEPT: usize = 64;

/// A WebSocket on which nothing was sent for this long is sent a ping, so that no proxy takes it for dead.
pub const WS_PING_EVERY: Duration = Duration::from_secs(20);

/// Without a newer one for this long, a viewer of the stream is sent the last picture again: so does µStreamer.
pub const STREAM_IDLE: Duration = Duration::from_secs(1);

/// The same for the first time, for those who ask for the last picture before a pause twice: longer than frames of any
/// sensor are apart.
pub const STREAM_FINAL: Duration = Duration::from_millis(250);

/// Time a peer has to close after the last answer.
pub const DRAIN_TIME: Duration = Duration::from_secs(1);

/// A viewer that takes no byte for this long is closed, unless configured.
pub const STALL_DEFAULT: Duration = Duration::from_secs(10);

/// Longest that may be configured for [`STALL_DEFAULT`], in seconds.
pub const STALL_MAX_S: u32 = 3600;

/// While the kernel's queue drains, it is looked at this often: no event tells of the last acknowledged byte.
pub const GATE_EVERY: Duration = Duration::from_millis(5);

/// Pause after the system had no descriptor or no memory for a connection.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// One warning about peers per reason in this time; those between are counted.
pub const WARN_EVERY: Duration = Duration::from_secs(10);

/// The status line that systemd shows is refreshed this often.
pub const STATUS_EVERY: Duration = Duration::from_secs(5);

// The source.

/// Without a frame for this long, the source counts as gone and viewers see the placeholder.
pub const GONE_AFTER: Duration = Duration::from_secs(1);

/// A frame at most this old makes the server ready.
pub const READY_WITHIN: Duration = Duration::from_secs(2);

/// A source goes on making infrared pictures for this long after somebody wanted one: starting anew takes a frame or two.
pub const INFRARED_FOR: Duration = Duration::from_secs(3);

/// While the source is gone, the placeholder is drawn anew this often.
pub const PLACEHOLDER_EVERY: Duration = Duration::from_secs(1);

/// A source that neither gives a frame nor takes a step towards one for this long is left to the service manager's
/// watchdog. The longest step that may be healthy is a library's opening: [`LIBRARY_CALL`].
pub const SIGN_OF_LIFE_WITHIN: Duration = Duration::from_secs(40);

/// While the watchdog is not fed, whether it may be again is looked at this often.
pub const HEALTH_EVERY: Duration = Duration::from_secs(1);

/// First pause before a source that was lost is opened again; doubles with each failure.
pub const REOPEN_FIRST: Duration = Duration::from_millis(250);

/// Longest pause between two attempts to open a source.
pub const REOPEN_MAX: Duration = Duration::from_secs(8);

/// A sensor that is not there is looked for this often.
pub const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Time in which the first frame of a sensor behind a library must come: its decoders compile their kernels with it.
pub const LIBRARY_FIRST_FRAME: Duration = Duration::from_secs(3);

/// Time that opening or closing a sensor may take a library: longer than it takes if nothing is wrong, which is a second for
/// each command that is not answered, and five until the sensor is ready.
pub const LIBRARY_CALL: Duration = Duration::from_secs(30);

/// Sessions of a library without a frame after which its next pipeline is tried.
pub const LIBRARY_BARREN_MAX: u32 = 2;

/// Messages of a library that are for everybody, for each time a sensor is opened.
pub const LIBRARY_MESSAGES_MAX: u32 = 3;

/// Fastest pace of demo and replay, in frames a second.
pub const FPS_MAX: u32 = 240;

/// Frames that a recording may have. Each takes 434,176 bytes: 1.04 GB in all, 80 s at 30 fps.
pub const REPLAY_FRAMES_MAX: usize = 2400;

/// Bytes that one file may have. Uncompressed, a depth frame is 434,176 bytes and the framing; the rest is for text and
/// the like that a recorder may have added.
pub const REPLAY_FILE_MAX: u64 = 4 << 20;

/// Bytes that decoding a PNG may hold beside its pixels: it needs two rows and its own tables.
pub const REPLAY_PNG_MEMORY: usize = 256 << 10;

/// Bad files that a message names one by one; it counts the rest.
pub const REPLAY_FAULTS_NAMED: usize = 10;

/// Bytes of a sensor's serial number; the sensors have 12 digits.
pub const SERIAL_MAX: usize = 32;

/// Packets in an isochronous transfer: the kernel takes no more (`drivers/usb/core/devio.c`).
pub const KINECT_PACKETS_MAX: usize = kinect2::usbfs::MAX_PACKETS;

/// Isochronous transfers in the queue.
pub const KINECT_TRANSFERS_MAX: usize = kinect2::sensor::MAX_TRANSFERS;

/// Packets in the queue, least and most. A packet is an eighth of a millisecond: with fewer than 8 ms any hiccup loses
/// frames; 0.5 s take 132 MiB.
pub const KINECT_QUEUE: (usize, usize) = (64, 4096);

/// Millimetres that may be taken off every depth, or added; sensors are known to read 17 to 25 long.
pub const KINECT_OFFSET_MAX: i16 = 500;

/// Time that a sensor has to stop in order; the process ends then, whether it has or not.
pub const SENSOR_STOP: Duration = Duration::from_millis(600);

/// Time in which viewers are told that the server goes away; whoever is in the middle of a picture then is not told.
pub const GOODBYE: Duration = Duration::from_millis(200);

/// Raw frames that a recording may have. Each takes 2,984,960 bytes: 0.9 GB in all, 10 s at 30 fps.
pub const RAW_FRAMES_MAX: usize = 300;

/// Buffers between a sensor and the disk that it is recorded to: a second, 90 MB.
pub const RECORD_QUEUE: usize = 30;

/// Bytes that a recording leaves free on the disk.
pub const RECORD_RESERVE: u64 = 64 << 20;

/// Time in which the first frame of a recording must come.
pub const RECORD_START: Duration = Duration::from_secs(20);

// What the kernel keeps for a connection.

/// Bytes that may wait unsent in the kernel before a TCP socket stops being writable.
///
/// 16 KiB cut the age of pictures on a thin link from 5.1 s to 0.65 s (measured, latest-frame-only sender).
pub const NOTSENT_LOWAT: u32 = 16 * 1024;

/// A new picture is begun only when fewer bytes than this are still on their way to the viewer: "all but drained".
pub const DRAINED: usize = 4 * 1024;

/// Connections that may wait to be accepted; the system may allow fewer (`net.core.somaxconn`).
///
/// `mio` asks for 128. One more than fits is ignored and tries again after 1, 3 and 7 s, so a burst of connections would
/// keep a viewer waiting who comes with it.
pub const ACCEPT_BACKLOG: i32 = 1024;

/// Silence after which the kernel asks whether a TCP peer is still there, and how often it asks then.
pub const KEEPALIVE_PROBES: (Duration, Duration, u32) = (Duration::from_secs(15), Duration::from_secs(5), 3);

// The configuration file.

/// Bytes of a configuration file.
pub const CONFIG_FILE_MAX: usize = 64 * 1024;

/// Problems that are told of one file: a screenful.
pub const CONFIG_PROBLEMS_MAX: usize = 50;

/// Time that a configuration which comes through a pipe may take for its next byte.
pub const CONFIG_PIPE_WAIT: Duration = Duration::from_secs(10);

/// Addresses to listen on.
pub const LISTENERS_MAX: usize = 16;

/// Networks in one list.
pub const NETWORKS_MAX: usize = 64;

/// Names that the camera may be reached by.
pub const HOST_NAMES_MAX: usize = 16;

/// Bytes of such a name (RFC 1035, section 2.3.4, without the lengths).
pub const HOST_NAME_MAX: usize = 253;

/// Bytes of the origin whose pages may read what is served.
pub const ORIGIN_MAX: usize = 200;

/// Access tokens.
pub const TOKENS_MAX: usize = 64;

/// Polygons that hide parts of the picture.
pub const MASKS_MAX: usize = 16;

/// Corners of one polygon.
pub const MASK_POINTS_MAX: usize = 32;

/// Bytes of a Unix socket's path, without the NUL: `sun_path` of unix(7).
pub const UNIX_PATH_MAX: usize = 107;

/// Longest text about the camera in bytes that a configuration may give; room is set aside for four of them.
pub const CAMERA_TEXT_MAX: usize = 200;
