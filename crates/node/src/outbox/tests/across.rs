//! Where the origin, or the archive, is on another filesystem than the spool. The tests say nothing
//! on a machine that has no second filesystem to write to.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use consign_core::spec::{After, Stamp};

use super::super::{
    Origin, OriginRemoval, OwedRemoval, Release, Released, Restored, TakeError, TakeRequest,
    owes_removal,
};
use super::{LARGE, Place, names, stamp};

#[test]
fn across_filesystems_the_origin_goes_only_after_submission() {
    for (after, len) in [(After::Delete, 5), (After::Archive, LARGE)] {
        let Some(place) = Place::across() else { return };
        let path = place.file("d/a", len);
        let taken = place.take(&path, after).unwrap();
        assert!(path.exists() && owes_removal(&taken.source));
        assert_eq!(place.spooled(), ["s.1.copy"]);
        let copy = fs::metadata(place.data.path().join("spool/s.1.copy")).unwrap();
        let original = fs::metadata(&path).unwrap();
        assert_eq!(
            (copy.mtime(), copy.mtime_nsec()),
            (original.mtime(), original.mtime_nsec())
        );
        let beneath = Some(place.watch.path());
        let expected = [OriginRemoval::Removed, OriginRemoval::AlreadyGone];
        for outcome in expected {
            let removed = place.outbox.remove_origins(&[(&taken.source, beneath)]);
            assert_eq!(*removed.unwrap()[0].as_ref().unwrap(), outcome);
        }
        place.release(&taken.source, "d/a");
        assert!(place.spooled().is_empty());
    }
}

#[test]
fn across_filesystems_a_new_file_at_the_origin_is_never_removed() {
    let Some(place) = Place::across() else { return };
    let path = place.file("a", 5);
    let taken = place.take(&path, After::Delete).unwrap();
    fs::remove_file(&path).unwrap();
    place.file("a", 6);
    let removed = place
        .outbox
        .remove_origins(&[(&taken.source, Some(place.watch.path()))])
        .unwrap();
    assert_eq!(*removed[0].as_ref().unwrap(), OriginRemoval::Replaced);
    // Even if a crash left it moved aside.
    fs::rename(&path, place.watch.path().join(".consign-taken-s.1")).unwrap();
    place.release(&taken.source, "a");
    assert_eq!(fs::metadata(&path).unwrap().len(), 6);
}

#[test]
fn across_filesystems_a_repeated_claim_copies_anew_or_uses_the_copy() {
    let Some(place) = Place::across() else { return };
    let path = place.file("a", LARGE);
    fs::write(place.data.path().join("spool/s.1.part"), b"cut short").unwrap();
    place.take(&path, After::Delete).unwrap();
    place.file("a", LARGE + 1);
    let taken = place.take(&path, After::Delete).unwrap();
    assert_eq!(taken.size, LARGE as u64 + 1);
    fs::remove_file(&path).unwrap();
    let taken = place.take(&path, After::Delete).unwrap();
    assert_eq!(
        (taken.size, place.spooled()),
        (LARGE as u64 + 1, vec!["s.1.copy".to_owned()])
    );
}

#[test]
fn across_filesystems_a_copy_that_fails_leaves_nothing_behind() {
    let Some(place) = Place::across() else { return };
    let refused = |path: &Path| {
        let error = place.take(path, After::Delete).unwrap_err();
        assert!(path.exists() && place.spooled().is_empty(), "{error}");
        error
    };
    let sparse = place.file("sparse", 0);
    let file = fs::OpenOptions::new().write(true).open(&sparse).unwrap();
    let free = crate::filesystem::free_space(place.data.path()).unwrap();
    if file.set_len(free.saturating_mul(2)).is_ok() {
        let error = refused(&sparse);
        assert!(matches!(error, TakeError::NoSpace { .. }), "{error}");
    }
    // Reading this one fails after its copy was begun.
    let unreadable = Path::new("/proc/self/mem");
    let outcome = place.outbox.take_batch(&[TakeRequest {
        origin: Origin {
            path: unreadable.to_owned(),
            beneath: None,
        },
        ..place.request(unreadable, After::Delete)
    }]);
    assert!(outcome.unwrap().pop().unwrap().is_err());
    assert!(place.spooled().is_empty());
}

#[test]
fn across_filesystems_restore_copies_back_whole() {
    let Some(place) = Place::across() else { return };
    let path = place.file("a", LARGE);
    let taken = place.take(&path, After::Delete).unwrap();
    assert_eq!(place.restore(&taken.source, "a"), Restored::InPlace);
    assert!(path.exists() && place.spooled().is_empty());

    let taken = place.take(&path, After::Delete).unwrap();
    fs::remove_file(&path).unwrap();
    assert_eq!(place.restore(&taken.source, "a"), Restored::InPlace);
    assert_eq!(names(place.watch.path()), ["a"]);
    let meta = fs::metadata(&path).unwrap();
    assert_eq!(meta.len(), LARGE as u64);
    let now = Stamp {
        ino: meta.ino(),
        ..stamp(&taken)
    };
    assert!(
        place
            .outbox
            .kept()
            .contains_unchanged("f", "a", &now)
            .unwrap()
    );
}

#[test]
fn an_archive_on_another_filesystem_gets_each_file_once() {
    let Some(place) = Place::across() else { return };
    let source = tempfile::tempdir().unwrap();
    let path = source.path().join("a");
    fs::write(&path, b"12345").unwrap();
    let mut request = place.request(&path, After::Archive);
    request.origin.beneath = None;
    let taken = place.outbox.take_batch(&[request]).unwrap().pop().unwrap();
    let release = Release {
        source: taken.unwrap().source,
        feed: "f".to_owned(),
        name: "d/a".to_owned(),
        id: "s.1".to_owned(),
        beneath: None,
        archive: Some(place.watch.path().join("archive")),
    };
    let spooled = place.data.path().join("spool/s.1");
    let held = fs::read(&spooled).unwrap();
    for _ in 0..2 {
        // The second time as if a crash had come before the spool's entry was removed.
        fs::write(&spooled, &held).unwrap();
        let outcome = place
            .outbox
            .release_batch(std::slice::from_ref(&release))
            .unwrap()
            .pop();
        let at = place.watch.path().join("archive/d/a");
        assert_eq!(outcome.unwrap().unwrap(), Released::Archived(at));
    }
    assert_eq!(names(&place.watch.path().join("archive/d")), ["a"]);
}

#[test]
fn across_filesystems_kept_files_are_copied_once_and_stay() {
    let Some(place) = Place::across() else { return };
    let path = place.file("a", LARGE);
    let taken = place.take(&path, After::Keep).unwrap();
    assert!(!taken.source.shared && !owes_removal(&taken.source));
    assert_eq!(stamp(&taken).ino, fs::metadata(&path).unwrap().ino());
    assert_eq!(place.spooled(), ["s.1.copy"]);
    assert_eq!(place.release(&taken.source, "a"), Released::Kept);
    let kept = place.outbox.kept();
    assert!(kept.contains_unchanged("f", "a", &stamp(&taken)).unwrap());
    assert!(path.exists() && place.spooled().is_empty());
}

#[test]
fn an_origin_that_cannot_be_removed_is_remembered_and_named() {
    let place = Place::new();
    let path = place.file("d/a", 5);
    let mut source = place.take(&path, After::Delete).unwrap().source;
    source.spool = "s.1.copy".to_owned();
    // Somebody has put a link into its place meanwhile, which leads elsewhere.
    let link = place.watch.path().join("link");
    std::os::unix::fs::symlink(place.watch.path().join("d"), &link).unwrap();
    source.origin = link.join("a").to_string_lossy().into_owned();
    let owed = OwedRemoval {
        transfer: "cam.0000000000000001.1".parse().unwrap(),
        feed: "f".to_owned(),
        name: "link/a".to_owned(),
        source: source.clone(),
        beneath: Some(place.watch.path().to_owned()),
    };
    let stay = place.outbox.remove_or_remember(&[owed]).unwrap();
    assert!(
        stay[0].why.contains("link/a") && stay[0].why.contains("hint: "),
        "{stay:?}"
    );
    let kept = place.outbox.kept();
    let stamp = source.stamp.unwrap();
    assert!(kept.contains_unchanged("f", "link/a", &stamp).unwrap());
}
