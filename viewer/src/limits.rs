//! Every limit of the viewer: a server may be anything, and what it sends may be any size.

use std::time::Duration;

/// Bytes of a message's payload. The largest picture of a Kinect as a PNG, all of it escaped in the pickle, is 6 MB.
pub const PAYLOAD_MAX: usize = 32 << 20;

/// Pixels along a side of a picture.
pub const SIDE_MAX: u32 = 8192;

/// Pixels of a picture: 4096 by 4096.
pub const PIXELS_MAX: usize = 16 << 20;

/// Bytes that decoding a PNG may hold beside the picture itself.
pub const PNG_MEMORY_MAX: usize = 64 << 20;

/// Bytes of what a picture says of itself; more is not read.
pub const COMMENT_MAX: usize = 8192;

/// Values that a pickle may make. One of numpy makes about 40.
pub const PICKLE_VALUES_MAX: usize = 128;

/// Values and marks that may lie on a pickle's stack.
pub const PICKLE_STACK_MAX: usize = 32;

/// Places in a pickle's memo.
pub const PICKLE_MEMO_MAX: usize = 64;

/// Bytes of a number or a name in a pickle.
pub const PICKLE_LINE_MAX: usize = 128;

/// Bytes of a message that depth arrives in: a Kinect's needs 1.4 MB at most.
pub const DEPTH_MESSAGE_MAX: usize = 16 << 20;

/// Bytes of the answer to the request for depth.
pub const RESPONSE_HEAD_MAX: usize = 8192;

/// Header fields in it.
pub const RESPONSE_FIELDS_MAX: usize = 64;

/// Time that a connection may take to come about.
pub const CONNECT_TIME: Duration = Duration::from_secs(5);

/// Silence in the middle of a message, or between two, after which the connection is taken for lost. Before the first
/// picture there is no such limit: the Python server serves one viewer and lets the others wait.
pub const SILENCE: Duration = Duration::from_secs(10);

/// Silence after which the system asks whether the server is still there.
pub const KEEPALIVE_IDLE: Duration = Duration::from_secs(10);

/// Time between two such questions.
pub const KEEPALIVE_EVERY: Duration = Duration::from_secs(5);

/// Questions without an answer after which the connection is lost.
pub const KEEPALIVE_PROBES: u32 = 4;

/// Time a leaving viewer waits for the reply that it has asked for, and then for the server to close.
pub const LEAVE_TIME: Duration = Duration::from_secs(1);

/// Rest before the first new attempt to connect; it doubles with each that fails.
pub const REST_FIRST: Duration = Duration::from_millis(250);

/// Longest such rest.
pub const REST_MAX: Duration = Duration::from_secs(5);

/// Rest before depth is asked for again.
pub const DEPTH_REST: Duration = Duration::from_secs(5);
