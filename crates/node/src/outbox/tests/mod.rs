//! A file that is taken is held until it is released, whatever is repeated, and whoever meddles.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use consign_core::limits::SMALL_FILE_BYTES_MAX;
use consign_core::spec::{After, Source, Stamp};
use tempfile::TempDir;

use super::{
    Content, Look, Origin, Orphan, OrphanKind, Outbox, Release, Released, Restored, TakeError,
    TakeRequest, Taken, look,
};

const LARGE: usize = SMALL_FILE_BYTES_MAX as usize + 1;

mod across;

struct Place {
    watch: TempDir,
    data: TempDir,
    outbox: Outbox,
}

impl Place {
    fn new() -> Self {
        Self::with_watch(tempfile::tempdir().unwrap())
    }

    /// With origins on another filesystem than the spool; `None` where there is no such.
    fn across() -> Option<Self> {
        let shm = Path::new("/dev/shm");
        let watch = tempfile::tempdir_in(shm).ok()?;
        let place = Self::with_watch(watch);
        let dev = |path: &Path| fs::metadata(path).unwrap().dev();
        (dev(place.watch.path()) != dev(place.data.path())).then_some(place)
    }

    fn with_watch(watch: TempDir) -> Self {
        let data = tempfile::tempdir().unwrap();
        let outbox = Outbox::open(data.path()).unwrap();
        Self {
            watch,
            data,
            outbox,
        }
    }

    fn file(&self, name: &str, len: usize) -> PathBuf {
        let path = self.watch.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, vec![b'x'; len]).unwrap();
        path
    }

    fn request(&self, path: &Path, after: After) -> TakeRequest {
        TakeRequest {
            origin: Origin {
                path: path.to_owned(),
                beneath: Some(self.watch.path().to_owned()),
            },
            spool: "s.1".to_owned(),
            after,
            watched: true,
            expect: None,
        }
    }

    fn take(&self, path: &Path, after: After) -> Result<Taken, TakeError> {
        let request = self.request(path, after);
        self.outbox.take_batch(&[request]).unwrap().pop().unwrap()
    }

    fn release(&self, source: &Source, name: &str) -> Released {
        let release = Release {
            source: source.clone(),
            feed: "f".to_owned(),
            name: name.to_owned(),
            id: "s.1".to_owned(),
            beneath: Some(self.watch.path().to_owned()),
            archive: None,
        };
        let outcome = self.outbox.release_batch(&[release]).unwrap().pop();
        outcome.unwrap().unwrap()
    }

    fn restore(&self, source: &Source, name: &str) -> Restored {
        let beneath = Some(self.watch.path());
        self.outbox.restore(source, "f", name, beneath).unwrap()
    }

    fn spooled(&self) -> Vec<String> {
        names(&self.data.path().join("spool"))
    }
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(dir)
        .unwrap()
        .map(|e| e.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

fn stamp(taken: &Taken) -> Stamp {
    taken.source.stamp.unwrap()
}

#[test]
fn small_files_come_whole_with_their_digest_and_large_ones_are_spooled() {
    for after in [After::Keep, After::Delete, After::Archive] {
        let place = Place::new();
        let path = place.file("sub/a", 10);
        let taken = place.take(&path, after).unwrap();
        let Content::Small { bytes, digest } = &taken.content else {
            panic!("{taken:?}");
        };
        assert_eq!(&bytes[..], &[b'x'; 10]);
        assert_eq!(digest.0, *blake3::hash(&[b'x'; 10]).as_bytes());
        assert_eq!(path.exists(), after == After::Keep);
        assert_eq!(place.spooled().is_empty(), after == After::Keep);

        let place = Place::new();
        let path = place.file("a", LARGE);
        let taken = place.take(&path, after).unwrap();
        assert!(matches!(taken.content, Content::Large));
        assert!(taken.source.shared && !super::owes_removal(&taken.source));
        assert_eq!((taken.size, taken.source.after()), (LARGE as u64, after));
        assert_eq!(path.exists(), after == After::Keep);
        assert_eq!(place.spooled(), ["s.1"]);
    }
}

#[test]
fn every_file_that_enters_the_spool_is_synced_however_small() {
    for len in [0, 10, LARGE] {
        let place = Place::new();
        let path = place.file("a", len);
        let dir = place.request(&path, After::Archive).origin.dir().unwrap();
        let (file, stat) = super::origin::open_regular(&dir.fd, &dir.name, &path).unwrap();
        let mut syncs = super::syncs::Syncs::default();
        super::content::content_of(file, &stat, &path, &mut syncs).unwrap();
        assert!(syncs.owes_file(&path), "{len} bytes");
    }
}

#[test]
fn empty_files_and_longest_names_are_taken() {
    let place = Place::new();
    for name in ["e".to_owned(), "ä".repeat(127) + "x"] {
        let path = place.file(&name, 0);
        let taken = place.take(&path, After::Delete).unwrap();
        assert_eq!(taken.size, 0);
        assert_eq!(place.release(&taken.source, &name), Released::Deleted);
    }
}

#[test]
fn a_claim_repeated_after_a_crash_continues_from_the_spool() {
    for (after, len) in [
        (After::Delete, 5),
        (After::Archive, LARGE),
        (After::Keep, LARGE),
    ] {
        let place = Place::new();
        let path = place.file("a", len);
        let first = place.take(&path, after).unwrap();
        // The next file under the same path is not this transfer's.
        if after != After::Keep {
            place.file("a", 1);
        }
        let again = place.take(&path, after).unwrap();
        assert_eq!(again.size, len as u64);
        assert_eq!(stamp(&again).ino, stamp(&first).ino);
        assert!(path.exists());
    }
}

#[test]
fn what_is_neither_in_place_nor_in_the_spool_vanished() {
    let place = Place::new();
    for path in ["none", "none/none"] {
        let path = place.watch.path().join(path);
        for after in [After::Keep, After::Delete] {
            let error = place.take(&path, after).unwrap_err();
            assert!(matches!(error, TakeError::Vanished { .. }), "{error}");
        }
    }
}

#[test]
fn special_files_are_refused_and_left_alone() {
    let place = Place::new();
    let at = |name: &str| place.watch.path().join(name);
    let target = place.file("target", 3);
    symlink(&target, at("link")).unwrap();
    symlink(place.data.path(), at("dirlink")).unwrap();
    fs::write(place.data.path().join("secret"), b"s").unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        at("fifo"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o600),
        0,
    )
    .unwrap();
    let _listener = UnixListener::bind(at("socket")).unwrap();
    fs::create_dir(at("dir")).unwrap();
    for name in ["link", "fifo", "socket", "dir"] {
        for after in [After::Keep, After::Delete] {
            let error = place.take(&at(name), after).unwrap_err();
            assert!(matches!(error, TakeError::NotRegular { .. }), "{error}");
            assert!(error.to_string().contains("hint:"));
            assert!(fs::symlink_metadata(at(name)).is_ok());
        }
    }
    let through = place.take(&at("dirlink/secret"), After::Delete);
    assert!(
        through.is_err(),
        "no symbolic link below a watched directory is followed"
    );
    assert!(place.data.path().join("secret").exists());
    assert!(place.spooled().is_empty());
}

#[test]
fn a_link_swapped_in_during_a_claim_is_put_back() {
    let place = Place::new();
    symlink("/etc/hostname", place.data.path().join("spool/s.1")).unwrap();
    let path = place.watch.path().join("a");
    let error = place.take(&path, After::Delete).unwrap_err();
    assert!(matches!(error, TakeError::NotRegular { .. }), "{error}");
    assert!(fs::symlink_metadata(&path).unwrap().is_symlink());
    assert!(place.spooled().is_empty());
}

#[test]
fn names_that_are_not_utf8_are_refused() {
    let place = Place::new();
    let path = place
        .watch
        .path()
        .join(std::ffi::OsStr::from_bytes(b"a\xff"));
    fs::write(&path, b"x").unwrap();
    let error = place.take(&path, After::Delete).unwrap_err();
    assert!(matches!(error, TakeError::NotUtf8 { .. }), "{error}");
    assert!(path.exists());
}

#[test]
fn a_file_that_changed_since_it_was_found_stays_in_place() {
    let place = Place::new();
    for after in [After::Keep, After::Delete] {
        let path = place.file("a", 5);
        let meta = fs::metadata(&path).unwrap();
        let found = Stamp {
            size: 4,
            mtime_ns: meta.mtime() * 1_000_000_000 + meta.mtime_nsec(),
            ctime_ns: 0,
            ino: meta.ino(),
            dev: meta.dev(),
        };
        let mut request = place.request(&path, after);
        request.expect = Some(found);
        let outcome = place.outbox.take_batch(&[request.clone()]).unwrap().pop();
        let error = outcome.unwrap().unwrap_err();
        assert!(matches!(error, TakeError::Changed { .. }), "{error}");
        assert!(path.exists());
        request.expect = Some(Stamp { size: 5, ..found });
        let outcome = place.outbox.take_batch(&[request]).unwrap().pop();
        assert!(outcome.unwrap().is_ok());
    }
}

#[test]
fn a_file_that_cannot_go_back_is_set_aside_and_named() {
    let place = Place::new();
    let path = place.file("a.txt", 5);
    let found = stamp(&place.take(&path, After::Delete).unwrap());
    place.file("a.txt", 7);
    let mut request = place.request(&path, After::Delete);
    request.expect = Some(Stamp { size: 6, ..found });
    let outcome = place.outbox.take_batch(&[request]).unwrap().pop();
    let Err(TakeError::Stranded { now_at, .. }) = outcome.unwrap() else {
        panic!("it must be stranded");
    };
    assert_eq!(now_at, place.data.path().join("failed/a.s.1.txt"));
    assert_eq!(fs::metadata(now_at).unwrap().len(), 5);
    assert_eq!(fs::metadata(path).unwrap().len(), 7);
}

#[test]
fn another_number_of_the_same_device_is_no_edit() {
    let place = Place::new();
    let taken = place.take(&place.file("a", LARGE), After::Keep).unwrap();
    let before_a_reboot = Stamp {
        dev: stamp(&taken).dev + 1,
        ..stamp(&taken)
    };
    let now = stamp(&taken);
    let looked = super::stamp::compare(&before_a_reboot, now);
    assert_eq!(looked, Look::Touched(now));
}

#[test]
fn edits_of_a_linked_file_are_seen_and_renames_of_it_are_not_edits() {
    let place = Place::new();
    let path = place.file("a", LARGE);
    let taken = place.take(&path, After::Keep).unwrap();
    let held = place.outbox.open_spooled(&taken.source.spool).unwrap();
    let look = |taken: &Stamp| look(&held, &path, taken).unwrap();
    assert_eq!(look(&stamp(&taken)), Look::Same);
    let moved = place.watch.path().join("b");
    fs::rename(&path, &moved).unwrap();
    fs::remove_file(&moved).unwrap();
    let Look::Touched(now) = look(&stamp(&taken)) else {
        panic!("its owner may remove a kept file");
    };
    let spooled = place.data.path().join("spool/s.1");
    let mut writer = OpenOptions::new().write(true).open(spooled).unwrap();
    writer.write_all(b"y").unwrap();
    assert!(matches!(look(&now), Look::Changed(_)));
}

#[test]
fn a_batch_takes_the_good_and_names_the_bad() {
    let place = Place::new();
    let requests: Vec<_> = (0..600)
        .map(|n| {
            let name = format!("d{}/{n}", n % 3);
            let path = place.file(&name, 20);
            if n % 100 == 7 {
                fs::remove_file(&path).unwrap();
            }
            TakeRequest {
                spool: format!("s.{n}"),
                ..place.request(&path, After::Delete)
            }
        })
        .collect();
    let outcomes = place.outbox.take_batch(&requests).unwrap();
    let bad = outcomes.iter().filter(|o| o.is_err()).count();
    assert_eq!((outcomes.len(), bad), (600, 6));
    assert_eq!(place.spooled().len(), 594);
}

#[test]
fn release_lets_go_as_the_feed_says_and_may_be_repeated() {
    let place = Place::new();
    let taken = place.take(&place.file("a", 5), After::Delete).unwrap();
    assert_eq!(place.release(&taken.source, "a"), Released::Deleted);
    assert_eq!(place.release(&taken.source, "a"), Released::NotInSpool);

    let path = place.file("k", LARGE);
    let taken = place.take(&path, After::Keep).unwrap();
    for _ in 0..2 {
        assert_eq!(place.release(&taken.source, "k"), Released::Kept);
    }
    let kept = place.outbox.kept();
    assert!(kept.contains_unchanged("f", "k", &stamp(&taken)).unwrap());
    assert!(path.exists() && place.spooled().is_empty());
}

#[test]
fn the_archive_keeps_relative_names_and_replaces_nothing() {
    let place = Place::new();
    let archive = place.data.path().join("archive/f");
    for (len, expected) in [(5, "sub/a.txt"), (LARGE, "sub/a.s.1.txt")] {
        let path = place.file("sub/a.txt", len);
        let taken = place.take(&path, After::Archive).unwrap();
        let at = archive.join(expected);
        assert_eq!(
            place.release(&taken.source, "sub/a.txt"),
            Released::Archived(at.clone())
        );
        assert_eq!(fs::metadata(at).unwrap().len(), len as u64);
        assert_eq!(
            place.release(&taken.source, "sub/a.txt"),
            Released::NotInSpool
        );
    }
}

#[test]
fn restore_puts_files_back_and_the_watcher_is_told_to_leave_them() {
    let place = Place::new();
    let path = place.file("a", 5);
    let taken = place.take(&path, After::Delete).unwrap();
    assert_eq!(place.restore(&taken.source, "a"), Restored::InPlace);
    assert_eq!(place.restore(&taken.source, "a"), Restored::NotInSpool);
    let kept = place.outbox.kept();
    assert!(kept.contains_unchanged("f", "a", &stamp(&taken)).unwrap());
    assert!(path.exists());

    let taken = place.take(&path, After::Archive).unwrap();
    place.file("a", 6);
    let Restored::SetAside(aside) = place.restore(&taken.source, "a") else {
        panic!("its path is taken");
    };
    assert_eq!(fs::metadata(aside).unwrap().len(), 5);
    assert_eq!(fs::metadata(&path).unwrap().len(), 6);
}

#[test]
fn restoring_a_kept_file_drops_the_link_unless_it_is_the_last() {
    let place = Place::new();
    let path = place.file("a", LARGE);
    let taken = place.take(&path, After::Keep).unwrap();
    assert_eq!(place.restore(&taken.source, "a"), Restored::InPlace);
    assert!(path.exists() && place.spooled().is_empty());
    let taken = place.take(&path, After::Keep).unwrap();
    fs::remove_file(&path).unwrap();
    assert!(matches!(
        place.restore(&taken.source, "a"),
        Restored::SetAside(_)
    ));
}

#[test]
fn unknown_entries_of_the_spool_are_listed_and_lost_by_nobody() {
    let place = Place::new();
    for name in ["s.1", "s.2.copy", "s.3", "s.4.part"] {
        File::create(place.data.path().join("spool").join(name)).unwrap();
    }
    let orphans = place.outbox.orphans(|name| matches!(name, "s.1" | "s.2"));
    let orphan = |name: &str, kind| Orphan {
        name: name.to_owned(),
        size: 0,
        kind,
    };
    assert_eq!(
        orphans.unwrap(),
        [
            orphan("s.3", OrphanKind::Whole),
            orphan("s.4.part", OrphanKind::Partial)
        ]
    );
    place.outbox.discard_partial("s.4.part").unwrap();
    let aside = place.outbox.set_aside("s.3").unwrap();
    assert!(aside.exists());
    assert_eq!(place.spooled(), ["s.1", "s.2.copy"]);
}

#[test]
fn what_may_not_be_read_or_moved_is_named_and_left_alone() {
    if rustix::process::geteuid().is_root() {
        return; // Everything may be.
    }
    let allow = |path: &Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    };
    let place = Place::new();
    let path = place.file("d/a", LARGE);
    allow(&path, 0o000);
    for after in [After::Keep, After::Delete] {
        let error = place.take(&path, after).unwrap_err();
        assert!(matches!(error, TakeError::Unreadable { .. }), "{error}");
    }
    allow(&path, 0o400);
    allow(&place.watch.path().join("d"), 0o500);
    let error = place.take(&path, After::Delete).unwrap_err();
    assert!(matches!(error, TakeError::NotMovable { .. }), "{error}");
    assert!(place.take(&path, After::Keep).is_ok());
    assert!(path.exists());
    allow(&place.watch.path().join("d"), 0o700);
}
