//! Taking files in: from a request to `submitted`.

use bytes::Bytes;

use crate::ids::{Digest, FeedName, Sequence, TransferKey};
use crate::limits;
use crate::log::{Payload, Position};
use crate::name::FileName;
use crate::planted::{Planted, planted};
use crate::producer::dormant::{Dormant, Rest};
use crate::producer::replay::payload_bytes;
use crate::producer::state::{Stage, Transfer};
use crate::producer::{Answer, Effect, Producer, Refusal, Taken, Then, Token, Wanted};
use crate::record::{Claiming, Record, Submitted, Unclaimed};
use crate::spec::{FileSpec, Replicas, Source};
use crate::view::MemberState;

impl Producer {
    pub(super) fn on_submit(
        &mut self,
        token: Token,
        spec: FileSpec,
        source: Source,
        small: Option<(Digest, Bytes)>,
    ) {
        match self.admit(&spec) {
            Ok(feed) => {
                let key = self.draw_key();
                let mut transfer = Transfer::new(key, feed, spec, source);
                transfer.asker = Some(token);
                self.activate(transfer);
                self.submit(key, small);
            }
            Err(refusal) => self.refuse(token, refusal),
        }
    }

    pub(super) fn on_claim(&mut self, token: Token, spec: FileSpec, mut source: Source) {
        let feed = match self.admit(&spec) {
            Ok(feed) => feed,
            Err(refusal) => return self.refuse(token, refusal),
        };
        let key = self.draw_key();
        source.spool = format!("{key}");
        let mut transfer = Transfer::new(key, feed, spec.clone(), source.clone());
        transfer.asker = Some(token);
        transfer.stage = Stage::Claiming;
        transfer.replicas = self.replicas_of(&transfer.feed);
        let claim = Claiming {
            start: key.start.0,
            seq: key.seq.0,
            spec,
            source,
            replicas: transfer.replicas.map_or(0, Replicas::to_record),
        };
        self.activate(transfer);
        self.append_with(Record::Claiming(claim), Payload::None, Wanted::Claimed(key));
        self.journal.when_synced(Then::Take(key));
    }

    pub(super) fn take(&mut self, key: TransferKey) {
        if let Some(transfer) = self.active.get(&key) {
            self.out.push(Effect::Take {
                key,
                spec: transfer.spec.clone(),
                source: transfer.source.clone(),
            });
        }
    }

    pub(super) fn on_taken(&mut self, key: TransferKey, outcome: Result<Taken, String>) {
        let Some(transfer) = self.active.get_mut(&key) else {
            return;
        };
        if transfer.stage != Stage::Claiming {
            return;
        }
        match outcome {
            Ok(taken) => {
                // Its size may differ from what was announced: it decides what kind it is.
                let mut transfer = self.deactivate(key).expect("looked up above");
                transfer.spec.size = taken.size;
                transfer.spec.mtime_ns = taken.mtime_ns;
                transfer.spec.mode = taken.mode;
                transfer.source = taken.source;
                transfer.become_(Stage::Queued);
                self.activate(transfer);
                self.submit(key, taken.small);
            }
            Err(why) => {
                let asker = transfer.asker.take();
                if let Some(transfer) = self.deactivate(key)
                    && let Some(position) = transfer.claimed
                {
                    self.live.remove(position, 0);
                }
                self.append(Record::Unclaimed(Unclaimed {
                    start: key.start.0,
                    seq: key.seq.0,
                }));
                if let Some(token) = asker {
                    let answer = Answer::Refused(Refusal::NotTaken(why));
                    self.out.push(Effect::Answer(token, answer));
                }
            }
        }
    }

    /// A claim's place is known. The file is taken only after that.
    pub(super) fn note_claimed(&mut self, key: TransferKey, position: Position) {
        if let Some(transfer) = self.active.get_mut(&key)
            && transfer.stage == Stage::Claiming
        {
            if let Some(old) = transfer.claimed.replace(position) {
                self.live.remove(old, 0);
            }
            self.live.add(position, 0);
        }
    }

    /// Logs the intent; the asker hears of it when it is synced.
    fn submit(&mut self, key: TransferKey, small: Option<(Digest, Bytes)>) {
        let transfer = self.active.get_mut(&key).expect("its caller put it there");
        let (digest, payload) = match small {
            Some((digest, bytes)) => {
                assert_eq!(
                    bytes.len() as u64,
                    transfer.spec.size,
                    "the bytes are the file"
                );
                assert!(transfer.is_small(), "only small files travel in the log");
                transfer.digest = Some(digest);
                // The digest is synced with the submission, and so before any commit.
                transfer.digest_synced = true;
                (digest.0.to_vec(), Payload::Bytes(bytes))
            }
            None => {
                assert!(!transfer.is_small(), "a small file comes with its bytes");
                (Vec::new(), Payload::None)
            }
        };
        // What the feed wanted when the file was claimed holds if it has left the configuration since.
        let feed = transfer.feed.clone();
        let replicas = self.replicas_of(&feed);
        let transfer = self.active.get_mut(&key).expect("looked up above");
        transfer.replicas = replicas.or(transfer.replicas);
        let record = Record::Submitted(Submitted {
            start: key.start.0,
            seq: key.seq.0,
            spec: transfer.spec.clone(),
            source: transfer.source.clone(),
            digest,
            replicas: transfer.replicas.map_or(0, Replicas::to_record),
        });
        let (bytes, small) = (transfer.spec.size, transfer.is_small());
        let asker = transfer.asker.take();
        if let Some(feed) = self.queue.feed_mut(&feed) {
            feed.queued_bytes += bytes;
            feed.queued_files += 1;
        }
        self.append_with(record, payload, Wanted::Submitted(key));
        if planted(Planted::SubmittedBeforeSync) {
            let answer = asker.map(|token| Effect::Answer(token, Answer::Submitted(key)));
            self.out.extend(answer);
        } else if let Some(token) = asker {
            self.journal
                .when_synced(Then::Answer(token, Answer::Submitted(key)));
        }
        // When nothing is before it, it is placed under the same sync.
        if self.may_start_at_once(&feed, small) {
            self.consider(key);
        }
    }

    /// How many consumers a feed wants for each of its files; `None` where the configuration lacks it.
    fn replicas_of(&self, feed: &FeedName) -> Option<Replicas> {
        let rules = self.queue.feed(feed).and_then(|feed| feed.rules.as_ref());
        rules.map(|rules| rules.policy.replicas)
    }

    fn may_start_at_once(&self, feed: &FeedName, small: bool) -> bool {
        let Some(feed) = self.queue.feed_number(feed) else {
            return false;
        };
        let nobody_before = self.queue.first_fresh(feed, small).is_none();
        nobody_before && self.window_has_room(small) && self.feed_can_start(feed)
    }

    /// A submission's place is known: it may leave memory, unless it is under way already.
    pub(super) fn note_submitted(&mut self, key: TransferKey, position: Position) {
        let Some(transfer) = self.active.get_mut(&key) else {
            return self.note_carried(key, position);
        };
        let bytes = payload_bytes(transfer.spec.size);
        if let Some(old) = transfer.submitted.replace(position) {
            self.live.remove(old, bytes);
        }
        if let Some(claimed) = transfer.claimed.take() {
            self.live.remove(claimed, 0);
        }
        self.live.add(position, bytes);
        if transfer.stage == Stage::Queued && transfer.legs.is_empty() {
            self.put_to_rest(key, Rest::Fresh);
        }
    }

    /// Takes a transfer out of memory. Its state in the log is current.
    pub(super) fn put_to_rest(&mut self, key: TransferKey, rest: Rest) {
        // While its state was being written, a consumer may have gone for good, or come: nothing
        // else would take it up again.
        let rest = match rest {
            Rest::Parked if self.plan(&self.active[&key]).is_some() => Rest::Fresh,
            other => other,
        };
        let transfer = self.deactivate(key).expect("it is in memory");
        let submitted = transfer.submitted.expect("it is synced");
        assert!(
            transfer.placings == 0 || rest == Rest::Unreleased,
            "{key} would be read back as it was before its newest placement"
        );
        let feed = self.queue.feed_index(&transfer.feed);
        let rank = -transfer.spec.priority;
        let large = !transfer.is_small();
        let dormant = Dormant {
            submitted,
            placed: transfer.placed,
            bytes: transfer.spec.size,
            feed,
            rank,
            large,
            rest,
        };
        self.queue.dormant.insert(key, dormant);
        match rest {
            Rest::Fresh => self.queue.make_fresh(key),
            Rest::Parked => {
                let turn = self.queue.turn(key, &dormant);
                // Whoever has no room is the one to wait for: others would take it up at once, and
                // have it put down again.
                let crowded = transfer.crowded_out_by.as_ref();
                let crowded = crowded.filter(|n| self.destinations.ready_for(n, feed, self.now));
                for leg in transfer.kept() {
                    let waits = crowded.is_none_or(|node| *node == leg.node);
                    if waits && leg.state == crate::producer::state::LegState::Owed {
                        let destination = self.destinations.at(&leg.node, self.now);
                        destination.park(turn, crowded.is_some());
                    }
                }
                if transfer.short {
                    self.short.insert(key);
                }
            }
            Rest::Failed | Rest::Fetching | Rest::Unreleased => {}
        }
    }

    /// Whether a file may be taken in at all.
    fn admit(&self, spec: &FileSpec) -> Result<FeedName, Refusal> {
        let unknown = || Refusal::NoSuchFeed {
            feed: spec.feed.clone(),
        };
        if self.standing != MemberState::Active {
            return Err(Refusal::Draining);
        }
        let name = FeedName::new(&spec.feed).map_err(|_| unknown())?;
        let feed = self.queue.feed(&name).ok_or_else(unknown)?;
        let rules = feed.rules.as_ref().ok_or_else(unknown)?;
        FileName::new(&spec.name).map_err(|why| Refusal::BadName(why.to_string()))?;
        if spec.size > limits::FILE_BYTES_MAX {
            return Err(Refusal::TooLarge {
                size: spec.size,
                max: limits::FILE_BYTES_MAX,
            });
        }
        if feed.queued_bytes.saturating_add(spec.size) > rules.max_queue_bytes {
            return Err(Refusal::QueueFull {
                feed: name,
                size: spec.size,
                queued: feed.queued_bytes,
                max: rules.max_queue_bytes,
            });
        }
        if !self.log_room {
            return Err(Refusal::LogFull);
        }
        Ok(name)
    }

    fn draw_key(&mut self) -> TransferKey {
        let key = TransferKey {
            start: self.me.start,
            seq: Sequence(self.next_seq),
        };
        self.next_seq += 1;
        key
    }

    fn refuse(&mut self, token: Token, refusal: Refusal) {
        self.out
            .push(Effect::Answer(token, Answer::Refused(refusal)));
    }
}
