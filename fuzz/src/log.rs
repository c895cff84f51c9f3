//! The intent log over damaged segments.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use consign_core::log::{self, Log, LogError, LogSettings, Position};
use consign_core::record::Record;
use consign_sim::disk::SimDisk;

const DIR: &str = "/log";

/// The segments of a log in use, as `docs/log-format.md` describes them: one sealed, one that a
/// recovery cut, one that is appended to.
const SEGMENTS: [&[u8]; 3] = [
    include_bytes!("../../crates/sim/tests/fixtures/log-v1/00000000000000000001.log"),
    include_bytes!("../../crates/sim/tests/fixtures/log-v1/00000000000000000002.log"),
    include_bytes!("../../crates/sim/tests/fixtures/log-v1/00000000000000000003.log"),
];

/// Edits of the segments, four bytes each: which one, where (little-endian), and what the byte there
/// is XORed with; 3 cuts the newest segment there. Recovery may refuse such a log. If it takes it,
/// it takes it a second time too, with the same records.
///
/// # Panics
/// When it does not, or when an inspection fails.
pub fn log(data: &[u8]) {
    let disk = base().fork();
    for edit in data.chunks_exact(4) {
        let at = usize::from(u16::from_le_bytes([edit[1], edit[2]]));
        match usize::from(edit[0] % 4) {
            3 => disk.tamper(&segment(2), |bytes| bytes.truncate(at)),
            which => disk.tamper(&segment(which), |bytes| {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= edit[3];
                }
            }),
        }
    }
    let mut inspected = Vec::new();
    let inspection = log::inspect(&*disk.mount(), Path::new(DIR), &mut |_, record, _| {
        inspected.push(record.kind());
    });
    inspection.expect("an inspection reads past damage");
    let Ok(first) = open(&disk) else {
        return;
    };
    let again = open(&disk).expect("what was recovered once is recovered again");
    assert_eq!(first, again);
}

/// Opens the log, and lets go of it as a kill does.
fn open(disk: &SimDisk) -> Result<Vec<Record>, LogError> {
    let mut records = Vec::new();
    let settings = LogSettings {
        segment_bytes: LogSettings::SEGMENT_BYTES_LEAST + 512,
        seed: disk.ops(),
    };
    let mut replay = |_: Position, record, _| records.push(record);
    Log::open(disk.mount(), Path::new(DIR), settings, &mut replay)?;
    disk.kill();
    Ok(records)
}

fn base() -> &'static SimDisk {
    static BASE: OnceLock<SimDisk> = OnceLock::new();
    BASE.get_or_init(|| {
        let disk = SimDisk::new(1);
        write(&disk).expect("a disk without faults takes it");
        disk
    })
}

fn write(disk: &SimDisk) -> std::io::Result<()> {
    let mount = disk.mount();
    mount.create_dir(Path::new(DIR))?;
    for (which, bytes) in SEGMENTS.into_iter().enumerate() {
        let file = mount.open(&segment(which), consign_core::disk::OpenMode::CreateNew)?;
        file.write_all_at(bytes, 0)?;
        file.sync()?;
    }
    mount.sync_dir(Path::new(DIR))?;
    mount.sync_dir(Path::new("/"))
}

fn segment(which: usize) -> PathBuf {
    Path::new(DIR).join(format!("{:020}.log", which + 1))
}
