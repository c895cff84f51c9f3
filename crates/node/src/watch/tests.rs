//! Whatever happens in a watched directory, each file that is ready is offered, and offered once.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use consign_core::ids::FeedName;
use tempfile::TempDir;
use tokio::time::timeout;

use super::{ProblemList, Ready, WatchConfig, Watcher};
use crate::outbox::Kept;

/// Long enough for the slowest machine; passing tests never wait for it.
const DEADLINE: Duration = Duration::from_secs(60);

pub(super) struct Place {
    dir: TempDir,
    pub(super) kept: Arc<Kept>,
    pub(super) config: WatchConfig,
}

impl Place {
    pub(super) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("out");
        fs::create_dir(&root).unwrap();
        let kept = Kept::open(&dir.path().join("kept.db")).unwrap();
        let feed = FeedName::new("f").unwrap();
        let mut config = WatchConfig::new(feed, root, &["**/*".to_owned()]).unwrap();
        // Events and scans are told apart by what is set to never.
        config.settle = Duration::from_millis(50);
        config.scan_every = Duration::from_millis(100);
        config.forget_every = Duration::ZERO;
        Self {
            dir,
            kept: Arc::new(kept),
            config,
        }
    }

    /// Only what raises events is found, after the first scan.
    pub(super) fn without_scans(mut self) -> Self {
        self.config.scan_every = Duration::from_secs(3600);
        self
    }

    fn start(&self) -> Watcher {
        Watcher::start(self.config.clone(), self.kept.clone()).unwrap()
    }

    pub(super) fn at(&self, name: &str) -> PathBuf {
        self.config.root.join(name)
    }

    pub(super) fn write(&self, name: &str, bytes: &[u8]) {
        let path = self.at(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
}

async fn next(watcher: &mut Watcher) -> Ready {
    timeout(DEADLINE, watcher.next()).await.unwrap().unwrap()
}

/// Takes files as a feed with `delete` does, until `count` are taken; panics if one comes twice.
async fn take(watcher: &mut Watcher, count: usize) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    while names.len() < count {
        let ready = next(watcher).await;
        fs::remove_file(&ready.path).unwrap();
        watcher.verdicts().taken(&ready.relative_name);
        assert!(names.insert(ready.relative_name.clone()), "{ready:?}");
    }
    names
}

async fn problems(watcher: &Watcher, wanted: impl Fn(&ProblemList) -> bool) -> Arc<ProblemList> {
    let mut list = watcher.problems();
    let found = timeout(DEADLINE, list.wait_for(|list| wanted(list))).await;
    found.expect("the list never came to this").unwrap().clone()
}

fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[tokio::test]
async fn files_that_were_there_and_files_that_come_are_offered() {
    let place = Place::new();
    place.write("a", b"1");
    place.write("d/e/b", b"2");
    let mut watcher = place.start();
    assert_eq!(take(&mut watcher, 2).await, set(&["a", "d/e/b"]));
    place.write("c", b"3");
    let ready = next(&mut watcher).await;
    assert_eq!(ready.path, place.at("c"));
    assert_eq!((ready.stamp.size, ready.feed.as_str()), (1, "f"));
    watcher.stop().unwrap();
}

#[tokio::test]
async fn events_alone_find_what_is_closed_and_what_is_renamed() {
    let mut place = Place::new().without_scans();
    place.config.settle = Duration::from_secs(3600);
    let mut watcher = place.start();
    // Written anew until the subscription stands, which the first event shows.
    let mut first = None;
    while first.is_none() {
        place.write("first", b"1");
        let soon = Duration::from_millis(20);
        first = timeout(soon, watcher.next()).await.ok();
    }
    fs::remove_file(place.at("first")).unwrap();
    watcher.verdicts().taken("first");

    place.write("closed", b"1");
    place.write(".hidden", b"1");
    fs::rename(place.at(".hidden"), place.at("renamed")).unwrap();
    assert_eq!(take(&mut watcher, 2).await, set(&["closed", "renamed"]));
    assert!(watcher.ready.try_recv().is_err());
}

#[tokio::test]
async fn a_directory_that_is_moved_in_is_looked_through_without_a_scan() {
    let place = Place::new().without_scans();
    place.write("first", b"");
    let mut watcher = place.start();
    take(&mut watcher, 1).await;
    let aside = place.dir.path().join("aside");
    fs::create_dir_all(aside.join("x/y")).unwrap();
    for name in ["1", "x/2", "x/y/3"] {
        fs::write(aside.join(name), b"").unwrap();
    }
    fs::rename(&aside, place.at("in")).unwrap();
    let names = take(&mut watcher, 3).await;
    assert_eq!(names, set(&["in/1", "in/x/2", "in/x/y/3"]));
}

#[tokio::test]
async fn ten_thousand_files_at_once_are_offered_a_few_at_a_time() {
    let mut place = Place::new();
    place.config.in_flight_max = 100;
    let mut watcher = place.start();
    for n in 0..10_000 {
        place.write(&format!("{}/{n}", n % 7), b"");
    }
    let mut first = Vec::new();
    for _ in 0..100 {
        first.push(next(&mut watcher).await);
    }
    assert!(watcher.ready.try_recv().is_err(), "no more until a verdict");
    for ready in first {
        fs::remove_file(&ready.path).unwrap();
        watcher.verdicts().taken(&ready.relative_name);
    }
    assert_eq!(take(&mut watcher, 9_900).await.len(), 9_900);
}

#[tokio::test]
async fn temporary_names_wait_for_their_rename() {
    let place = Place::new();
    let mut watcher = place.start();
    let temporary = [".a", "b.part", "c.tmp", "d~", ".consign/e", "f.part/g"];
    for name in temporary {
        place.write(name, b"");
    }
    place.write("z", b"");
    assert_eq!(take(&mut watcher, 1).await, set(&["z"]));
    fs::rename(place.at("b.part"), place.at("b")).unwrap();
    assert_eq!(take(&mut watcher, 1).await, set(&["b"]));
    for name in temporary.iter().filter(|name| **name != "b.part") {
        assert!(place.at(name).exists());
    }
}

#[tokio::test]
async fn a_file_that_is_held_open_is_offered_when_it_has_settled() {
    let mut place = Place::new();
    place.config.settle = Duration::from_millis(300);
    let mut watcher = place.start();
    let mut file = File::create(place.at("a")).unwrap();
    let before = Instant::now();
    file.write_all(b"12").unwrap();
    let ready = next(&mut watcher).await;
    assert!(before.elapsed() >= place.config.settle);
    assert_eq!(ready.stamp.size, 2);
    // It is written on while it is on offer, and is a new file when that is over.
    file.write_all(b"345").unwrap();
    drop(file);
    watcher.verdicts().taken("a");
    assert_eq!(next(&mut watcher).await.stamp.size, 5);
}

#[tokio::test]
async fn what_cannot_be_sent_is_listed_until_it_is_gone() {
    let place = Place::new();
    symlink("/etc/hostname", place.at("link")).unwrap();
    let fifo = rustix::fs::FileType::Fifo;
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    rustix::fs::mknodat(rustix::fs::CWD, place.at("fifo"), fifo, mode, 0).unwrap();
    let _listener = UnixListener::bind(place.at("socket")).unwrap();
    let odd = place
        .config
        .root
        .join(std::ffi::OsStr::from_bytes(b"a\xff"));
    fs::write(&odd, b"").unwrap();
    place.write("line\nbreak", b"");
    let deep = "d/".repeat(64) + "x";
    place.write(&deep, b"");
    place.write("fine", b"");
    let mut watcher = place.start();
    assert_eq!(take(&mut watcher, 1).await, set(&["fine"]));
    let list = problems(&watcher, |list| list.listed.len() == 6).await;
    for problem in &list.listed {
        assert!(problem.why.contains("hint:"), "{problem:?}");
        assert!(fs::symlink_metadata(&problem.path).is_ok());
    }
    fs::remove_file(place.at("link")).unwrap();
    fs::remove_file(&odd).unwrap();
    problems(&watcher, |list| list.listed.len() == 4).await;
    assert!(watcher.ready.try_recv().is_err());
}

#[tokio::test]
async fn a_directory_that_may_not_be_read_is_listed() {
    if rustix::process::geteuid().is_root() {
        return; // Everything may be read.
    }
    let place = Place::new();
    place.write("d/a", b"");
    fs::set_permissions(place.at("d"), fs::Permissions::from_mode(0o000)).unwrap();
    let watcher = place.start();
    problems(&watcher, |list| !list.listed.is_empty()).await;
    fs::set_permissions(place.at("d"), fs::Permissions::from_mode(0o700)).unwrap();
}

#[tokio::test]
async fn names_of_255_bytes_are_offered() {
    let place = Place::new();
    let name = "ä".repeat(127) + "x";
    place.write(&name, b"");
    let mut watcher = place.start();
    assert_eq!(take(&mut watcher, 1).await, set(&[&name]));
}

#[tokio::test]
async fn kept_files_are_offered_once_over_restarts_and_again_when_changed() {
    let place = Place::new();
    place.write("a", b"1");
    let mut watcher = place.start();
    let ready = next(&mut watcher).await;
    place.kept.insert_batch([("f", "a", ready.stamp)]).unwrap();
    watcher.verdicts().taken("a");
    watcher.stop().unwrap();

    let mut watcher = place.start();
    place.write("b", b"");
    assert_eq!(take(&mut watcher, 1).await, set(&["b"]));
    fs::write(place.at(".new"), b"22").unwrap();
    fs::rename(place.at(".new"), place.at("a")).unwrap();
    let ready = next(&mut watcher).await;
    assert_eq!((ready.relative_name.as_str(), ready.stamp.size), ("a", 2));
}

#[tokio::test]
async fn kept_files_are_forgotten_when_they_are_gone() {
    let place = Place::new();
    place.write("a", b"1");
    place.write("stays", b"1");
    let mut watcher = place.start();
    let mut stamps = Vec::new();
    for _ in 0..2 {
        let ready = next(&mut watcher).await;
        let row = ("f", ready.relative_name.as_str(), ready.stamp);
        place.kept.insert_batch([row]).unwrap();
        watcher.verdicts().taken(&ready.relative_name);
        if ready.relative_name == "a" {
            stamps.push(ready.stamp);
        }
    }
    fs::remove_file(place.at("a")).unwrap();
    let begun = Instant::now();
    while place.kept.contains_unchanged("f", "a", &stamps[0]).unwrap() {
        assert!(begun.elapsed() < DEADLINE);
        tokio::task::yield_now().await;
    }
    assert!(watcher.ready.try_recv().is_err());
}

#[tokio::test]
async fn a_refused_file_is_offered_again_when_it_was_said() {
    let place = Place::new();
    place.write("a", b"1");
    let mut watcher = place.start();
    next(&mut watcher).await;
    let retry_at = Instant::now() + Duration::from_millis(300);
    let why = "the queue is full; hint: wait";
    watcher
        .verdicts()
        .refused("a", retry_at, Some(why.to_owned()));
    let list = problems(&watcher, |list| !list.listed.is_empty()).await;
    assert_eq!(
        (&list.listed[0].path, list.listed[0].why.as_str()),
        (&place.at("a"), why)
    );
    assert_eq!(next(&mut watcher).await.relative_name, "a");
    assert!(Instant::now() >= retry_at);
    fs::remove_file(place.at("a")).unwrap();
    watcher.verdicts().taken("a");
    problems(&watcher, |list| list.listed.is_empty()).await;
}

#[tokio::test]
async fn files_that_vanish_on_offer_are_no_problem() {
    let place = Place::new();
    place.write("a", b"1");
    let mut watcher = place.start();
    let ready = next(&mut watcher).await;
    fs::remove_file(&ready.path).unwrap();
    watcher.verdicts().taken("a");
    place.write("b", b"1");
    assert_eq!(next(&mut watcher).await.relative_name, "b");
    assert_eq!(*watcher.problems().borrow().clone(), ProblemList::default());
}

#[tokio::test]
async fn a_missing_directory_is_listed_and_watched_when_it_appears() {
    let mut place = Place::new();
    place.config.root = place.dir.path().join("later");
    let mut watcher = place.start();
    let list = problems(&watcher, |list| !list.listed.is_empty()).await;
    assert!(list.listed[0].why.contains("hint:"));
    place.write("a", b"1");
    assert_eq!(take(&mut watcher, 1).await, set(&["a"]));
    problems(&watcher, |list| list.listed.is_empty()).await;
    // Another directory in its place is watched as well.
    fs::rename(&place.config.root, place.dir.path().join("old")).unwrap();
    place.write("b", b"1");
    assert_eq!(take(&mut watcher, 1).await, set(&["b"]));
}

#[tokio::test]
async fn only_included_files_are_offered() {
    let mut place = Place::new();
    place.config.include = super::include_set(&["**/*.jpg".to_owned()]).unwrap();
    symlink("x", place.at("link.txt")).unwrap();
    place.write("a.txt", b"");
    place.write("d/b.jpg", b"");
    let mut watcher = place.start();
    assert_eq!(take(&mut watcher, 1).await, set(&["d/b.jpg"]));
    assert!(watcher.problems().borrow().listed.is_empty());
}
