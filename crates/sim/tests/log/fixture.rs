//! Logs of earlier versions of the format still load.

use std::path::{Path, PathBuf};

use consign_core::disk::OpenMode;
use consign_core::log::LogError;
use consign_sim::disk::SimDisk;

use crate::world::{DIR, Model, Opened, Step, new_disk, open, segment, segment_files};

const SEGMENT: u64 = 2560;

fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/log-v1")
}

/// A log with a sealed segment, one that a recovery cut, and one in use: what the fixture of format
/// 1 was made of. Its records are 0 to 22.
fn write_log() -> SimDisk {
    let disk = new_disk(1);
    let mut model = Model::new();
    let run = |opened: &mut Opened, model: &mut Model, steps: &[Step]| {
        for &step in steps {
            model.step(&mut opened.log, step).unwrap();
        }
    };
    let mut opened = open(&disk, SEGMENT).unwrap();
    let first = [
        Step::Append(4),
        Step::Commit,
        Step::Append(11),
        Step::Commit,
        Step::Idle,
    ];
    run(&mut opened, &mut model, &first);
    disk.kill();
    let mut opened = open(&disk, SEGMENT).unwrap();
    let second = [
        Step::Append(3),
        Step::Commit,
        Step::Append(5),
        Step::Commit,
        Step::Idle,
    ];
    run(&mut opened, &mut model, &second);
    disk.kill();
    disk
}

/// Run with `CONSIGN_WRITE_FIXTURES=1` to make the fixture of a new format.
#[test]
fn a_log_of_format_1_loads() {
    if std::env::var_os("CONSIGN_WRITE_FIXTURES").is_some() {
        std::fs::create_dir_all(fixture()).unwrap();
        for (path, bytes) in segment_files(&write_log()) {
            std::fs::write(fixture().join(path.file_name().unwrap()), bytes).unwrap();
        }
    }
    let disk = new_disk(1);
    let mount = disk.mount();
    mount.create_dir(Path::new(DIR)).unwrap();
    for id in 1..=3 {
        let path = segment(id);
        let bytes = std::fs::read(fixture().join(path.file_name().unwrap())).unwrap();
        let file = mount.open(&path, OpenMode::CreateNew).unwrap();
        file.write_all_at(&bytes, 0).unwrap();
    }
    let opened = open(&disk, SEGMENT).unwrap();
    assert_eq!(opened.seqs(), (0..23).collect::<Vec<_>>());
    opened.assert_readable();
}

#[test]
fn a_log_of_a_newer_format_is_named_as_such_and_left_alone() {
    let disk = write_log();
    let header_bytes = 512;
    disk.tamper(&segment(3), |bytes| {
        bytes[8] = 2;
        let sum = crc32c::crc32c(&bytes[..header_bytes - 4]);
        bytes[header_bytes - 4..header_bytes].copy_from_slice(&sum.to_le_bytes());
    });
    let before = segment_files(&disk);
    match open(&disk, SEGMENT) {
        Err(LogError::NewerFormat {
            found: 2,
            supported: 1,
            ..
        }) => {}
        other => panic!("{:?}", other.map(|opened| opened.seqs())),
    }
    assert_eq!(segment_files(&disk), before);
}
