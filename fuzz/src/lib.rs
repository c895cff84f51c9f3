//! What strangers may send, each as a function of bytes that fails by a panic. `fuzz_targets` hands
//! them to the fuzzer, and `tests/corpora.rs` tries everything that is in `corpus/`.
//!
//! ```text
//! RUSTC_BOOTSTRAP=1 cargo fuzz run --features libfuzzer frames -- -max_total_time=60
//! ```

mod http;
mod log;
mod names;

use consign_core::record::Record;
use consign_core::wire::{FRAME_HEAD_BYTES, encode_frame, parse_frame_head};

pub use http::http;
pub use log::log;
pub use names::names;

/// A frame from a peer. What is understood means the same when it is written again.
///
/// # Panics
/// When it does not.
pub fn frames(data: &[u8]) {
    let Some((head, header)) = data.split_first_chunk::<FRAME_HEAD_BYTES>() else {
        return;
    };
    let Ok(head) = parse_frame_head(head) else {
        return;
    };
    let Some(header) = header.get(..head.header_len) else {
        return;
    };
    let Ok(frame) = head.decode(header) else {
        return;
    };
    let again = encode_frame(&frame.message, frame.payload_len);
    let (head, header) = again.split_first_chunk().expect("a frame has a head");
    let head = parse_frame_head(head).expect("our own frame is good");
    assert_eq!(head.decode(header).expect("and so is its header"), frame);
}

/// A record of the log: its type, then its body.
///
/// # Panics
/// When one that is understood means something else when it is written again.
pub fn records(data: &[u8]) {
    let Some((&kind, body)) = data.split_first() else {
        return;
    };
    let Ok(record) = Record::read(kind, body) else {
        return;
    };
    let mut again = Vec::new();
    record.encode(&mut again);
    assert_eq!(Record::read(record.kind(), &again).ok(), Some(record));
}

/// A configuration file. What is refused is refused with something to do.
///
/// # Panics
/// When a refusal has no hint.
pub fn config(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    if let Err(why) = consign::untrusted::config(text) {
        assert!(why.contains("hint: "), "{why}");
    }
}

/// All that a stranger says on a connection.
///
/// # Panics
/// When it is closed without a reason.
pub fn connection(data: &[u8]) {
    assert!(!consign::untrusted::hear(data).is_empty());
}
