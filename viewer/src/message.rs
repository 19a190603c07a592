//! Messages of the Python protocol: `>L 280s`, the length of a payload and a text block, then the payload.

use std::fmt;

use depthcast::camera::TEXT_LEN;
use depthcast::proto::pickle::HEADER_LEN;

use crate::limits::PAYLOAD_MAX;

/// One message, not looked into yet.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Message {
    /// The text block, padded with NULs.
    pub text: [u8; TEXT_LEN],
    /// What should be a pickle.
    pub payload: Vec<u8>,
}

/// Puts messages together, however they are cut.
#[derive(Debug, Default)]
pub struct Reader {
    header: Vec<u8>,
    payload: Vec<u8>,
}

/// A message that says it is longer than any picture.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct TooLong {
    /// Bytes that its payload would have.
    pub bytes: u32,
}

impl Reader {
    /// Reads on to the end of the next message; `None` when all bytes are read and it is not whole yet.
    ///
    /// Memory grows with what has come, not with what was announced.
    ///
    /// # Errors
    /// [`TooLong`] as soon as that is known; nothing can be read behind it.
    pub fn read(&mut self, bytes: &mut &[u8]) -> Result<Option<Message>, TooLong> {
        fill(&mut self.header, HEADER_LEN, bytes);
        let Some((length, text)) = self.header.split_first_chunk() else { return Ok(None) };
        let length = u32::from_be_bytes(*length);
        let wanted = usize::try_from(length).unwrap_or(usize::MAX);
        if wanted > PAYLOAD_MAX {
            return Err(TooLong { bytes: length });
        }
        let Ok(text) = text.try_into() else { return Ok(None) };
        fill(&mut self.payload, wanted, bytes);
        if self.payload.len() < wanted {
            return Ok(None);
        }
        self.header.clear();
        Ok(Some(Message { text, payload: std::mem::take(&mut self.payload) }))
    }

    /// Whether a message has begun and is not whole.
    pub fn is_inside(&self) -> bool {
        !self.header.is_empty()
    }
}

impl fmt::Display for TooLong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a picture of {} bytes was announced; more than {PAYLOAD_MAX} are not taken", self.bytes)
    }
}

impl std::error::Error for TooLong {}

/// Moves bytes over until `to` has `wanted` of them.
fn fill(to: &mut Vec<u8>, wanted: usize, bytes: &mut &[u8]) {
    let (taken, rest) = bytes.split_at(bytes.len().min(wanted - to.len()));
    to.extend_from_slice(taken);
    *bytes = rest;
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn wire(text: &[u8], payload: &[u8]) -> Vec<u8> {
        let mut block = [0; TEXT_LEN];
        block[..text.len()].copy_from_slice(text);
        [&u32::try_from(payload.len()).unwrap().to_be_bytes()[..], &block, payload].concat()
    }

    #[test]
    fn four_gigabytes_are_refused_before_any_arrives() {
        let mut reader = Reader::default();
        assert_eq!(reader.read(&mut &[0xff; 3][..]), Ok(None));
        assert_eq!(reader.read(&mut &[0xff][..]), Err(TooLong { bytes: u32::MAX }));
        let most = u32::try_from(PAYLOAD_MAX).unwrap();
        assert_eq!(Reader::default().read(&mut &most.to_be_bytes()[..]), Ok(None));
        assert!(TooLong { bytes: u32::MAX }.to_string().contains("4294967295 bytes"));
    }

    #[test]
    fn what_was_announced_costs_nothing_until_it_comes() {
        let mut reader = Reader::default();
        let message = wire(b"", &[1; 1000]);
        let mut lie = message.clone();
        lie[..4].copy_from_slice(&u32::try_from(PAYLOAD_MAX).unwrap().to_be_bytes());
        assert_eq!(reader.read(&mut &lie[..]), Ok(None));
        assert!(reader.is_inside() && reader.payload.capacity() < 10_000);
    }

    #[test]
    fn an_empty_payload_is_a_message() {
        let mut reader = Reader::default();
        let message = reader.read(&mut &wire(b"x", b"")[..]).unwrap().unwrap();
        assert!(message.payload.is_empty() && message.text[0] == b'x' && !reader.is_inside());
    }

    proptest! {
        /// Messages come out as they went in, wherever the segments were cut.
        #[test]
        fn cuts_do_not_matter(
            sent in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..=TEXT_LEN), prop::collection::vec(any::<u8>(), 0..700)), 0..4),
            cuts in prop::collection::vec(1usize..400, 1..20),
        ) {
            let bytes: Vec<u8> = sent.iter().flat_map(|(text, payload)| wire(text, payload)).collect();
            let (mut reader, mut got, mut rest) = (Reader::default(), Vec::new(), &bytes[..]);
            let mut cuts = cuts.into_iter().cycle();
            while !rest.is_empty() {
                let (mut segment, behind) = rest.split_at(rest.len().min(cuts.next().unwrap()));
                rest = behind;
                while let Some(message) = reader.read(&mut segment).unwrap() {
                    got.push(message);
                }
                prop_assert!(segment.is_empty());
            }
            prop_assert!(!reader.is_inside());
            prop_assert_eq!(got.len(), sent.len());
            for (message, (text, payload)) in got.iter().zip(&sent) {
                prop_assert_eq!(&message.text[..text.len()], &text[..]);
                prop_assert_eq!(&message.payload, payload);
            }
        }
    }
}
