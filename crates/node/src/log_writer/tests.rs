//! The log thread over a log whose payloads are damaged.

use std::os::unix::fs::FileExt as _;
use std::path::Path;

use consign_core::limits::SEGMENT_BYTES;
use consign_core::log::LogSettings;
use consign_core::record::Submitted;

use super::*;
use crate::os_disk::OsDisk;

const BYTES: &[u8] = b"the bytes of a small file, of which one will rot";

fn open(dir: &Path) -> Log {
    let disk = Arc::new(OsDisk::private(dir).unwrap());
    let settings = LogSettings {
        segment_bytes: SEGMENT_BYTES,
        seed: 1,
    };
    Log::open(disk, Path::new("log"), settings, &mut |_, _, _| {})
        .unwrap()
        .0
}

fn submitted(seq: u64) -> Record {
    Record::Submitted(Submitted {
        start: 1,
        seq,
        ..Submitted::default()
    })
}

/// Turns one bit of the payload wherever it lies in the log.
fn rot(dir: &Path) {
    for entry in std::fs::read_dir(dir.join("log")).unwrap() {
        let path = entry.unwrap().path();
        let bytes = std::fs::read(&path).unwrap();
        let found = bytes.windows(BYTES.len()).position(|part| part == BYTES);
        if let Some(at) = found {
            let file = std::fs::File::options().write(true).open(&path).unwrap();
            file.write_all_at(&[BYTES[0] ^ 1], at as u64).unwrap();
        }
    }
}

#[test]
fn a_payload_that_rotted_is_carried_as_lost_and_stops_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open(dir.path());
    let old = log
        .append(&submitted(1), Payload::Bytes(BYTES.into()))
        .unwrap();
    log.commit().unwrap();
    rot(dir.path());
    let (done, mut ears) = mpsc::unbounded_channel();
    let (catalogue, _filled) = mpsc::channel(16);
    let mut writer = LogWriter::start(
        NodeName::new("a").unwrap(),
        log,
        done,
        catalogue,
        (Arc::default(), Archive::default()),
    )
    .unwrap();
    assert_eq!(writer.payloads.record(old).unwrap(), submitted(1));
    assert!(matches!(
        writer.payloads.get(old),
        Err(LogError::Damaged { .. })
    ));
    for (seq, payload) in [(1, Payload::CopyOf(old)), (2, Payload::Bytes(BYTES.into()))] {
        writer.order(Order::Append(Role::Producer, submitted(seq), payload));
    }
    let mut positions = Vec::new();
    while positions.len() < 2 {
        match ears.blocking_recv().unwrap() {
            Done::Synced { records, .. } => positions.extend(records.into_iter().map(|(_, at)| at)),
            Done::Failed(error) => panic!("{error}"),
        }
    }
    let payloads = &writer.payloads;
    assert_eq!(payloads.record(positions[0]).unwrap(), submitted(1));
    assert!(matches!(
        payloads.get(positions[0]),
        Err(LogError::NoPayload { .. })
    ));
    assert_eq!(payloads.get(positions[1]).unwrap(), BYTES);
}
