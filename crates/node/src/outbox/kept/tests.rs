//! The set of files that `keep` has taken.

use super::*;

fn stamp(ino: u64) -> Stamp {
    Stamp {
        size: u64::MAX,
        mtime_ns: -5,
        ctime_ns: 9,
        ino,
        dev: 1,
    }
}

const ROOT: RootId = RootId {
    ino: 2,
    empty: false,
};

fn set() -> (tempfile::TempDir, Kept) {
    let dir = tempfile::tempdir().unwrap();
    let kept = Kept::open(&dir.path().join("kept.db")).unwrap();
    (dir, kept)
}

#[test]
fn a_kept_file_is_known_until_it_changes_and_after_a_restart() {
    let (dir, kept) = set();
    kept.insert_batch([("f", "a", stamp(1))]).unwrap();
    drop(kept);
    let kept = Kept::open(&dir.path().join("kept.db")).unwrap();
    assert!(kept.contains_unchanged("f", "a", &stamp(1)).unwrap());
    assert!(!kept.contains_unchanged("f", "a", &stamp(2)).unwrap());
    assert!(!kept.contains_unchanged("g", "a", &stamp(1)).unwrap());
}

#[test]
fn what_a_kill_has_left_is_synced_before_it_is_believed() {
    let (dir, kept) = set();
    kept.insert_batch([("f", "a", stamp(1))]).unwrap();
    // As a killed agent leaves them.
    let (killed, wal) = (
        dir.path().join("killed.db"),
        dir.path().join("killed.db-wal"),
    );
    std::fs::copy(dir.path().join("kept.db"), &killed).unwrap();
    std::fs::copy(dir.path().join("kept.db-wal"), &wal).unwrap();
    let kept = Kept::open(&killed).unwrap();
    assert_eq!(
        std::fs::metadata(&wal).unwrap().len(),
        0,
        "not in the database yet"
    );
    assert!(kept.contains_unchanged("f", "a", &stamp(1)).unwrap());
}

#[test]
fn versions_that_finish_in_the_wrong_order_do_not_hide_each_other() {
    let (_dir, kept) = set();
    kept.insert_batch([("f", "a", stamp(2))]).unwrap();
    kept.insert_batch([("f", "a", stamp(1))]).unwrap();
    assert!(kept.contains_unchanged("f", "a", &stamp(2)).unwrap());
}

#[test]
fn the_set_shrinks_to_what_is_there() {
    let (_dir, kept) = set();
    let names: Vec<_> = (0..2000).map(|n| format!("{n:04}")).collect();
    kept.insert_batch(names.iter().map(|name| ("f", name.as_str(), stamp(1))))
        .unwrap();
    kept.insert_batch([("f", "0003", stamp(9)), ("g", "0000", stamp(1))])
        .unwrap();
    let forgotten = kept
        .forget_missing("f", ROOT, |path| Ok((path == "0003").then(|| stamp(9))))
        .unwrap();
    assert_eq!(forgotten, 2000);
    assert!(kept.contains_unchanged("f", "0003", &stamp(9)).unwrap());
    assert!(!kept.contains_unchanged("f", "0003", &stamp(1)).unwrap());
    assert!(kept.contains_unchanged("g", "0000", &stamp(1)).unwrap());
}

#[test]
fn an_unmounted_disk_is_not_an_emptied_directory() {
    let (_dir, kept) = set();
    kept.insert_batch([("f", "a", stamp(1))]).unwrap();
    kept.forget_missing("f", ROOT, |_| Ok(Some(stamp(1))))
        .unwrap();
    let unmounted = RootId {
        ino: 77,
        empty: true,
    };
    let unknown = |_: &str| Err(io::ErrorKind::PermissionDenied.into());
    assert_eq!(kept.forget_missing("f", ROOT, unknown).unwrap(), 0);
    assert_eq!(
        kept.forget_missing("f", unmounted, |_| Ok(None)).unwrap(),
        0
    );
    let emptied = RootId {
        empty: true,
        ..ROOT
    };
    assert_eq!(kept.forget_missing("f", emptied, |_| Ok(None)).unwrap(), 1);
}

#[test]
fn what_finds_no_space_is_owed_and_nothing_is_told_until_it_is_written() {
    let (_dir, kept) = set();
    let limit = |pages: i64| kept.with(|c| c.pragma_update(None, "max_page_count", pages));
    limit(1).unwrap();
    let names: Vec<_> = (0..2000).map(|n| format!("{n:04}")).collect();
    let files = names.iter().map(|name| ("f", name.as_str(), stamp(1)));
    kept.insert_batch(files).unwrap();
    kept.insert_batch([("f", "later", stamp(1))]).unwrap();
    assert!(kept.owes());
    let error = kept
        .contains_unchanged("f", "other", &stamp(1))
        .unwrap_err();
    assert!(error.is_for_want_of_space(), "{error}");
    let state = kept.lock();
    let connection = state.connection.as_ref().unwrap();
    connection
        .pragma_update(None, "max_page_count", 1_000_000)
        .unwrap();
    drop(state);
    kept.pay();
    assert!(!kept.owes());
    for name in ["0000", "1999", "later"] {
        assert!(kept.contains_unchanged("f", name, &stamp(1)).unwrap());
    }
}

#[test]
fn another_format_is_refused() {
    let (dir, kept) = set();
    kept.with(|c| c.pragma_update(None, "user_version", 99))
        .unwrap();
    drop(kept);
    let error = Kept::open(&dir.path().join("kept.db")).unwrap_err();
    assert!(matches!(error, KeptError::Format { found: 99, .. }));
}
