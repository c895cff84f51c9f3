//! Bytes arrive, and when every member has all of them, the second phase: all publish.

use crate::ids::{Digest, NodeName, TransferKey};
use crate::limits;
use crate::planted::{Planted, planted};
use crate::producer::state::{LegState, Stage};
use crate::producer::{Producer, Then};
use crate::record::{DigestKnown, Record};
use crate::wire::{Commit, Message, Progress, Received};

impl Producer {
    pub(super) fn on_progress(&mut self, from: &NodeName, progress: Progress) {
        let Some((key, at)) = self.current_leg(from, &progress.leg) else {
            return;
        };
        let now = self.now;
        let transfer = self.active.get_mut(&key).expect("current_leg found it");
        let leg = &mut transfer.legs[at];
        if let LegState::Receiving { bytes, .. } = leg.state
            && progress.bytes > bytes
        {
            let bytes = progress.bytes.min(transfer.spec.size);
            leg.become_(LegState::Receiving { bytes, since: now });
        }
    }

    pub(super) fn on_received(&mut self, from: &NodeName, received: Received) {
        let Some((key, at)) = self.current_leg(from, &received.leg) else {
            return;
        };
        let transfer = self.active.get_mut(&key).expect("current_leg found it");
        if matches!(transfer.legs[at].state, LegState::Receiving { .. }) {
            transfer.legs[at].become_(LegState::Received);
            self.commit_if_received(key);
        }
    }

    /// The second phase: when every member has received and the digest is synced, all publish.
    pub(super) fn commit_if_received(&mut self, key: TransferKey) {
        let now = self.now;
        let Some(transfer) = self.active.get_mut(&key) else {
            return;
        };
        let mut in_flight = transfer.legs.iter().filter(|leg| leg.state.in_flight());
        let received = match planted(Planted::CommitWhenAnyReceived) {
            true => in_flight.any(|leg| leg.state == LegState::Received),
            false => {
                transfer.stage == Stage::Streaming
                    && in_flight.all(|leg| leg.state == LegState::Received)
            }
        };
        if !received {
            return;
        }
        let Some(digest) = transfer.digest else {
            // Who was reading the source may have ended with the link that it fed.
            if !transfer.streaming && transfer.any_in_flight() {
                self.stream(key, None);
            }
            return;
        };
        if !transfer.digest_synced && !planted(Planted::CommitBeforeDigest) {
            return;
        }
        if !transfer.any_in_flight() {
            return self.conclude(key);
        }
        // Only with that bug there are latecomers.
        if transfer.stage == Stage::Streaming {
            transfer.become_(Stage::Committing {
                deadline: now.plus(limits::COMMIT_DEADLINE_MS),
            });
        }
        let (attempt, small) = (transfer.attempt, transfer.is_small());
        let mut told = Vec::new();
        for leg in transfer
            .legs
            .iter_mut()
            .filter(|leg| leg.state == LegState::Received)
        {
            leg.become_(LegState::Committing);
            told.push((
                leg.node.clone(),
                leg.start,
                leg.slot,
                leg.named(key, attempt),
            ));
        }
        for (node, start, slot, leg) in told {
            if small {
                self.commits
                    .entry((node, start))
                    .or_default()
                    .insert(slot.0);
            } else {
                let digest = digest.0.to_vec();
                self.send(&node, Message::Commit(Commit { leg, digest }));
            }
        }
    }

    pub(super) fn on_hashed(&mut self, key: TransferKey, first_chunk: u64, hashes: Vec<u8>) {
        let Some(transfer) = self.active.get_mut(&key) else {
            return;
        };
        let at = usize::try_from(first_chunk)
            .unwrap_or(usize::MAX)
            .saturating_mul(32);
        if at <= transfer.hashes.len() {
            transfer.hashes.truncate(at);
            transfer.hashes.extend_from_slice(&hashes);
        }
        // A hint for a restart; nothing waits for it.
        self.append_hashes(key, first_chunk, &hashes);
    }

    pub(super) fn on_digest(&mut self, key: TransferKey, digest: Digest) {
        let Some(transfer) = self.active.get_mut(&key) else {
            return;
        };
        match transfer.digest {
            Some(known) if known != digest => {
                self.fail(key, "the source no longer has the bytes that were sent before; hint: submit it as a new file".to_owned());
            }
            Some(_) => {}
            None => {
                transfer.digest = Some(digest);
                transfer.dirty = true;
                // A crash before this sync loses the digest, and no commit has left.
                self.append(Record::DigestKnown(DigestKnown {
                    start: key.start.0,
                    seq: key.seq.0,
                    digest: digest.0.to_vec(),
                }));
                self.journal.when_synced(Then::DigestSynced(key));
                if planted(Planted::CommitBeforeDigest) {
                    self.commit_if_received(key);
                }
            }
        }
    }

    pub(super) fn digest_synced(&mut self, key: TransferKey) {
        if let Some(transfer) = self.active.get_mut(&key) {
            transfer.digest_synced = true;
            self.commit_if_received(key);
        }
    }
}
