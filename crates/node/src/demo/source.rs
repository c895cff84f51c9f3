//! The files that are sent: the user's own, or made ones of every awkward kind.

use std::collections::BTreeSet;
use std::fs::{self, File, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use anyhow::Context as _;

use super::compare::Print;
use super::inbox;
use super::rng::Rng;
use crate::cli::walk::{FoundFile, Walk};

/// Small files that are made: the main job of most who will use this.
const SMALL_FILES: u64 = 2_000;
/// Their lengths, in bytes: 10 KB on average.
const SMALL_BYTES: (u64, u64) = (500, 19_500);
/// Files of 1 MiB that are made.
const MIDDLE_FILES: u64 = 40;
/// Large files that chaos adds to the largest, so that there is always one to be interrupted.
const LARGE_FILES: u64 = 3;
/// What is written at once.
const BLOCK_BYTES: usize = 1 << 20;
/// Modification time of the first made file, in seconds since the Unix epoch; each other is a
/// second younger. In the past, so that a copy that was merely written has another.
const MADE_AT: u64 = 1_500_000_000;
/// Longest user's file that is copied in order to be dropped into a watched directory.
const DROPPED_BYTES_MAX: u64 = 64 << 20;

/// How a file gets to its producer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Way {
    /// Submitted by its path, and kept.
    Sent,
    /// Moved into a watched directory, and deleted once it is delivered.
    Dropped,
}

impl Way {
    pub(super) const ALL: [Self; 2] = [Self::Sent, Self::Dropped];

    /// The feed that such files go by.
    pub(super) fn feed(self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::Dropped => "dropped",
        }
    }
}

/// A file that is to be delivered.
#[derive(Debug, Clone)]
pub(super) struct Source {
    /// How it gets to its producer.
    pub(super) way: Way,
    /// Which producer.
    pub(super) producer: usize,
    /// Its name in the feed.
    pub(super) name: String,
    /// Where it is until it is handed over.
    pub(super) path: PathBuf,
    /// What every copy must be.
    pub(super) print: Print,
}

/// A file that is to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Shape {
    name: String,
    size: u64,
}

impl Shape {
    fn new(name: impl Into<String>, size: u64) -> Self {
        Self {
            name: name.into(),
            size,
        }
    }
}

/// The files that a demonstration makes, in the order in which they are handed over: the large ones
/// spread evenly among the others.
pub(super) fn shapes(largest: u64, chaos: bool, rng: &mut Rng) -> Vec<Shape> {
    let mut shapes = awkward();
    shapes.extend((0..SMALL_FILES).map(|at| {
        let size = SMALL_BYTES.0 + rng.below(SMALL_BYTES.1 - SMALL_BYTES.0 + 1);
        Shape::new(format!("readings/{:02}/{at:04}.json", at % 25), size)
    }));
    let middle =
        (0..MIDDLE_FILES).map(|at| Shape::new(format!("photos/photo {at:02}.jpg"), 1 << 20));
    shapes.extend(middle);
    for at in (1..shapes.len()).rev() {
        shapes.swap(at, rng.below(at as u64 + 1) as usize);
    }
    let larger = if chaos { LARGE_FILES } else { 0 };
    let step = shapes.len() / (larger as usize + 1);
    for at in 1..=larger {
        let shape = Shape::new(format!("large/disk-{at}.img"), (largest / 4).max(1));
        shapes.insert(at as usize * step, shape);
    }
    shapes.insert(0, Shape::new("large/archive.bin", largest));
    shapes
}

/// Files that keep data flowing when all others have arrived and chaos is not over.
pub(super) fn more(round: u64, rng: &mut Rng) -> Vec<Shape> {
    let small = (0..100).map(|at| {
        let size = SMALL_BYTES.0 + rng.below(SMALL_BYTES.1 - SMALL_BYTES.0 + 1);
        Shape::new(format!("more-{round}/{at:03}.json"), size)
    });
    let large = Shape::new(format!("more-{round}/disk.img"), 64 << 20);
    std::iter::once(large).chain(small).collect()
}

/// What other programs stumble over.
fn awkward() -> Vec<Shape> {
    vec![
        Shape::new("empty", 0),
        Shape::new("one byte", 1),
        Shape::new("  spaces  in  front and behind ", 700),
        Shape::new("Zażółć — 文件 — 🚚.txt", 4_096),
        Shape::new("new'quote\"and\\backslash", 10),
        Shape::new("-rf", 3),
        Shape::new("a/b/c/d/e/f/g/h/leaf.txt", 5_000),
        Shape::new(format!("{}.dat", "n".repeat(251)), 20_000),
        // At the border between small and large files, and between one chunk and two.
        Shape::new("border/256KiB", 256 << 10),
        Shape::new("border/256KiB and a byte", (256 << 10) + 1),
        Shape::new("border/1MiB less a byte", (1 << 20) - 1),
        Shape::new("border/1MiB and a byte", (1 << 20) + 1),
    ]
}

/// How many bytes the shapes have together.
pub(super) fn bytes_of(shapes: &[Shape]) -> u64 {
    shapes.iter().map(|shape| shape.size).sum()
}

/// Makes files, and prepares those of the user.
#[derive(Debug)]
pub(super) struct Maker {
    dir: PathBuf,
    producers: usize,
    seed: u64,
    prepared: u64,
    names: BTreeSet<String>,
}

impl Maker {
    /// A maker that works in `dir`, for so many producers.
    pub(super) fn new(dir: PathBuf, producers: usize, seed: u64) -> Self {
        Self {
            dir,
            producers,
            seed,
            prepared: 0,
            names: BTreeSet::new(),
        }
    }

    /// Makes a file with random bytes.
    ///
    /// # Errors
    /// Whatever the filesystem says, with the path.
    pub(super) fn make(&mut self, shape: &Shape) -> anyhow::Result<Source> {
        let turn = self.next_turn();
        let path = self.place_for(&shape.name)?;
        let mode = if turn.is_multiple_of(3) { 0o640 } else { 0o644 };
        let mtime_s = MADE_AT + turn;
        let digest = write_random(&path, shape.size, self.seed, turn)
            .and_then(|digest| set_attributes(&path, mtime_s, mode).map(|()| digest))
            .with_context(|| format!("cannot make {}", path.display()))?;
        let print = Print {
            size: shape.size,
            digest,
            mtime_ns: i128::from(mtime_s) * 1_000_000_000,
            mode,
        };
        Ok(self.source(turn, way_of(turn), shape.name.clone(), path, print))
    }

    /// Prepares one of the user's files; it is left as it is, and dropped ones are copies.
    ///
    /// # Errors
    /// Whatever the filesystem says, with the path.
    pub(super) fn prepare(&mut self, file: FoundFile) -> anyhow::Result<Source> {
        let turn = self.next_turn();
        let way = match way_of(turn) {
            Way::Dropped if file.size <= DROPPED_BYTES_MAX && !is_left_alone(&file.name) => {
                Way::Dropped
            }
            Way::Dropped | Way::Sent => Way::Sent,
        };
        let name = self.unique(file.name);
        let mut path = PathBuf::from(file.path);
        if way == Way::Dropped {
            let copy = self.place_for(&name)?;
            fs::copy(&path, &copy)
                .with_context(|| format!("cannot copy {} to {}", path.display(), copy.display()))?;
            path = copy;
        }
        let print =
            inbox::print(&path).with_context(|| format!("cannot read {}", path.display()))?;
        Ok(self.source(turn, way, name, path, print))
    }

    fn source(&self, turn: u64, way: Way, name: String, path: PathBuf, print: Print) -> Source {
        let producer = (turn / 2) as usize % self.producers;
        Source {
            way,
            producer,
            name,
            path,
            print,
        }
    }

    fn next_turn(&mut self) -> u64 {
        self.prepared += 1;
        self.prepared
    }

    fn place_for(&self, name: &str) -> anyhow::Result<PathBuf> {
        let path = self.dir.join(name);
        let parent = path.parent().expect("it was joined to a directory");
        fs::create_dir_all(parent).with_context(|| format!("cannot make {}", parent.display()))?;
        Ok(path)
    }

    /// Two arguments may hold files of one name, and each must arrive under one of its own.
    fn unique(&mut self, name: String) -> String {
        let mut unique = name.clone();
        for count in 2.. {
            if self.names.insert(unique.clone()) {
                break;
            }
            unique = format!("{count}/{name}");
        }
        unique
    }
}

/// The user's files under some arguments, and what of them is not sent and why.
///
/// # Errors
/// When an argument is not there, or nothing is left.
pub(super) fn find(paths: &[PathBuf]) -> anyhow::Result<(Vec<FoundFile>, Vec<String>)> {
    let walk = Walk::new(paths).map_err(|failure| anyhow::anyhow!(failure.text))?;
    let (mut files, mut skipped) = (Vec::new(), Vec::new());
    let mut walk = walk;
    for found in walk.by_ref() {
        match found {
            Ok(file) => files.push(file),
            Err(why) => skipped.push(format!("not sent: {why}")),
        }
    }
    skipped.extend(walk.left_out());
    anyhow::ensure!(
        !files.is_empty(),
        "there is no file to send there; hint: name another path, or none, and files are made"
    );
    Ok((files, skipped))
}

/// One way and the other in turn.
fn way_of(turn: u64) -> Way {
    match turn % 2 {
        0 => Way::Dropped,
        _ => Way::Sent,
    }
}

/// Whether a watched directory would take the name for one that is still being written.
fn is_left_alone(name: &str) -> bool {
    name.split('/').any(|part| {
        part.starts_with('.')
            || part.ends_with('~')
            || part.ends_with(".part")
            || part.ends_with(".tmp")
    })
}

fn write_random(path: &Path, size: u64, seed: u64, turn: u64) -> io::Result<blake3::Hash> {
    let mut random = blake3::Hasher::new_derive_key("consign demo 1: bytes of made files");
    random
        .update(&seed.to_le_bytes())
        .update(&turn.to_le_bytes());
    let mut random = random.finalize_xof();
    let mut hasher = blake3::Hasher::new();
    let mut file = File::create_new(path)?;
    let mut block = vec![0; BLOCK_BYTES.min(usize::try_from(size).unwrap_or(BLOCK_BYTES))];
    let mut left = size;
    while left > 0 {
        let length = usize::try_from(left).map_or(block.len(), |left| left.min(block.len()));
        random.fill(&mut block[..length]);
        hasher.update(&block[..length]);
        file.write_all(&block[..length])?;
        left -= length as u64;
    }
    Ok(hasher.finalize())
}

fn set_attributes(path: &Path, mtime_s: u64, mode: u32) -> io::Result<()> {
    let file = File::options().write(true).open(path)?;
    file.set_modified(UNIX_EPOCH + Duration::from_secs(mtime_s))?;
    file.set_permissions(Permissions::from_mode(mode))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn made_files_are_what_they_are_said_to_be() {
        let dir = tempfile::tempdir().unwrap();
        let mut maker = Maker::new(dir.path().to_owned(), 2, 7);
        for shape in awkward() {
            let source = maker.make(&shape).unwrap();
            assert_eq!(
                inbox::print(&source.path).unwrap(),
                source.print,
                "{shape:?}"
            );
            assert_eq!(source.print.size, shape.size);
        }
    }

    #[test]
    fn a_seed_repeats_names_and_order() {
        let shapes = |seed| shapes(256 << 20, true, &mut Rng::new(seed));
        assert_eq!(shapes(1), shapes(1));
        assert_ne!(shapes(1), shapes(2));
        let names: BTreeSet<_> = shapes(1).into_iter().map(|shape| shape.name).collect();
        assert_eq!(names.len(), shapes(1).len(), "no name is there twice");
    }

    #[test]
    fn files_of_one_name_from_two_arguments_stay_apart() {
        let dir = tempfile::tempdir().unwrap();
        for sub in ["x", "y"] {
            fs::create_dir(dir.path().join(sub)).unwrap();
            fs::write(dir.path().join(sub).join("same.txt"), sub).unwrap();
        }
        let (files, skipped) = find(&[dir.path().join("x"), dir.path().join("y")]).unwrap();
        assert!(skipped.is_empty());
        let made = tempfile::tempdir().unwrap();
        let mut maker = Maker::new(made.path().to_owned(), 1, 7);
        let sources = files.into_iter().map(|file| maker.prepare(file).unwrap());
        let names: Vec<_> = sources.map(|source| source.name).collect();
        assert_eq!(names, ["same.txt", "2/same.txt"]);
    }
}
