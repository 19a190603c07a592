//! The picture stream: one endless `multipart/x-mixed-replace` response, framed as µStreamer frames it.
//!
//! The first boundary follows the response head at once and every part is followed by the next boundary in the
//! same write: a browser shows a part when it has seen the boundary behind it, and one that waits for the next
//! frame's would always be a frame late. Each part states its length, which go2rtc insists on.

use std::fmt::{self, Write};

use super::http::{Image, NO_STORE, PictureFacts};

/// What follows each part.
pub const TAIL: &[u8] = b"\r\n--boundarydonotcross\r\n";

/// What a stream wants next.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Next {
    /// The response head.
    Head,
    /// A picture, as one part.
    Picture(Image),
}

/// One viewer of the stream.
#[derive(Debug)]
pub struct Machine {
    image: Image,
    begun: bool,
}

impl Machine {
    /// A viewer who wants its pictures so.
    pub fn new(image: Image) -> Self {
        Self { image, begun: false }
    }

    /// What comes next.
    pub fn next(&self) -> Next {
        if self.begun { Next::Picture(self.image) } else { Next::Head }
    }

    /// The head, or a part with [`TAIL`] behind it, has left whole.
    pub fn sent(&mut self) {
        self.begun = true;
    }
}

/// Writes the response head and the first boundary.
///
/// HTTP/1.0 without a length: the stream ends with its connection, which is what all clients were built against.
/// Proxies are told not to hold frames back. `extra` are whole header lines.
///
/// # Errors
/// When `out` is full; 512 bytes are enough.
pub fn write_head(out: &mut impl Write, extra: impl fmt::Display) -> fmt::Result {
    write!(
        out,
        "HTTP/1.0 200 OK\r\n{NO_STORE}X-Accel-Buffering: no\r\n{extra}\
         Content-Type: multipart/x-mixed-replace;boundary=boundarydonotcross\r\n\r\n--boundarydonotcross\r\n"
    )
}

/// Writes the head of one part whose body has `length` bytes.
///
/// # Errors
/// When `out` is full; 512 bytes are enough.
pub fn write_part_head(
    out: &mut impl Write,
    image: Image,
    length: usize,
    facts: &PictureFacts,
) -> fmt::Result {
    // One space after each colon and nothing after the type: GStreamer and ffmpeg read at fixed places.
    write!(out, "Content-Type: {}\r\nContent-Length: {length}\r\n", image.media_type())?;
    facts.write(out)?;
    out.write_str("\r\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn framing_to_the_byte() {
        let mut out = String::new();
        write_head(&mut out, "").expect("a String");
        assert!(out.starts_with("HTTP/1.0 200 OK\r\n"));
        assert!(out.ends_with(
            "\r\nContent-Type: multipart/x-mixed-replace;boundary=boundarydonotcross\r\n\r\n--boundarydonotcross\r\n"
        ));
        assert!(out.len() <= 512, "{} bytes", out.len());
        out.clear();
        let facts = PictureFacts {
            captured_us: 1_605_016_534_000_007,
            seq: 3,
            age_ms: Some(2),
            online: true,
            dropped: 0,
            min_mm: 0,
            max_mm: 1500,
        };
        write_part_head(&mut out, Image::Jpeg, 9, &facts).expect("a String");
        assert_eq!(
            out,
            "Content-Type: image/jpeg\r\nContent-Length: 9\r\nX-Timestamp: 1605016534.000007\r\n\
             X-Depthcast-Seq: 3\r\nX-Depthcast-Age-Ms: 2\r\nX-Depthcast-Online: true\r\nX-Depthcast-Dropped: 0\r\n\
             X-Depthcast-Min-Mm: 0\r\nX-Depthcast-Max-Mm: 1500\r\n\r\n"
        );
    }

    #[test]
    fn a_head_and_then_pictures() {
        let mut machine = Machine::new(Image::Png);
        assert_eq!(machine.next(), Next::Head);
        machine.sent();
        assert_eq!(machine.next(), Next::Picture(Image::Png));
        machine.sent();
        assert_eq!(machine.next(), Next::Picture(Image::Png));
    }
}
