//! The real filesystem keeps what the seam promises, and publishing over it is safe to repeat.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use consign_core::disk::{Attributes, Disk, EntryKind, File, OpenMode};
use consign_core::publish::{
    PublishFile, PublishOutcome, STAGING_DIR, is_taken, marker, prepare, publish, stage_small,
    staging_path, sync_staged,
};
use tempfile::TempDir;

use super::OsDisk;

fn inbox() -> (TempDir, OsDisk) {
    let dir = tempfile::tempdir().unwrap();
    let disk = OsDisk::beneath(dir.path()).unwrap();
    prepare(&disk, [7; 16]).unwrap();
    (dir, disk)
}

fn stage(disk: &OsDisk, name: &str, bytes: &[u8]) {
    stage_small(disk, name, bytes, &Attributes::default()).unwrap();
    sync_staged(disk).unwrap();
}

fn publish_one(disk: &OsDisk, staging: &str, path: &str) -> PublishOutcome {
    publish(disk, &[PublishFile { staging, path }])
        .unwrap()
        .pop()
        .unwrap()
}

#[test]
fn a_marker_that_was_never_named_is_not_left_behind() {
    let (dir, disk) = inbox();
    let unnamed = dir.path().join(STAGING_DIR).join("marker.new");
    fs::write(&unnamed, [9; 16]).unwrap();
    assert_eq!(prepare(&disk, [8; 16]).unwrap(), [7; 16]);
    assert!(!unnamed.exists());
}

#[test]
fn marker_survives_and_is_never_replaced() {
    let (dir, disk) = inbox();
    assert_eq!(prepare(&disk, [9; 16]).unwrap(), [7; 16]);
    assert_eq!(marker(&disk).unwrap(), Some([7; 16]));
    let mode = fs::metadata(dir.path().join(STAGING_DIR)).unwrap().mode();
    assert_eq!(mode & 0o777, 0o700);
    fs::remove_dir_all(dir.path().join(STAGING_DIR)).unwrap();
    assert_eq!(marker(&disk).unwrap(), None);
}

#[test]
fn damaged_marker_is_named() {
    let (dir, disk) = inbox();
    fs::write(dir.path().join(STAGING_DIR).join("marker"), b"short").unwrap();
    let error = prepare(&disk, [1; 16]).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::InvalidData);
}

#[test]
fn publishing_twice_shows_the_file_once() {
    let (dir, disk) = inbox();
    stage(&disk, "a", b"hello");
    assert!(matches!(
        publish_one(&disk, "a", "x/y/f"),
        PublishOutcome::Published
    ));
    assert_eq!(fs::read(dir.path().join("x/y/f")).unwrap(), b"hello");
    assert!(matches!(
        publish_one(&disk, "a", "x/y/f"),
        PublishOutcome::AlreadyGone
    ));
    fs::remove_dir_all(dir.path().join("x")).unwrap();
    assert!(matches!(
        publish_one(&disk, "a", "x/y/f"),
        PublishOutcome::AlreadyGone
    ));
    assert!(!is_taken(&disk, "x/y/f").unwrap());
}

#[test]
fn a_taken_path_is_a_conflict_and_nothing_is_replaced() {
    let (dir, disk) = inbox();
    fs::write(dir.path().join("f"), b"mine").unwrap();
    stage(&disk, "a", b"theirs");
    assert!(is_taken(&disk, "f").unwrap());
    assert!(matches!(
        publish_one(&disk, "a", "f"),
        PublishOutcome::Conflict
    ));
    assert_eq!(fs::read(dir.path().join("f")).unwrap(), b"mine");
    assert!(disk.stat(&staging_path("a")).unwrap().is_some());
}

#[test]
fn a_path_is_taken_when_something_else_is_where_its_directory_has_to_be() {
    let (dir, disk) = inbox();
    let outside = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("file"), b"").unwrap();
    fs::create_dir(dir.path().join("dir")).unwrap();
    symlink(outside.path(), dir.path().join("dir/link")).unwrap();
    for taken in ["file/x", "file/deep/x", "dir/link/x", "dir/link/deep/x"] {
        assert!(is_taken(&disk, taken).unwrap(), "{taken}");
    }
    for free in ["new/x", "dir/new/x", "dir/x"] {
        assert!(!is_taken(&disk, free).unwrap(), "{free}");
    }
}

#[test]
fn a_bad_file_of_a_batch_holds_back_no_other() {
    let (dir, disk) = inbox();
    let outside = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("file"), b"").unwrap();
    symlink(outside.path(), dir.path().join("link")).unwrap();
    for name in ["a", "b", "c", "d"] {
        stage(&disk, name, name.as_bytes());
    }
    let outcomes = publish(
        &disk,
        &[
            PublishFile {
                staging: "a",
                path: "file/x",
            },
            PublishFile {
                staging: "b",
                path: "link/x",
            },
            PublishFile {
                staging: "c",
                path: "../x",
            },
            PublishFile {
                staging: "d",
                path: "ok/x",
            },
        ],
    )
    .unwrap();
    for blocked in &outcomes[..2] {
        assert!(matches!(blocked, PublishOutcome::Conflict), "{blocked:?}");
    }
    assert!(matches!(outcomes[2], PublishOutcome::Failed(_)));
    assert!(matches!(outcomes[3], PublishOutcome::Published));
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
    assert_eq!(fs::read(dir.path().join("ok/x")).unwrap(), b"d");
}

#[test]
fn nothing_leads_out_of_the_root() {
    let (dir, disk) = inbox();
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("secret"), b"s").unwrap();
    symlink(outside.path(), dir.path().join("d")).unwrap();
    symlink(outside.path().join("secret"), dir.path().join("f")).unwrap();
    for path in ["d/secret", "f", "../f", "/etc/hostname", "."] {
        assert!(
            disk.open(Path::new(path), OpenMode::Read).is_err(),
            "{path}"
        );
    }
    assert!(disk.create_dir(Path::new("d/new")).is_err());
    assert!(disk.remove(Path::new("d/secret")).is_err());
    assert!(disk.list(Path::new("d")).is_err());
    assert!(disk.stat(Path::new("..")).is_err());
    assert_eq!(
        disk.stat(Path::new("f")).unwrap().unwrap().kind,
        EntryKind::Other
    );
}

#[test]
fn names_of_255_bytes_are_published_and_longer_ones_fail_alone() {
    let (_dir, disk) = inbox();
    stage(&disk, "a", b"1");
    let longest = "ä".repeat(127) + "x";
    assert_eq!(longest.len(), 255);
    let too_long = format!("{longest}x");
    assert!(matches!(
        publish_one(&disk, "a", &too_long),
        PublishOutcome::Failed(_)
    ));
    assert!(matches!(
        publish_one(&disk, "a", &longest),
        PublishOutcome::Published
    ));
}

#[test]
fn staging_again_replaces_what_a_crash_left() {
    let (dir, disk) = inbox();
    stage(&disk, "a", b"a longer first half");
    let attributes = Attributes {
        mtime_ns: Some(-1),
        mode: Some(0o4751),
        owner: None,
    };
    stage_small(&disk, "a", b"whole", &attributes).unwrap();
    let path = dir.path().join(STAGING_DIR).join("a");
    let meta = fs::metadata(&path).unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"whole");
    assert_eq!((meta.mtime(), meta.mtime_nsec()), (-1, 999_999_999));
    assert_eq!(meta.permissions().mode() & 0o7777, 0o751);
}

#[test]
fn files_read_write_and_allocate() {
    let dir = tempfile::tempdir().unwrap();
    let disk = OsDisk::private(dir.path()).unwrap();
    let path = Path::new("f");
    let file = disk.open(path, OpenMode::CreateNew).unwrap();
    assert_eq!(
        disk.open(path, OpenMode::CreateNew).unwrap_err().kind(),
        std::io::ErrorKind::AlreadyExists
    );
    file.write_all_at(b"head", 0).unwrap();
    file.allocate(3 << 20).unwrap();
    assert_eq!(file.len().unwrap(), 3 << 20);
    let mut read = [1; 8];
    file.read_exact_at(&mut read, 0).unwrap();
    assert_eq!(&read, b"head\0\0\0\0");
    file.allocate(1).unwrap();
    assert_eq!(file.len().unwrap(), 3 << 20, "allocating never cuts");
    file.write_behind(0, 3 << 20);
    file.set_len(4).unwrap();
    file.sync().unwrap();
    assert_eq!(
        file.read_exact_at(&mut read, 0).unwrap_err().kind(),
        std::io::ErrorKind::UnexpectedEof
    );
    let mode = fs::metadata(dir.path().join("f")).unwrap().mode();
    assert_eq!(mode & 0o077, 0, "a data directory's files are private");
}

#[test]
fn large_reservations_take_space_without_being_written() {
    let dir = tempfile::tempdir().unwrap();
    let disk = OsDisk::private(dir.path()).unwrap();
    let file = disk.open_file(Path::new("f"), OpenMode::CreateNew).unwrap();
    file.allocate(100 << 20).unwrap();
    assert_eq!(file.len().unwrap(), 100 << 20);
}

#[test]
fn listing_is_sorted_and_renames_refuse_to_replace() {
    let dir = tempfile::tempdir().unwrap();
    let disk = OsDisk::private(dir.path()).unwrap();
    assert!(disk.create_dir(Path::new("d")).unwrap());
    assert!(!disk.create_dir(Path::new("d")).unwrap());
    for name in ["d/b", "d/a"] {
        disk.open(Path::new(name), OpenMode::CreateNew).unwrap();
    }
    let kind = |from: &str, to: &str| {
        disk.rename(Path::new(from), Path::new(to))
            .unwrap_err()
            .kind()
    };
    assert_eq!(kind("d/a", "d/b"), std::io::ErrorKind::AlreadyExists);
    assert_eq!(kind("d/none", "d/c"), std::io::ErrorKind::NotFound);
    let names: Vec<_> = disk.list(Path::new("d")).unwrap();
    assert_eq!(
        names.iter().map(|e| &*e.name).collect::<Vec<_>>(),
        ["a", "b"]
    );
    disk.sync_dir(Path::new("d")).unwrap();
    disk.sync_fs(Path::new("d")).unwrap();
    assert_eq!(disk.stat(Path::new("d/a/x")).unwrap(), None);
}
