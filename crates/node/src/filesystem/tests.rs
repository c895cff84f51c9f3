//! Real directories pass, and what cannot hold a promise is refused by name.

use std::path::Path;

use consign_core::publish::STAGING_DIR;

use super::{FsError, FsKind, Standing, Use, check};

#[test]
fn a_local_directory_passes_and_keeps_no_scratch_files() {
    let dir = tempfile::tempdir().unwrap();
    for used_as in [Use::Inbox, Use::DataDir, Use::Watch] {
        let report = check(dir.path(), used_as).unwrap();
        assert!(report.free_bytes > 0);
    }
    let staging = dir.path().join(STAGING_DIR);
    assert_eq!(std::fs::read_dir(staging).unwrap().count(), 0);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn memory_is_used_aloud() {
    let shm = Path::new("/dev/shm");
    if !shm.is_dir() {
        return;
    }
    let dir = tempfile::tempdir_in(shm).unwrap();
    let report = check(dir.path(), Use::Inbox).unwrap();
    assert_eq!(report.kind, FsKind::Memory);
    assert!(report.degraded[0].contains("survives"), "{report:?}");
}

#[test]
fn what_cannot_hold_a_promise_is_refused_for_data_and_degraded_for_watching() {
    for magic in [
        0x6969_i64,
        0x517b,
        0xff53_4d42,
        0x6573_5546,
        0x0102_1997,
        0x4d44,
        0x2011_bab0,
    ] {
        let kind = FsKind::of_magic(magic);
        for used_as in [Use::Inbox, Use::DataDir] {
            assert!(
                matches!(kind.standing(used_as), Standing::Refused(_)),
                "{kind}"
            );
        }
        assert!(
            matches!(kind.standing(Use::Watch), Standing::Degraded(_)),
            "{kind}"
        );
    }
    assert_eq!(FsKind::of_magic(0x9123_683e_i64), FsKind::Btrfs);
    assert_eq!(FsKind::of_magic(0x9123_683e_u32 as i32), FsKind::Btrfs);
}

#[test]
fn missing_and_odd_directories_are_refused_with_a_hint() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, b"").unwrap();
    for path in [dir.path().join("none"), file] {
        for used_as in [Use::Inbox, Use::DataDir, Use::Watch] {
            let error = check(&path, used_as).unwrap_err();
            assert!(matches!(error, FsError::Unusable { .. }), "{error}");
            assert!(error.to_string().contains("hint:"));
        }
    }
}

#[test]
fn the_kernels_own_filesystem_is_no_place_for_data() {
    assert!(check(Path::new("/proc"), Use::DataDir).is_err());
}

/// Otherwise each kill in these milliseconds would leave some for ever.
#[test]
fn scratch_files_of_a_killed_agent_are_removed_by_the_next() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join(".consign-probe-7-a"), "").unwrap();
    std::fs::write(dir.path().join("kept"), "").unwrap();
    check(dir.path(), Use::DataDir).unwrap();
    let names: Vec<_> = std::fs::read_dir(dir.path()).unwrap().collect();
    assert_eq!(names.len(), 1, "{names:?}");
}
