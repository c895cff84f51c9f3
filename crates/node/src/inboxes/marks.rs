//! Which directory each feed's files were staged in, as the log knows it: by the marker that lies in
//! its staging directory, since a path says nothing of the disk that is mounted there.

use std::collections::BTreeSet;
use std::path::Path;

use consign_core::ids::FeedName;
use consign_core::publish;
use consign_core::record::InboxMarked;

pub(crate) type Marker = [u8; publish::MARKER_BYTES];

/// The records that count: one for each feed, and one without a feed for each path that a feed had
/// and has no more.
#[derive(Debug, Default)]
pub(crate) struct InboxMarks(Vec<InboxMarked>);

impl InboxMarks {
    /// Takes in one record, in the log's order. Taking in again, in that order, what counts already
    /// changes nothing that is asked of it, also when a crash ends that in the middle.
    pub(crate) fn note(&mut self, marked: InboxMarked) {
        if marked.feed.is_empty() {
            if !self.knows(&marked.inbox) {
                self.0.push(marked);
            }
            return;
        }
        let before = self.0.iter().position(|known| known.feed == marked.feed);
        let before = before.map(|at| self.0.remove(at));
        self.0
            .retain(|known| !known.feed.is_empty() || known.inbox != marked.inbox);
        self.0.push(marked);
        if let Some(mut before) = before
            && !self.knows(&before.inbox)
        {
            before.feed.clear();
            self.0.push(before);
        }
    }

    /// Takes in where a feed's files are staged from now on: its inbox is not lost.
    pub(crate) fn note_open(&mut self, feed: &FeedName, path: &Path, marker: Marker) {
        self.note(InboxMarked {
            inbox: path.to_string_lossy().into_owned(),
            marker: marker.to_vec(),
            feed: feed.to_string(),
        });
    }

    /// What counts, to be written again.
    pub(crate) fn records(&self) -> impl Iterator<Item = &InboxMarked> {
        self.0.iter()
    }

    /// Whether the directory at `path`, in which `found` is the marker, is not where the files of
    /// `feed` are: its disk is not mounted, say, or the path is another feed's. `staged` are the
    /// feeds that have files in staging. A directory that was moved takes its marker with it.
    pub(crate) fn is_lost(
        &self,
        feed: &FeedName,
        path: &Path,
        found: Option<Marker>,
        staged: &BTreeSet<FeedName>,
    ) -> bool {
        let is_here = |marked: &InboxMarked| found.is_some_and(|found| marked.marker == found);
        let waits = staged.contains(feed);
        match self.0.iter().find(|marked| marked.feed == feed.as_str()) {
            Some(marked) if is_here(marked) => return false,
            Some(_) if waits => return true,
            Some(_) | None => {}
        }
        let path = path.to_string_lossy();
        match self.0.iter().find(|marked| marked.inbox == path) {
            Some(marked) => !is_here(marked),
            None => waits && !self.0.iter().any(is_here),
        }
    }

    /// Whether files of this node were staged under a marker.
    pub(crate) fn has(&self, marker: Marker) -> bool {
        self.0.iter().any(|known| known.marker == marker)
    }

    fn knows(&self, path: &str) -> bool {
        self.0.iter().any(|known| known.inbox == path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Marker = [1; publish::MARKER_BYTES];
    const B: Marker = [2; publish::MARKER_BYTES];

    fn marked(feed: &str, inbox: &str, marker: Marker) -> InboxMarked {
        InboxMarked {
            inbox: inbox.to_owned(),
            marker: marker.to_vec(),
            feed: feed.to_owned(),
        }
    }

    fn marks(records: &[InboxMarked]) -> InboxMarks {
        let mut marks = InboxMarks::default();
        for record in records {
            marks.note(record.clone());
        }
        marks
    }

    /// Whether a feed that has files in staging, and one that has none, finds its inbox.
    fn finds(marks: &InboxMarks, feed: &str, path: &str, found: Option<Marker>) -> (bool, bool) {
        let feed: FeedName = feed.parse().unwrap();
        let lost = |staged: &BTreeSet<_>| marks.is_lost(&feed, Path::new(path), found, staged);
        let staged = BTreeSet::from([feed.clone()]);
        (!lost(&staged), !lost(&BTreeSet::new()))
    }

    #[test]
    fn files_that_are_staged_wait_for_the_directory_that_they_are_in() {
        let marks = marks(&[marked("f", "/a", A), marked("g", "/b", B)]);
        assert_eq!(finds(&marks, "f", "/a", Some(A)), (true, true));
        assert_eq!(finds(&marks, "f", "/a", None), (false, false), "no mount");
        assert_eq!(finds(&marks, "f", "/b", Some(B)), (false, true), "swapped");
        assert_eq!(finds(&marks, "f", "/new", None), (false, true));
        assert_eq!(finds(&marks, "f", "/b", Some(A)), (true, true), "moved");
        assert_eq!(finds(&marks, "h", "/a", Some(A)), (true, true), "renamed");
    }

    #[test]
    fn a_record_that_names_no_feed_is_of_its_path() {
        let marks = marks(&[marked("", "/a", A)]);
        assert_eq!(finds(&marks, "f", "/a", Some(A)), (true, true));
        assert_eq!(finds(&marks, "f", "/a", Some(B)), (false, false));
        assert_eq!(finds(&marks, "f", "/moved", Some(A)), (true, true));
        assert_eq!(finds(&marks, "f", "/new", None), (false, true));
    }

    #[test]
    fn the_last_inbox_of_a_feed_counts_however_far_it_was_written_again() {
        let records = [marked("f", "/a", A), marked("f", "/b", B)];
        let again: Vec<_> = marks(&records).records().cloned().collect();
        assert_eq!(again.len(), 2);
        for upto in 0..=again.len() {
            let marks = marks(&[&records, &again[..upto]].concat());
            assert_eq!(finds(&marks, "f", "/b", Some(B)), (true, true));
            assert_eq!(finds(&marks, "f", "/a", Some(A)), (false, true));
            assert_eq!(finds(&marks, "g", "/a", None), (false, false), "no mount");
            assert_eq!(marks.records().count(), 2);
        }
    }
}
