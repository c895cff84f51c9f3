//! The last view of an earlier life, as the log has it.

use std::collections::BTreeMap;

use prost::Message as _;

use super::{Member, View};
use crate::ids::NodeName;
use crate::record::{MemberRecord, ViewSeen};

/// Largest part of a view in one record, in bytes: half of the largest record, so that the member
/// that comes last never makes it too large.
const PART_BYTES_MAX: usize = crate::limits::RECORD_BYTES_MAX / 2;

impl View {
    /// The records that [`LastView`] makes this view of again; one, unless it is very large.
    #[must_use]
    pub fn records(&self) -> Vec<ViewSeen> {
        let part = || ViewSeen {
            epoch: self.epoch,
            members: Vec::new(),
            total: u32::try_from(self.members.len()).expect("a view has few thousand members"),
        };
        let mut parts = vec![part()];
        let mut bytes = 0;
        for member in self.members.iter().map(MemberRecord::from) {
            if bytes > PART_BYTES_MAX {
                parts.push(part());
                bytes = 0;
            }
            bytes += member.encoded_len();
            let last = parts.last_mut().expect("there is always one");
            last.members.push(member);
        }
        parts
    }
}

/// Finds the last whole view among records in the order of the log. They may be there several
/// times, since they are written again before their segment goes.
#[derive(Debug, Default)]
pub struct LastView {
    whole: Option<View>,
    epoch: u64,
    parts: BTreeMap<NodeName, Member>,
}

impl LastView {
    /// Takes in the next record. A member that cannot be read leaves its view incomplete, so that
    /// the one before stays: with one member too few, what is owed to it would go elsewhere.
    pub fn note(&mut self, seen: &ViewSeen) {
        if seen.epoch != self.epoch {
            self.epoch = seen.epoch;
            self.parts.clear();
        }
        for member in seen.members.iter().filter_map(|m| Member::try_from(m).ok()) {
            self.parts.insert(member.name.clone(), member);
        }
        let is_whole = self.parts.len() == seen.total as usize;
        let members = || self.parts.values().cloned().collect();
        if let Some(view) = is_whole
            .then(|| View::new(seen.epoch, members()).ok())
            .flatten()
        {
            self.whole = Some(view);
        }
    }

    /// The last view that was written whole.
    #[must_use]
    pub fn into_view(self) -> Option<View> {
        self.whole
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::FeedName;
    use crate::limits::{MEMBERS_MAX, RECORD_BYTES_MAX};
    use crate::view::MemberState;

    fn view(epoch: u64, members: usize) -> View {
        let feeds = (0..20).map(|n| FeedName::new(&format!("feed-{n}")).unwrap());
        let feeds: std::collections::BTreeSet<_> = feeds.collect();
        let member = |n: usize| Member {
            name: NodeName::new(&format!("node-{n}")).unwrap(),
            addr: format!("node-{n}.lan:7420"),
            zone: None,
            weight: 1,
            feeds: feeds.clone(),
            state: MemberState::Active,
        };
        View::new(epoch, (0..members).map(member).collect()).unwrap()
    }

    fn last<'a>(records: impl IntoIterator<Item = &'a ViewSeen>) -> Option<View> {
        let mut last = LastView::default();
        records.into_iter().for_each(|seen| last.note(seen));
        last.into_view()
    }

    #[test]
    fn the_largest_view_fits_into_records_and_comes_back() {
        let large = view(7, MEMBERS_MAX);
        let records = large.records();
        assert!(records.len() > 1);
        assert!(records.iter().all(|r| r.encoded_len() < RECORD_BYTES_MAX));
        assert_eq!(last(&records), Some(large.clone()));
        let twice = records.iter().chain(&records);
        assert_eq!(last(twice), Some(large));
        assert_eq!(last(&view(3, 0).records()), Some(view(3, 0)));
        assert_eq!(last([]), None);
    }

    #[test]
    fn a_view_that_a_crash_cut_short_is_not_believed() {
        let (before, after) = (view(7, 3), view(8, MEMBERS_MAX));
        let mut records = before.records();
        records.extend(after.records());
        records.pop();
        assert_eq!(last(&records), Some(before.clone()));
        let mut damaged = view(8, 2).records();
        damaged[0].members[1].node = "../x".to_owned();
        let records = [before.records(), damaged].concat();
        assert_eq!(last(&records), Some(before));
    }

    #[test]
    fn the_last_of_several_views_counts() {
        let records = [view(7, 3).records(), view(8, 2).records()].concat();
        assert_eq!(last(&records), Some(view(8, 2)));
    }
}
