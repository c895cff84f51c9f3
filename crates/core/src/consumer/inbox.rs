//! An inbox: its policy, its room, and the paths of its files.

use crate::consumer::Consumer;
use crate::consumer::state::{Body, Entry};
use crate::disk::Attributes;
use crate::ids::{FeedName, NodeName, SlotId};
use crate::limits;
use crate::name::{FileName, Pattern, Template, TemplateKind, TemplateValues, conflict_name};
use crate::spec::{ConsumePolicy, FileSpec, OnConflict};
use crate::wire::RefusalCode;

/// One feed's inbox.
#[derive(Debug)]
pub(super) struct Inbox {
    pub(super) policy: ConsumePolicy,
    layout: Option<Template>,
    from: Vec<Pattern>,
    /// Free bytes on its filesystem, as last measured.
    pub(super) free: Option<u64>,
    /// Bytes written since that was measured, and since the measurement before it: one that was
    /// under way while they were written does not count them.
    written: [u64; 2],
    /// Published since this life began.
    pub(super) published_files: u64,
    pub(super) published_bytes: u64,
}

/// Why a file is not taken: for the producer and its people.
pub(super) type No = (RefusalCode, String);

impl Inbox {
    fn new(policy: ConsumePolicy) -> Self {
        Self {
            layout: Template::parse(&policy.layout, TemplateKind::Layout).ok(),
            from: policy
                .from
                .iter()
                .filter_map(|p| Pattern::new(p).ok())
                .collect(),
            policy,
            free: None,
            written: [0; 2],
            published_files: 0,
            published_bytes: 0,
        }
    }

    /// Whether a producer may send here: everybody, unless the policy names some.
    fn admits(&self, producer: &NodeName) -> bool {
        self.policy.from.is_empty() || self.from.iter().any(|pattern| pattern.matches(producer))
    }

    /// The path that a file should get.
    fn path(&self, entry_id: &crate::ids::TransferId, spec: &FileSpec) -> Result<FileName, String> {
        let name = FileName::new(&spec.name).map_err(|why| why.to_string())?;
        let feed = &self.policy.feed;
        let layout = self
            .layout
            .as_ref()
            .ok_or("the layout of this inbox is not valid; hint: `consign config check`")?;
        let values = TemplateValues {
            name: &name,
            producer: &entry_id.producer,
            feed,
            transfer: Some(entry_id.key),
            meta: &spec.meta,
        };
        layout.render_name(&values).map_err(|why| why.to_string())
    }
}

impl Consumer {
    pub(super) fn on_policies(&mut self, policies: Vec<ConsumePolicy>) {
        let old = std::mem::take(&mut self.inboxes);
        for policy in policies {
            let mut inbox = Inbox::new(policy);
            if let Some(old) = old.get(&inbox.policy.feed) {
                inbox.free = old.free;
                inbox.written = old.written;
                inbox.published_files = old.published_files;
                inbox.published_bytes = old.published_bytes;
            }
            self.inboxes.insert(inbox.policy.feed.clone(), inbox);
        }
    }

    pub(super) fn on_space(&mut self, feed: &FeedName, free: u64) {
        if let Some(inbox) = self.inboxes.get_mut(feed) {
            inbox.free = Some(free);
            inbox.written = [0, inbox.written[0]];
        }
    }

    /// Bytes are on the disk that were reserved before, and its free space was not measured since.
    pub(super) fn note_written(&mut self, feed: Option<&FeedName>, bytes: u64) {
        if let Some(inbox) = feed.and_then(|feed| self.inboxes.get_mut(feed)) {
            inbox.written[0] = inbox.written[0].saturating_add(bytes);
        }
    }

    /// Whether a file of `producer` may be taken at all, and where it would go.
    pub(super) fn judge(
        &self,
        producer: &NodeName,
        key: crate::ids::TransferKey,
        spec: &FileSpec,
    ) -> Result<FileName, No> {
        let feed = self.inbox_of(spec)?;
        if !feed.admits(producer) {
            let why = format!(
                "{} does not take feed {} from {producer}; hint: extend `from` of that feed there",
                self.me.node, spec.feed
            );
            return Err((RefusalCode::NotAllowed, why));
        }
        check_lengths(spec).map_err(|why| (RefusalCode::BadName, why))?;
        let id = crate::ids::TransferId {
            producer: producer.clone(),
            key,
        };
        let path = feed
            .path(&id, spec)
            .map_err(|why| (RefusalCode::BadName, why))?;
        if !self.log_room {
            let why = format!(
                "the disk under the intent log of {} is full; hint: free some space there",
                self.me.node
            );
            return Err((RefusalCode::NoSpace, why));
        }
        self.has_space(feed, spec.size)?;
        Ok(path)
    }

    /// The inbox that a file belongs into. What belongs into one that is not there is refused: it
    /// would be published into whatever directory is in its place, and be missing from the right
    /// one.
    pub(super) fn inbox_of(&self, spec: &FileSpec) -> Result<&Inbox, No> {
        let feed = FeedName::new(&spec.feed).ok();
        let Some(inbox) = feed.and_then(|feed| self.inboxes.get(&feed)) else {
            let why = format!(
                "{} does not consume feed {:?}; hint: add [[consume]] feed = {:?} there",
                self.me.node, spec.feed, spec.feed
            );
            return Err((RefusalCode::NotConsumed, why));
        };
        if self.is_lost(spec) {
            let why = format!(
                "the inbox of feed {} at {} is not the directory that its files were staged in; hint: mount the right disk there and restart that agent",
                spec.feed, self.me.node
            );
            return Err((RefusalCode::Disk, why));
        }
        Ok(inbox)
    }

    /// Where a file of a slot that is held should get, or why nowhere.
    pub(super) fn place_of(&self, slot: &SlotId) -> Result<(FeedName, String), No> {
        let entry = self.entry(slot).expect("its caller looked it up");
        let inbox = self.inbox_of(&entry.spec)?;
        let path = inbox
            .path(&entry.id(&slot.producer), &entry.spec)
            .map_err(|why| (RefusalCode::BadName, why))?;
        Ok((inbox.policy.feed.clone(), path.as_str().to_owned()))
    }

    /// Why a file that is saved cannot be published in this life, for a person.
    pub(super) fn homeless(&self, spec: &FileSpec) -> Option<String> {
        if self.is_lost(spec) {
            return Some("it is saved, and the directory in the place of its inbox is not the one that it was staged in; hint: mount the right disk and start the agent again".to_owned());
        }
        let gone = self.inbox_of(spec).is_err();
        gone.then(|| {
            format!(
                "it is saved, and feed {} is not consumed here any more; hint: add [[consume]] for it again and restart the agent",
                spec.feed
            )
        })
    }

    fn is_lost(&self, spec: &FileSpec) -> bool {
        self.lost.iter().any(|feed| feed.as_str() == spec.feed)
    }

    fn has_space(&self, inbox: &Inbox, size: u64) -> Result<(), No> {
        let Some(measured) = inbox.free else {
            return Ok(());
        };
        let free = measured.saturating_sub(inbox.written.iter().sum());
        let reserved = self.reserved(&inbox.policy.feed);
        let wanted = size
            .saturating_add(inbox.policy.min_free_bytes)
            .saturating_add(reserved);
        if free >= wanted {
            return Ok(());
        }
        let why = format!(
            "the inbox of feed {} at {} has {free} bytes free, {wanted} are needed with min_free and what is on its way; hint: free some space there",
            inbox.policy.feed, self.me.node
        );
        Err((RefusalCode::NoSpace, why))
    }

    /// Bytes promised to transfers and not yet written.
    fn reserved(&self, feed: &FeedName) -> u64 {
        let large: u64 = self
            .receiving
            .iter()
            .filter_map(|slot| self.entry(slot))
            .filter(|entry| entry.spec.feed == feed.as_str())
            .map(unwritten)
            .sum();
        large + self.unpublished_bytes
    }

    /// What is set on a file before it is shown.
    pub(super) fn attributes(&self, spec: &FileSpec) -> Attributes {
        let inbox = FeedName::new(&spec.feed)
            .ok()
            .and_then(|feed| self.inboxes.get(&feed));
        let policy = inbox.map(|inbox| &inbox.policy);
        Attributes {
            mtime_ns: spec.mtime_ns,
            mode: policy
                .and_then(|p| p.mode)
                .or(spec.mode.map(|mode| mode & 0o777)),
            owner: policy.and_then(|p| p.owner),
        }
    }

    /// Decides a path and promises it: the wished one if it is free, else one made from the
    /// transfer's id. `None` when the feed rejects conflicts.
    pub(super) fn decide_path(
        &mut self,
        slot: &SlotId,
        free: bool,
        must_rename: bool,
    ) -> Option<String> {
        let entry = self.entry(slot)?;
        let feed = entry.feed()?;
        let inbox = self.inboxes.get(&feed)?;
        let id = entry.id(&slot.producer);
        let wished = inbox.path(&id, &entry.spec).ok()?;
        let promised = |path: &str| {
            let at = (feed.clone(), path.to_owned());
            self.promised.get(&at).is_some_and(|other| other != slot)
        };
        let path = if free && !promised(wished.as_str()) {
            wished.clone()
        } else if must_rename || inbox.policy.on_conflict == OnConflict::Rename {
            conflict_name(&wished, &id)
        } else {
            return None;
        };
        if path != wished {
            // It may have been promised the wished path before something else took it.
            let at = (feed.clone(), wished.as_str().to_owned());
            if self.promised.get(&at) == Some(slot) {
                self.promised.remove(&at);
            }
        }
        let path = path.as_str().to_owned();
        self.promised.insert((feed, path.clone()), slot.clone());
        Some(path)
    }

    /// The name of its own that a file gets in the inbox itself, where no directory can be in the
    /// way.
    pub(super) fn path_in_inbox(&self, slot: &SlotId) -> Option<String> {
        let entry = self.entry(slot)?;
        let inbox = self.inboxes.get(&entry.feed()?)?;
        let id = entry.id(&slot.producer);
        let wished = inbox.path(&id, &entry.spec).ok()?;
        let base = FileName::new(wished.base()).ok()?;
        Some(conflict_name(&base, &id).as_str().to_owned())
    }

    pub(super) fn wished_path(&self, slot: &SlotId) -> Option<String> {
        let entry = self.entry(slot)?;
        let inbox = self.inboxes.get(&entry.feed()?)?;
        let path = inbox.path(&entry.id(&slot.producer), &entry.spec).ok()?;
        Some(path.as_str().to_owned())
    }

    pub(super) fn rejects_conflicts(&self, feed: &FeedName) -> bool {
        let inbox = self.inboxes.get(feed);
        inbox.is_some_and(|inbox| inbox.policy.on_conflict == OnConflict::Reject)
    }
}

fn unwritten(entry: &Entry) -> u64 {
    match &entry.body {
        Body::Large { written, .. } if entry.state.saved().is_none() => {
            entry.spec.size.saturating_sub(*written)
        }
        Body::Large { .. } | Body::Small { .. } | Body::None => 0,
    }
}

/// What a producer may say of a file is bounded: it goes into the log.
fn check_lengths(spec: &FileSpec) -> Result<(), String> {
    let meta: usize = spec
        .meta
        .iter()
        .map(|(name, value)| name.len() + value.len())
        .sum();
    if spec.key.len() > limits::KEY_BYTES_MAX
        || spec.meta.len() > limits::META_ENTRIES_MAX
        || meta > limits::META_BYTES_MAX
    {
        return Err(format!(
            "a key of {} bytes with {meta} bytes of metadata is too long; hint: use at most {} and {}",
            spec.key.len(),
            limits::KEY_BYTES_MAX,
            limits::META_BYTES_MAX
        ));
    }
    Ok(())
}
