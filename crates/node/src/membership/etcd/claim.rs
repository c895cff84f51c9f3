//! A node's lease, and its key under it.
//!
//! The key is written by transactions over what was read: if nobody has it, or if what is there is
//! of this node's own life, or of a node that left. Else its owner may be dead and its lease not over yet,
//! so it is watched: a lease that is renewed has an owner that runs. That one has the name, whether it
//! had it first or took it while this node was not heard. So it is with an earlier life of this node,
//! which a copy of its data directory has as well, but that one is not waited for until its lease is over.

use std::time::Duration;

use consign_core::ids::Start;
use consign_core::view::MemberState;
use etcd_client::{Client, Compare, CompareOp, PutOptions, Txn, TxnOp};
use tokio::time::Instant;

use super::super::Own;
use super::super::announcement::Announcement;
use super::super::bounds::{LEASE_SECONDS, LEFT_SECONDS, RENEW_EVERY};
use super::client::{Failure, within};

/// How often another's lease is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// How much later a renewal may be seen: etcd tells of whole seconds.
const ROUNDED: Duration = Duration::from_secs(2);

/// Writes that were overtaken before somebody must be at it all the time.
const TRIES_MAX: u32 = 10;

/// The lease that this node's key is under.
#[derive(Debug, Default)]
pub(super) struct Lease {
    id: Option<i64>,
    /// See [`Lease::had_name`].
    had_name: bool,
}

/// Whose a name is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Claimed {
    /// This node's: its key says what this node is.
    Mine,
    /// That of another node that runs.
    Others(Start),
}

/// A key as it was read.
struct Found {
    revision: i64,
    lease: i64,
    /// `None` when it cannot be read: then it is nobody's.
    announced: Option<Announcement>,
}

impl Lease {
    /// The lease's number.
    pub(super) fn id(&self) -> Result<i64, Failure> {
        self.id.ok_or(Failure::Ended("the lease"))
    }

    /// Whether the name has been this node's in this life.
    pub(super) fn had_name(&self) -> bool {
        self.had_name
    }

    /// Claims the key for this node, or writes again what it says of itself.
    pub(super) async fn claim(
        &mut self,
        client: &mut Client,
        key: &str,
        own: &Own,
    ) -> Result<Claimed, Failure> {
        for _ in 0..TRIES_MAX {
            let found = read(client, key, own).await?;
            if let Some(Found {
                lease,
                announced: Some(other),
                ..
            }) = &found
                && !self.may_replace(other, *lease, own)
            {
                // A copy of this node's data directory has its earlier lives as well: one of them that
                // renews its lease is another node that runs.
                let is_earlier = own.is_mine(other.start);
                match is_renewed(client, *lease, is_earlier).await? {
                    true => return Ok(Claimed::Others(other.start)),
                    false if is_earlier => {}
                    // It is gone now, or somebody else has it: look again.
                    false => continue,
                }
            }
            self.keep_or_grant(client).await?;
            let revision = found.map_or(0, |found| found.revision);
            if self.write(client, key, own, revision).await? {
                self.had_name = true;
                return Ok(Claimed::Mine);
            }
        }
        Err(Failure::Slow)
    }

    /// Whether this node may write over what is there.
    fn may_replace(&self, other: &Announcement, lease: i64, own: &Own) -> bool {
        // A person wrote it over the key of a node that runs: there is no other one behind it.
        let is_by_hand = lease == 0 && self.had_name;
        other.start == own.start || other.member.state == MemberState::Left || is_by_hand
    }

    /// Keeps the lease of the last session if it is alive, so that its key never goes.
    async fn keep_or_grant(&mut self, client: &mut Client) -> Result<(), Failure> {
        if let Some(id) = self.id {
            let left = within(client.lease_time_to_live(id, None)).await?;
            if left.ttl() > 0 {
                return Ok(());
            }
            self.id = None;
        }
        let granted = within(client.lease_grant(LEASE_SECONDS, None)).await?;
        self.id = Some(granted.id());
        Ok(())
    }

    /// Writes the key if it is still at `revision`; 0 means that there is none.
    async fn write(
        &self,
        client: &mut Client,
        key: &str,
        own: &Own,
        revision: i64,
    ) -> Result<bool, Failure> {
        let lease = match own.member.state {
            MemberState::Active | MemberState::Draining => self.id()?,
            // That a node has left must outlive its lease: who is away now is to hear of it later.
            MemberState::Left => within(client.lease_grant(LEFT_SECONDS, None)).await?.id(),
        };
        let under = Some(PutOptions::new().with_lease(lease));
        let as_read = Compare::mod_revision(key, CompareOp::Equal, revision);
        let put = TxnOp::put(key, own.text(), under);
        let written = within(client.txn(Txn::new().when([as_read]).and_then([put]))).await?;
        Ok(written.succeeded())
    }
}

async fn read(client: &mut Client, key: &str, own: &Own) -> Result<Option<Found>, Failure> {
    let read = within(client.get(key, None)).await?;
    Ok(read.kvs().first().map(|kv| Found {
        revision: kv.mod_revision(),
        lease: kv.lease(),
        announced: Announcement::read(own.name().as_str(), kv.value()).ok(),
    }))
}

/// Watches another's lease until it is renewed, or over; `soon` ends that when whoever runs would have
/// renewed it.
async fn is_renewed(client: &mut Client, lease: i64, soon: bool) -> Result<bool, Failure> {
    let began = Instant::now();
    if lease == 0 {
        // Written by hand: it is there until a person removes it.
        return Ok(true);
    }
    let mut last = i64::MAX;
    loop {
        let left = within(client.lease_time_to_live(lease, None)).await?.ttl();
        if left <= 0 {
            return Ok(false);
        }
        if left > last {
            return Ok(true);
        }
        if soon && began.elapsed() > RENEW_EVERY + ROUNDED {
            return Ok(false);
        }
        last = left;
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
