//! Files beyond their first watermark, cut off in the middle: what a consumer has logged as synced
//! must be there, and right, without anybody sending it again.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use consign_core::limits::WATERMARK_EVERY_BYTES;

use crate::fleet;
use crate::ledger::Ledger;
use crate::load;
use crate::machine::Machine;
use crate::rng::Rng;
use crate::waiting::comes;

const LARGE_BYTES: usize = 144 << 20;
/// From where on a cut may come, in bytes: the first watermark is probably in the log by then.
const FIRST_CUT_BYTES: u64 = WATERMARK_EVERY_BYTES + (8 << 20);
const LAST_CUT_BYTES: u64 = LARGE_BYTES as u64 - (8 << 20);
/// How long the producer may need to take the file in, and to send as much of it.
const BEGIN_DEADLINE: Duration = Duration::from_secs(10);

/// Hands over a large file, which leaves nothing behind.
pub(crate) fn hand(producer: &Machine, ledger: &Mutex<Ledger>, round: u64) {
    let name = format!("large-{round:06}");
    load::hand(producer, ledger, &name, "removed", LARGE_BYTES, round);
}

/// Waits until a consumer is in the middle of a large file.
pub(crate) fn receiver<'a>(consumers: &'a [Machine], rng: &mut Rng) -> Option<&'a Machine> {
    let from = FIRST_CUT_BYTES + rng.below(LAST_CUT_BYTES - FIRST_CUT_BYTES);
    let mut found = None;
    comes(BEGIN_DEADLINE, || {
        let there = |consumer: &&Machine| written_bytes(consumer) >= from;
        found = consumers.iter().find(there);
        found.is_some()
    });
    found
}

/// Of the longest file in staging. Its length may be set aside from the beginning; its blocks are
/// not counted before they are written.
fn written_bytes(consumer: &Machine) -> u64 {
    let staging = fleet::inbox(&consumer.disk, "removed").join(".consign");
    let entries = fs::read_dir(staging).into_iter().flatten().flatten();
    let written = entries.filter_map(|entry| {
        let found = entry.metadata().ok()?;
        Some(found.len().min(found.blocks() * 512))
    });
    written.max().unwrap_or_default()
}

/// Looks at the disk of a consumer that lost power, before it is started again: each chunk below
/// a logged watermark is what was verified. Returns how many files are on their way.
pub(crate) fn watermarks_hold(consumer: &Machine) -> u64 {
    let output = Command::new(env!("CARGO_BIN_EXE_consign"))
        .args(["doctor", "--read", "--json", "--config"])
        .arg(consumer.config())
        .env_remove("CONSIGN_PLANTED")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let staged_wrong = said.lines().find(|line| {
        line.contains("\"problem\"")
            && (line.contains("were synced") || line.contains("what was verified"))
    });
    if let Some(wrong) = staged_wrong {
        panic!("{}: {wrong}", consumer.name);
    }
    u64::from(written_bytes(consumer) >= WATERMARK_EVERY_BYTES)
}
