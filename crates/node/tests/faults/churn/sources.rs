//! The files that producers are handed, and what is in each of them.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use blake3::Hash;

use crate::load::random_bytes;
use crate::machine::Machine;
use crate::rng::Rng;

/// Some in a hundred are large: these are streamed, and not kept in logs.
const LARGE_PERCENT: u64 = 2;
const LARGE_BYTES: u64 = 2 << 20;
const SMALL_BYTES: u64 = 20 << 10;
/// Enough that no two files are alike.
const BYTES_MIN: u64 = 64;

/// One file.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) name: String,
    pub(super) producer: String,
    /// Its place in the order in which all were handed over.
    pub(super) number: u64,
}

/// All files so far, by their content.
#[derive(Debug)]
pub(super) struct Sources {
    pub(super) by_content: BTreeMap<[u8; 32], Source>,
    pub(super) bytes: u64,
    sending: Vec<(PathBuf, Child)>,
    rng: Rng,
}

impl Sources {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            by_content: BTreeMap::new(),
            bytes: 0,
            sending: Vec::new(),
            rng: Rng::new(seed),
        }
    }

    pub(super) fn count(&self) -> u64 {
        self.by_content.len() as u64
    }

    /// Files of one producer so far.
    pub(super) fn of(&self, producer: &str) -> u64 {
        let sources = self.by_content.values();
        sources.filter(|one| one.producer == producer).count() as u64
    }

    /// Writes files, and begins to hand them over to one producer with a single command.
    pub(super) fn hand(&mut self, producer: &Machine, files: u64) {
        let first = self.count();
        let dir = producer.disk.join(format!("own/{first}"));
        fs::create_dir_all(&dir).unwrap();
        for number in first..first + files {
            let size = self.draw_size();
            let bytes = random_bytes(self.rng.next(), size as usize);
            let name = format!("{number:06}");
            fs::write(dir.join(&name), &bytes).unwrap();
            self.bytes += size;
            let source = Source {
                name,
                producer: producer.name.clone(),
                number,
            };
            let content: Hash = blake3::hash(&bytes);
            let before = self.by_content.insert(*content.as_bytes(), source);
            assert!(before.is_none(), "two files are alike");
        }
        let args = ["send", dir.to_str().unwrap(), "--feed", "files"];
        let errors = fs::File::create(dir.with_extension("err")).unwrap();
        let child: &mut Command = &mut producer.asking(&args);
        let child = child.stdout(Stdio::null()).stderr(errors).spawn();
        self.sending.push((dir, child.unwrap()));
    }

    /// Waits until everything that was handed over is submitted.
    #[track_caller]
    pub(super) fn are_submitted(&mut self) {
        for (dir, mut child) in self.sending.drain(..) {
            let status = child.wait().unwrap();
            let why = fs::read_to_string(dir.with_extension("err")).unwrap();
            assert!(status.success(), "{}: {status}: {why}", dir.display());
        }
    }

    fn draw_size(&mut self) -> u64 {
        let most = match self.rng.below(100) < LARGE_PERCENT {
            true => LARGE_BYTES,
            false => SMALL_BYTES,
        };
        BYTES_MIN + self.rng.below(most)
    }
}

impl Drop for Sources {
    fn drop(&mut self) {
        for (_, child) in &mut self.sending {
            // Both only fail when it has ended by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
