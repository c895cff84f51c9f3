//! Kinds of filesystems, and what each is good for.

use std::fmt;

use super::Use;

/// A kind of filesystem, by the number that the kernel gives it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FsKind {
    /// ext2, ext3 or ext4, which share their number.
    Ext,
    /// XFS.
    Xfs,
    /// Btrfs.
    Btrfs,
    /// ZFS.
    Zfs,
    /// F2FS.
    F2fs,
    /// bcachefs.
    Bcachefs,
    /// Memory: tmpfs or ramfs.
    Memory,
    /// A union of others, as in containers.
    Overlay,
    /// NFS.
    Nfs,
    /// SMB, CIFS.
    Smb,
    /// A filesystem in a user's program.
    Fuse,
    /// 9P, as in virtual machines and WSL.
    NineP,
    /// Another network or cluster filesystem.
    Network(&'static str),
    /// FAT or exFAT.
    Fat,
    /// One that this program has no opinion on.
    Unknown(u64),
}

/// What a kind is worth for a use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Everything holds.
    Good,
    /// It works, with this said aloud.
    Degraded(&'static str),
    /// It does not work, for this reason.
    Refused(&'static str),
}

impl FsKind {
    /// The kind with a number of `statfs`, from `linux/magic.h` and the filesystems' own sources.
    pub(crate) fn of_magic(magic: impl TryInto<i64>) -> Self {
        // The kernel's field is a signed word on some machines: only its low 32 bits count.
        let magic = magic.try_into().unwrap_or(0) as u64 & 0xffff_ffff;
        match magic {
            0xef53 => Self::Ext,
            0x5846_5342 => Self::Xfs,
            0x9123_683e => Self::Btrfs,
            0x2fc1_2fc1 => Self::Zfs,
            0xf2f5_2010 => Self::F2fs,
            0xca45_1a4e => Self::Bcachefs,
            0x0102_1994 | 0x8584_58f6 => Self::Memory,
            0x794c_7630 => Self::Overlay,
            0x6969 => Self::Nfs,
            0x517b | 0xff53_4d42 | 0xfe53_4d42 => Self::Smb,
            0x6573_5546 => Self::Fuse,
            0x0102_1997 => Self::NineP,
            0x00c3_6400 => Self::Network("Ceph"),
            0x0bd0_0bd0 => Self::Network("Lustre"),
            0x4750_4653 => Self::Network("GPFS"),
            0x5346_414f => Self::Network("AFS"),
            0x4d44 | 0x2011_bab0 => Self::Fat,
            other => Self::Unknown(other),
        }
    }

    /// What this kind is worth for a use.
    pub(crate) fn standing(self, used_as: Use) -> Standing {
        match used_as {
            Use::Inbox | Use::DataDir => self.durable_standing(),
            Use::Watch => self.watched_standing(),
        }
    }

    fn durable_standing(self) -> Standing {
        match self {
            Self::Ext | Self::Xfs | Self::Btrfs | Self::Zfs | Self::F2fs | Self::Bcachefs => {
                Standing::Good
            }
            Self::Memory => Standing::Degraded(
                "nothing on it survives a reboot, whatever was synced; fit for trying things out",
            ),
            Self::Overlay => Standing::Degraded(
                "its syncs may be switched off (mount option \"volatile\"), and its files may go with their container",
            ),
            Self::Unknown(_) => Standing::Degraded(
                "consign does not know this kind of filesystem; what can be probed works, whether a sync reaches the disk cannot be probed",
            ),
            Self::Nfs | Self::Smb | Self::NineP | Self::Network(_) => Standing::Refused(
                "renames that refuse to replace and syncs of directories depend on another machine",
            ),
            Self::Fuse => Standing::Refused(
                "a user's program stands between a sync and the disk, and renames may copy",
            ),
            Self::Fat => {
                Standing::Refused("there is no journal: a crash can lose or tear what was renamed")
            }
        }
    }

    fn watched_standing(self) -> Standing {
        match self {
            Self::Nfs | Self::Smb | Self::NineP | Self::Network(_) | Self::Fuse => {
                Standing::Degraded(
                    "files that other machines write there raise no events; they are found by scanning",
                )
            }
            Self::Fat => Standing::Degraded(
                "modification times are coarse there, so edits in place may pass unseen",
            ),
            Self::Ext
            | Self::Xfs
            | Self::Btrfs
            | Self::Zfs
            | Self::F2fs
            | Self::Bcachefs
            | Self::Memory
            | Self::Overlay
            | Self::Unknown(_) => Standing::Good,
        }
    }
}

impl fmt::Display for FsKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self {
            Self::Ext => "ext4",
            Self::Xfs => "xfs",
            Self::Btrfs => "btrfs",
            Self::Zfs => "zfs",
            Self::F2fs => "f2fs",
            Self::Bcachefs => "bcachefs",
            Self::Memory => "tmpfs",
            Self::Overlay => "overlayfs",
            Self::Nfs => "NFS",
            Self::Smb => "SMB",
            Self::Fuse => "FUSE",
            Self::NineP => "9P",
            Self::Network(name) => name,
            Self::Fat => "FAT",
            Self::Unknown(magic) => {
                return write!(f, "a filesystem of unknown kind {magic:#x}");
            }
        };
        f.write_str(name)
    }
}
