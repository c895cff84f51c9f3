//! Frames: how a message, and the bytes that follow it, lie on a connection.
//!
//! ```text
//! 0        4        5         8            12             16
//! ┌────────┬────────┬─────────┬────────────┬──────────────┬─────────┬─────────┐
//! │ "CSGN" │ kind   │ zero ×3 │ header len │ payload len  │ CRC32C  │ header… │ payload…
//! └────────┴────────┴─────────┴────────────┴──────────────┴─────────┴─────────┘
//! ```
//! Integers are little-endian `u32`. The CRC32C covers the first 16 bytes and the header. The
//! payload is covered by BLAKE3: by the chunk's hash or each small file's digest in the header.
//! Lengths are checked against [`limits`] before anything is allocated.

use crate::limits;
use crate::wire::Message;

/// Bytes before a frame's header.
pub const FRAME_HEAD_BYTES: usize = 20;

const MAGIC: [u8; 4] = *b"CSGN";

/// The fixed part of a frame, parsed; lengths are within [`limits`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameHead {
    /// Type of the message.
    pub kind: u8,
    /// Length of the encoded message in bytes.
    pub header_len: usize,
    /// Length of the payload that follows it in bytes.
    pub payload_len: usize,
    crc: u32,
    crc_of_head: u32,
}

/// A decoded frame without its payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// The message.
    pub message: Message,
    /// Length of the payload that follows on the connection, in bytes.
    pub payload_len: usize,
}

/// Bytes that are not a frame. The connection cannot be used further.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadFrame {
    /// Not our protocol at all.
    #[error(
        "the peer does not speak consign's protocol; hint: check that the address is a consign peer port"
    )]
    Magic,
    /// A length beyond its limit.
    #[error(
        "a frame claims {len} bytes of {what}, at most {max} are accepted; hint: check the peer's version"
    )]
    TooLong {
        /// Header or payload.
        what: &'static str,
        /// The claimed length in bytes.
        len: usize,
        /// The limit in bytes.
        max: usize,
    },
    /// The bytes were changed on the way.
    #[error("a frame's checksum is wrong; hint: the network path or a machine on it damages data")]
    Checksum,
    /// A message type of a later version.
    #[error("message type {0} is unknown; hint: check the peer's version")]
    Kind(u8),
    /// A message that does not decode.
    #[error("message of type {kind} does not decode: {source}; hint: check the peer's version")]
    Body {
        /// The type byte.
        kind: u8,
        /// What the decoder says.
        source: prost::DecodeError,
    },
}

/// Encodes a frame up to, and without, its payload.
#[must_use]
pub fn encode_frame(message: &Message, payload_len: usize) -> Vec<u8> {
    let header_len = message.encoded_len();
    assert!(
        header_len <= limits::FRAME_HEADER_BYTES_MAX,
        "{} of {header_len} bytes",
        message.name()
    );
    assert!(
        payload_len <= limits::FRAME_PAYLOAD_BYTES_MAX,
        "payload of {payload_len} bytes"
    );
    let mut out = Vec::with_capacity(FRAME_HEAD_BYTES + header_len);
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&[message.kind(), 0, 0, 0]);
    out.extend_from_slice(&(header_len as u32).to_le_bytes());
    out.extend_from_slice(&(payload_len as u32).to_le_bytes());
    let crc_of_head = crc32c::crc32c(&out);
    out.extend_from_slice(&[0; 4]);
    message.encode(&mut out);
    let crc = crc32c::crc32c_append(crc_of_head, &out[FRAME_HEAD_BYTES..]);
    out[16..20].copy_from_slice(&crc.to_le_bytes());
    out
}

/// Parses the fixed part of a frame.
///
/// # Errors
/// [`BadFrame::Magic`] and [`BadFrame::TooLong`].
pub fn parse_frame_head(bytes: &[u8; FRAME_HEAD_BYTES]) -> Result<FrameHead, BadFrame> {
    let word =
        |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
    if bytes[..4] != MAGIC || bytes[5..8] != [0; 3] {
        return Err(BadFrame::Magic);
    }
    let (header_len, payload_len) = (word(8) as usize, word(12) as usize);
    check_len("header", header_len, limits::FRAME_HEADER_BYTES_MAX)?;
    check_len("payload", payload_len, limits::FRAME_PAYLOAD_BYTES_MAX)?;
    Ok(FrameHead {
        kind: bytes[4],
        header_len,
        payload_len,
        crc: word(16),
        crc_of_head: crc32c::crc32c(&bytes[..16]),
    })
}

fn check_len(what: &'static str, len: usize, max: usize) -> Result<(), BadFrame> {
    if len > max {
        return Err(BadFrame::TooLong { what, len, max });
    }
    Ok(())
}

impl FrameHead {
    /// Checks and decodes the header that followed on the connection.
    ///
    /// # Errors
    /// [`BadFrame::Checksum`], [`BadFrame::Kind`] and [`BadFrame::Body`].
    pub fn decode(&self, header: &[u8]) -> Result<Frame, BadFrame> {
        if crc32c::crc32c_append(self.crc_of_head, header) != self.crc {
            return Err(BadFrame::Checksum);
        }
        let message = Message::decode(self.kind, header)
            .map_err(|source| BadFrame::Body {
                kind: self.kind,
                source,
            })?
            .ok_or(BadFrame::Kind(self.kind))?;
        Ok(Frame {
            message,
            payload_len: self.payload_len,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Hello, Ping, Purpose};

    fn decode(bytes: &[u8]) -> Result<Frame, BadFrame> {
        let head = parse_frame_head(bytes[..FRAME_HEAD_BYTES].try_into().unwrap())?;
        head.decode(&bytes[FRAME_HEAD_BYTES..])
    }

    fn hello() -> Message {
        Message::Hello(Hello {
            version: 1,
            version_min: 1,
            node: "cam-7".into(),
            to: "store-1".into(),
            purpose: Purpose::Control.into(),
            incarnation: 3,
            start: 0xfeed,
            seen: 2,
            revoked: 5,
            log: 3,
            seen_log: 4,
            seen_start: 5,
            reconciled: 6,
            found_to: 7,
            seen_log_in: 2,
        })
    }

    #[test]
    fn frames_round_trip() {
        for message in [
            hello(),
            Message::Ping(Ping::default()),
            Message::Pong(Ping { number: 7, log: 8 }),
        ] {
            let frame = decode(&encode_frame(&message, 99)).unwrap();
            assert_eq!(
                frame,
                Frame {
                    message,
                    payload_len: 99
                }
            );
        }
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let good = encode_frame(&hello(), 5);
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(decode(&bad).is_err(), "bit {bit} went unnoticed");
        }
    }

    #[test]
    fn lying_lengths_are_refused_before_allocation() {
        let mut bytes = encode_frame(&hello(), 0);
        bytes[8..12].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(matches!(
            decode(&bytes),
            Err(BadFrame::TooLong { what: "header", .. })
        ));
    }
}
