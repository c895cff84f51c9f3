//! Filesystems in image files, which can lose power.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::waiting::until;

/// How long an unmount may find its filesystem busy after the last process was killed.
const UNMOUNT_DEADLINE: Duration = Duration::from_secs(10);

/// Runs a tool that must succeed.
#[track_caller]
pub(crate) fn tool(program: &str, args: &[&str]) -> String {
    let output = ran(program, args);
    let err = String::from_utf8_lossy(&output.stderr);
    let done = output.status.success();
    assert!(done, "{program} {args:?}: {}: {err}", output.status);
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn ran(program: &str, args: &[&str]) -> Output {
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::null()).output().unwrap()
}

/// Memory for images: their syncs cost nothing, and nobody else's disk slows a test down.
#[derive(Debug)]
pub(crate) struct Scratch(tempfile::TempDir);

impl Scratch {
    pub(crate) fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("consign-faults-").tempdir();
        let dir = dir.unwrap();
        let at = dir.path().to_str().unwrap();
        tool("mount", &["-t", "tmpfs", "-o", "size=6g", "tmpfs", at]);
        Self(dir)
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // A mount that stays is gone with the namespace.
        let _ = Command::new("umount").arg("-l").arg(self.path()).output();
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Ext4,
    Xfs,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ext4 => "ext4",
            Self::Xfs => "xfs",
        }
    }
}

/// What a power cut leaves of what was not synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cut {
    /// Nothing.
    DropsAll,
    /// The metadata, without the data: files of the right name with other bytes.
    KeepsMetadata,
}

/// A filesystem in a file.
#[derive(Debug)]
pub(crate) struct Image {
    kind: Kind,
    file: PathBuf,
    at: PathBuf,
    is_mounted: AtomicBool,
}

impl Image {
    /// Makes it, with `options` of mkfs, and mounts it at `at`.
    pub(crate) fn new(kind: Kind, file: &Path, at: &Path, bytes: u64, options: &[&str]) -> Self {
        fs::File::create(file).unwrap().set_len(bytes).unwrap();
        let name = file.to_str().unwrap();
        let make = format!("mkfs.{}", kind.name());
        tool(&make, &[&["-q"], options, &[name]].concat());
        Self::existing(kind, file, at)
    }

    /// Mounts one that is there.
    pub(crate) fn existing(kind: Kind, file: &Path, at: &Path) -> Self {
        fs::create_dir_all(at).unwrap();
        let (file, at) = (file.to_owned(), at.to_owned());
        let image = Self {
            kind,
            file,
            at,
            is_mounted: AtomicBool::new(false),
        };
        image.mount();
        image
    }

    pub(crate) fn mount(&self) {
        let (file, at) = (self.file.to_str().unwrap(), self.at.to_str().unwrap());
        tool("mount", &["-t", self.kind.name(), "-o", "loop", file, at]);
        self.is_mounted.store(true, Ordering::Relaxed);
    }

    pub(crate) fn unmount(&self) {
        let at = self.at.to_str().unwrap();
        until("it can be unmounted", UNMOUNT_DEADLINE, || {
            ran("umount", &[at]).status.success()
        });
        self.is_mounted.store(false, Ordering::Relaxed);
    }

    /// From here on nothing reaches the disk any more, and every call on it fails.
    pub(crate) fn lose_power(&self, cut: Cut) {
        let command = match cut {
            Cut::DropsAll => "shutdown",
            Cut::KeepsMetadata => "shutdown -f",
        };
        tool("xfs_io", &["-x", "-c", command, self.at.to_str().unwrap()]);
    }

    /// As the kernel does after an error on the disk.
    pub(crate) fn turn_read_only(&self) {
        let at = self.at.to_str().unwrap();
        // An ordinary remount is refused while files are open for writing.
        tool("mount", &["-o", "remount,abort", at]);
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        if self.is_mounted.load(Ordering::Relaxed) {
            // A mount that stays is gone with the namespace.
            let _ = Command::new("umount").arg(&self.at).output();
            let _ = Command::new("umount").arg("-l").arg(&self.at).output();
        }
    }
}
