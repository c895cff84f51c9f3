//! Files, large and small, handed over in every way there is.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::sync::Mutex;

use crate::ledger::Ledger;
use crate::machine::Machine;
use crate::rng::Rng;

const SIZES: [usize; 12] = [
    0,
    1,
    100,
    10_000,
    10_000,
    50_000,
    200_000,
    262_144,
    262_145,
    1 << 20,
    3 << 20,
    5 << 20,
];
/// Feeds that any number of files may be handed to: what is handed to `staying` fills the disk.
const HANDED: [&str; 5] = ["put", "kept", "removed", "archived", "watched"];
/// What a call may carry as its body, in bytes.
const BODY_BYTES_MAX: usize = 256 << 10;

/// Hands over one file; whatever fails, it was not accepted.
pub(crate) fn hand_one(producer: &Machine, ledger: &Mutex<Ledger>, number: u64, rng: &mut Rng) {
    let mut size = *rng.pick(&SIZES);
    let feed = *rng.pick(&HANDED);
    if feed == "put" {
        size = size.min(BODY_BYTES_MAX);
    }
    hand(
        producer,
        ledger,
        &format!("{number:06}"),
        feed,
        size,
        rng.next(),
    );
}

/// Hands over a small file that stays where it is found, and is sent once all the same.
pub(crate) fn hand_staying(producer: &Machine, ledger: &Mutex<Ledger>, number: u64) {
    let name = format!("{number:06}");
    hand(producer, ledger, &name, "staying", 10_000, number);
}

/// Hands over a file of this name, feed and size; returns whether it was accepted.
pub(crate) fn hand(
    producer: &Machine,
    ledger: &Mutex<Ledger>,
    name: &str,
    feed: &'static str,
    size: usize,
    seed: u64,
) -> bool {
    let bytes = random_bytes(seed, size);
    ledger.lock().unwrap().hand(name, feed, &bytes);
    let accepted = match feed {
        "put" => put(producer, name, &bytes),
        "watched" | "staying" => {
            let dir = producer.disk.join(feed);
            leave_to_be_found(&dir, name, &bytes).is_ok()
        }
        _ => send(producer, feed, name, &bytes, seed.is_multiple_of(2)),
    };
    if accepted {
        ledger.lock().unwrap().accepted(name);
    }
    accepted
}

fn put(producer: &Machine, name: &str, bytes: &[u8]) -> bool {
    let path = format!("/feeds/put/files/{name}");
    let answer = producer.call("PUT", &path, bytes);
    answer.is_ok_and(|(code, _)| code == 201)
}

/// A watched file is whole and synced before it has its name, as its writer owes it.
fn leave_to_be_found(dir: &Path, name: &str, bytes: &[u8]) -> std::io::Result<()> {
    let hidden = dir.join(format!(".{name}.tmp"));
    let mut file = fs::File::create(&hidden)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&hidden, dir.join(name))?;
    fs::File::open(dir)?.sync_all()?;
    // While a filesystem is being shut down, the sync of a directory may say that all is well (on xfs,
    // that nothing is left to be written). With real power nobody would hear that; a file's sync tells.
    file.sync_all()
}

/// Nothing is synced before it is sent, since that is promised with the answer.
fn send(producer: &Machine, feed: &str, name: &str, bytes: &[u8], by_command: bool) -> bool {
    let path = producer.disk.join("own").join(name);
    if fs::write(&path, bytes).is_err() {
        return false;
    }
    let path = path.to_str().unwrap();
    if by_command {
        return producer.ask(&["send", path, "--feed", feed]).0;
    }
    let body = format!("{{\"path\":{path:?}}}");
    let answer = producer.call("POST", &format!("/feeds/{feed}/files"), body.as_bytes());
    answer.is_ok_and(|(code, _)| code == 201)
}

/// Bytes that do not repeat, different for each seed.
pub(crate) fn random_bytes(seed: u64, length: usize) -> Vec<u8> {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&seed.to_le_bytes());
    let mut bytes = vec![0; length];
    hasher.finalize_xof().fill(&mut bytes);
    bytes
}
