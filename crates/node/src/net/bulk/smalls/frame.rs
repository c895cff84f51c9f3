//! Frames of small files: how many go into one, and what a frame from a peer must be.

use std::ops::Range;

use bytes::Bytes;
use consign_core::consumer::SmallArrival;
use consign_core::ids::{Digest, NodeName, Slot, Start};
use consign_core::limits::{
    ADDR_BYTES_MAX, REPLICAS_MAX, SMALL_FILE_BYTES_MAX, SMALL_FRAME_BYTES_AIM,
    SMALL_FRAME_FILES_MAX,
};
use consign_core::producer::SmallSend;
use consign_core::wire::{Hop, Leg, SmallFile, SmallFrame};
use prost::Message as _;

/// Header bytes of a frame past which no file is added: far below what a frame may have, and
/// reached only by files with much metadata.
const HEADER_BYTES_AIM: usize = 1 << 20;

/// Cuts files, in order, into frames.
pub(super) fn frames_of(files: &[SmallSend]) -> Vec<Range<usize>> {
    let mut frames = Vec::new();
    let (mut first, mut bytes, mut header) = (0, 0, 0);
    for (index, file) in files.iter().enumerate() {
        let (more, more_header) = (file.spec.size, header_len(file));
        let full = index - first >= SMALL_FRAME_FILES_MAX
            || bytes + more > SMALL_FRAME_BYTES_AIM
            || header + more_header > HEADER_BYTES_AIM;
        if full && index > first {
            frames.push(first..index);
            (first, bytes, header) = (index, 0, 0);
        }
        bytes += more;
        header += more_header;
    }
    if first < files.len() {
        frames.push(first..files.len());
    }
    frames
}

/// About how long a file's part of the header is, in bytes.
fn header_len(file: &SmallSend) -> usize {
    file.spec.encoded_len() + 20 * file.slots.len() + 80
}

/// A file as a frame names it.
pub(super) fn file_of(file: SmallSend) -> SmallFile {
    SmallFile {
        start: file.key.start.0,
        seq: file.key.seq.0,
        attempt: file.attempt.0,
        slot_starts: file.slots.iter().map(|(start, _)| start.0).collect(),
        slots: file.slots.iter().map(|(_, slot)| slot.0).collect(),
        spec: file.spec,
        digest: file.digest.0.to_vec(),
    }
}

/// Checks a frame that a peer sent to `me`, before its payload of `payload_len` bytes is read.
///
/// # Errors
/// What is wrong with it, for a person.
pub(super) fn check(frame: &SmallFrame, me: &NodeName, payload_len: usize) -> Result<(), String> {
    let bad =
        |what: String| format!("a frame of small files {what}; hint: check the sender's version");
    NodeName::new(&frame.producer).map_err(|error| error.to_string())?;
    let hops = frame.route.len();
    if frame
        .route
        .first()
        .is_none_or(|hop| hop.node != me.as_str())
    {
        return Err(bad(format!("is not for {me}")));
    }
    if hops > REPLICAS_MAX || frame.files.len() > SMALL_FRAME_FILES_MAX {
        return Err(bad(format!(
            "has {} files for {hops} nodes",
            frame.files.len()
        )));
    }
    for hop in &frame.route {
        NodeName::new(&hop.node).map_err(|error| error.to_string())?;
        if hop.addr.len() > ADDR_BYTES_MAX {
            return Err(bad(format!("has an address of {} bytes", hop.addr.len())));
        }
    }
    let mut bytes = 0;
    for file in &frame.files {
        if file.slots.len() != hops || file.slot_starts.len() != hops {
            return Err(bad(format!(
                "has {} slots for {hops} nodes",
                file.slots.len()
            )));
        }
        if file.digest.len() != 32 || file.spec.size > SMALL_FILE_BYTES_MAX {
            return Err(bad(format!("has a file of {} bytes", file.spec.size)));
        }
        bytes += file.spec.size as usize;
    }
    let max = SMALL_FRAME_BYTES_AIM.max(SMALL_FILE_BYTES_MAX) as usize;
    if bytes != payload_len || bytes > max {
        return Err(bad(format!("has {payload_len} bytes for files of {bytes}")));
    }
    Ok(())
}

/// Verifies every file of a frame that passed [`check`]: the index of the first that is damaged.
/// Blocks.
pub(super) fn find_damaged(frame: &SmallFrame, payload: &[u8]) -> Option<usize> {
    let mut rest = payload;
    frame.files.iter().position(|file| {
        let (bytes, more) = rest.split_at(file.spec.size as usize);
        rest = more;
        blake3::hash(bytes).as_bytes().as_slice() != file.digest
    })
}

/// The files of a verified frame as its first hop gets them.
pub(super) fn arrivals(frame: &SmallFrame, payload: &Bytes) -> Vec<SmallArrival> {
    let mut at = 0;
    let mut arrival = |file: &SmallFile| {
        let from = at;
        at += file.spec.size as usize;
        Some(SmallArrival {
            leg: Leg {
                start: file.start,
                seq: file.seq,
                slot_start: *file.slot_starts.first()?,
                slot: *file.slots.first()?,
                attempt: file.attempt,
            },
            spec: file.spec.clone(),
            digest: Digest::from_slice(&file.digest)?,
            bytes: payload.slice(from..at),
        })
    };
    frame.files.iter().filter_map(&mut arrival).collect()
}

/// The frame as its first hop passes it on; `None` at the end of the route.
pub(super) fn next_hop(mut frame: SmallFrame) -> Option<SmallFrame> {
    frame.route.remove(0);
    for file in &mut frame.files {
        file.slot_starts.remove(0);
        file.slots.remove(0);
    }
    (!frame.route.is_empty()).then_some(frame)
}

/// Who gets a frame next.
pub(super) fn first_hop(route: &[Hop]) -> Option<(NodeName, String)> {
    let hop = route.first()?;
    Some((NodeName::new(&hop.node).ok()?, hop.addr.clone()))
}

/// The slots of a frame at its first hop.
pub(super) fn first_slots(files: &[SmallFile]) -> Vec<(Start, Slot)> {
    let first = |file: &SmallFile| {
        let start = Start(*file.slot_starts.first()?);
        Some((start, Slot(*file.slots.first()?)))
    };
    files.iter().filter_map(first).collect()
}

#[cfg(test)]
mod tests {
    use consign_core::ids::{Attempt, Sequence, TransferKey};
    use consign_core::log::Position;
    use consign_core::spec::FileSpec;

    use super::*;

    fn file(size: u64) -> SmallSend {
        SmallSend {
            key: TransferKey {
                start: Start(1),
                seq: Sequence(1),
            },
            attempt: Attempt(1),
            slots: vec![(Start(1), Slot(5)), (Start(1), Slot(6))],
            submitted: Position::default(),
            spec: FileSpec {
                size,
                ..FileSpec::default()
            },
            digest: Digest(*blake3::hash(&vec![7; size as usize]).as_bytes()),
        }
    }

    fn frame(sizes: &[u64]) -> SmallFrame {
        let hop = |node: &str| Hop {
            node: node.into(),
            addr: "127.0.0.1:1".into(),
        };
        SmallFrame {
            producer: "cam-1".into(),
            incarnation: 1,
            route: vec![hop("a"), hop("b")],
            files: sizes.iter().map(|&size| file_of(file(size))).collect(),
        }
    }

    #[test]
    fn frames_hold_every_file_once_within_their_bounds() {
        let sizes = [10 << 10, SMALL_FILE_BYTES_MAX, 0, 5 << 10];
        let files: Vec<_> = (0..2000).map(|i| file(sizes[i % 4])).collect();
        let frames = frames_of(&files);
        let mut next = 0;
        for frame in frames {
            assert_eq!(frame.start, next);
            assert!(frame.len() <= SMALL_FRAME_FILES_MAX);
            let bytes: u64 = files[frame.clone()].iter().map(|f| f.spec.size).sum();
            assert!(bytes <= SMALL_FRAME_BYTES_AIM);
            next = frame.end;
        }
        assert_eq!(next, files.len());
        assert!(frames_of(&[]).is_empty());
    }

    #[test]
    fn a_frame_that_contradicts_itself_is_refused() {
        let me = NodeName::new("a").unwrap();
        let good = frame(&[3, 4]);
        check(&good, &me, 7).unwrap();
        assert!(check(&good, &me, 8).unwrap_err().contains("hint:"));
        assert!(check(&good, &NodeName::new("b").unwrap(), 7).is_err());
        let changes: [fn(&mut SmallFrame); 6] = [
            |f| f.route.clear(),
            |f| f.producer = "../x".into(),
            |f| f.files[0].slots.clear(),
            |f| f.files[1].digest.truncate(31),
            |f| f.files[1].spec.size = u64::MAX,
            |f| f.files = vec![f.files[0].clone(); SMALL_FRAME_FILES_MAX + 1],
        ];
        for (number, change) in changes.into_iter().enumerate() {
            let mut bad = good.clone();
            change(&mut bad);
            assert!(check(&bad, &me, 7).is_err(), "change {number}");
        }
    }

    #[test]
    fn each_hop_gets_its_own_slots_and_bytes() {
        let frame = frame(&[2, 3]);
        let payload = Bytes::from(vec![7; 5]);
        assert_eq!(find_damaged(&frame, &payload), None);
        assert_eq!(find_damaged(&frame, &[7, 7, 7, 0, 7]), Some(1));
        let arrivals = arrivals(&frame, &payload);
        assert_eq!(arrivals[1].leg.slot, 5);
        assert_eq!(arrivals[1].bytes.len(), 3);
        let next = next_hop(frame).unwrap();
        assert_eq!(first_slots(&next.files)[1], (Start(1), Slot(6)));
        assert_eq!(first_hop(&next.route).unwrap().0.as_str(), "b");
        assert_eq!(next_hop(next), None);
    }
}
