//! What the simulated disk forgets, and what it keeps.

use std::io;
use std::path::Path;
use std::sync::Arc;

use consign_core::disk::{Disk, File, OpenMode};
use consign_sim::disk::{SECTOR_BYTES, SimDisk, is_crash};
use consign_sim::rng::Rng;

fn create(disk: &dyn Disk, path: &str) -> Arc<dyn File> {
    disk.open(Path::new(path), OpenMode::CreateNew).unwrap()
}

/// The bytes of `path` after power cuts with many seeds, each from the same state.
fn after_power_cuts(disk: &SimDisk, path: &str) -> Vec<Option<Vec<u8>>> {
    let after = |seed| {
        let disk = disk.fork();
        disk.power_cut(&mut Rng::new(seed));
        disk.bytes(Path::new(path))
    };
    let mut found: Vec<_> = (0..200).map(after).collect();
    found.sort();
    found.dedup();
    found
}

#[test]
fn what_is_synced_survives_power_cuts() {
    let disk = SimDisk::new(1);
    let mount = disk.mount();
    let file = create(&*mount, "/a");
    file.write_all_at(b"synced", 0).unwrap();
    file.sync().unwrap();
    mount.sync_dir(Path::new("/")).unwrap();
    assert_eq!(after_power_cuts(&disk, "/a"), [Some(b"synced".to_vec())]);
}

#[test]
fn unsynced_writes_are_kept_lost_or_torn_by_sectors() {
    let disk = SimDisk::new(1);
    let mount = disk.mount();
    let file = create(&*mount, "/a");
    file.allocate(2 * SECTOR_BYTES as u64).unwrap();
    mount.sync_fs(Path::new("/")).unwrap();
    file.write_all_at(&[1; 2 * SECTOR_BYTES], 0).unwrap();
    let sectors = |a: u8, b: u8| Some([[a; SECTOR_BYTES], [b; SECTOR_BYTES]].concat());
    let all = [sectors(0, 0), sectors(0, 1), sectors(1, 0), sectors(1, 1)];
    assert_eq!(after_power_cuts(&disk, "/a"), all);
}

#[test]
fn an_entry_whose_directory_is_not_synced_may_vanish_with_its_synced_file() {
    let disk = SimDisk::new(1);
    let file = create(&*disk.mount(), "/a");
    file.write_all_at(b"x", 0).unwrap();
    file.sync().unwrap();
    assert_eq!(after_power_cuts(&disk, "/a"), [None, Some(b"x".to_vec())]);
}

#[test]
fn a_rename_is_never_half_there() {
    let disk = SimDisk::new(1);
    let mount = disk.mount();
    mount.create_dir(Path::new("/d")).unwrap();
    create(&*mount, "/a");
    mount.sync_fs(Path::new("/")).unwrap();
    mount.rename(Path::new("/a"), Path::new("/d/b")).unwrap();
    for seed in 0..200 {
        let disk = disk.fork();
        disk.power_cut(&mut Rng::new(seed));
        assert_eq!(disk.files().len(), 1, "seed {seed}");
    }
    mount.sync_dir(Path::new("/d")).unwrap();
    assert_eq!(after_power_cuts(&disk, "/a"), [None]);
    assert_eq!(after_power_cuts(&disk, "/d/b"), [Some(vec![])]);
}

#[test]
fn a_rename_replaces_nothing() {
    let mount = SimDisk::new(1).mount();
    create(&*mount, "/a");
    create(&*mount, "/b");
    let error = mount.rename(Path::new("/a"), Path::new("/b")).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
}

#[test]
fn a_kill_keeps_the_cache_and_ends_every_handle() {
    let disk = SimDisk::new(1);
    let mount = disk.mount();
    let file = create(&*mount, "/a");
    file.write_all_at(b"written", 0).unwrap();
    disk.kill();
    assert!(is_crash(&file.sync().unwrap_err()));
    assert!(is_crash(&mount.stat(Path::new("/a")).unwrap_err()));
    assert_eq!(disk.bytes(Path::new("/a")).unwrap(), b"written");
}

#[test]
fn a_failed_sync_loses_what_can_still_be_read() {
    let disk = SimDisk::new(1);
    let mount = disk.mount();
    let file = create(&*mount, "/a");
    mount.sync_fs(Path::new("/")).unwrap();
    let bytes = vec![1; 64 * SECTOR_BYTES];
    file.write_all_at(&bytes, 0).unwrap();
    disk.fail_sync(0);
    file.sync().unwrap_err();
    file.sync().unwrap();
    assert_eq!(disk.bytes(Path::new("/a")).unwrap(), bytes);
    disk.power_cut(&mut Rng::new(1));
    assert_ne!(disk.bytes(Path::new("/a")).unwrap(), bytes);
}

#[test]
fn a_full_disk_refuses_writes_but_not_those_into_allocated_space() {
    let disk = SimDisk::new(1);
    disk.set_capacity(Some(100));
    let mount = disk.mount();
    let file = create(&*mount, "/a");
    file.allocate(80).unwrap();
    let other = create(&*mount, "/b");
    let full = |result: io::Result<()>| result.unwrap_err().kind() == io::ErrorKind::StorageFull;
    assert!(full(other.write_all_at(&[1; 30], 0)));
    assert!(full(other.allocate(30)));
    file.write_all_at(&[1; 80], 0).unwrap();
    mount.remove(Path::new("/b")).unwrap();
    file.allocate(100).unwrap();
}

#[test]
fn a_planned_crash_comes_before_exactly_that_operation() {
    let disk = SimDisk::new(1);
    let mount = disk.mount();
    let file = create(&*mount, "/a");
    disk.crash_after(1);
    file.write_all_at(b"x", 0).unwrap();
    assert!(is_crash(&file.sync().unwrap_err()));
    assert!(disk.has_crashed());
    assert!(
        is_crash(&file.len().unwrap_err()),
        "nothing works after a crash"
    );
    disk.kill();
    assert!(disk.mount().stat(Path::new("/a")).unwrap().is_some());
}
