//! What a watched directory holds that is not taken, in as few words as a person needs.

use crate::hint;
use std::collections::BTreeMap;
use std::time::UNIX_EPOCH;

use consign_core::ids::FeedName;

use crate::daemon::bounds::CAUSES_SHOWN_MAX;
use crate::problems::Problem;
use crate::timestamp::Timestamp;
use crate::watch::{ProblemList, Untaken};

/// The problems of a feed's watched directory. Files with the same cause are one problem: what is
/// the matter with one is mostly the matter with all. The most frequent cause comes first.
pub(super) fn grouped(feed: &FeedName, list: &ProblemList) -> Vec<Problem> {
    let mut causes: BTreeMap<String, Vec<&Untaken>> = BTreeMap::new();
    for untaken in &list.listed {
        causes.entry(cause_of(untaken)).or_default().push(untaken);
    }
    let mut causes: Vec<_> = causes.into_values().collect();
    causes.sort_by_key(|files| std::cmp::Reverse(files.len()));
    let left: usize = causes.iter().skip(CAUSES_SHOWN_MAX).map(Vec::len).sum();
    let mut problems: Vec<_> = causes
        .iter()
        .take(CAUSES_SHOWN_MAX)
        .map(|files| told(feed, files))
        .collect();
    if left + list.more > 0 {
        problems.push(Problem {
            what: format!(
                "feed {feed}: {} more entries are not taken",
                left + list.more
            ),
            hint: "deal with those that are listed, or look at the agent's log".to_owned(),
            since: since(list.listed.iter()),
        });
    }
    problems
}

/// One problem for all files of one cause.
fn told(feed: &FeedName, files: &[&Untaken]) -> Problem {
    let first = files[0];
    let (why, hint) = hint::split_or(&first.why, "look at the agent's log");
    let (path, why) = (&first.path, short(why, first));
    let what = match files.len() {
        1 => format!("feed {feed}: {path:?}: {why}"),
        many => format!("feed {feed}: {many} entries, such as {path:?}: {why}"),
    };
    Problem {
        what,
        hint: hint.to_owned(),
        since: since(files.iter().copied()),
    }
}

/// The cause as it is the same for other files: without the path, and without numbers.
fn cause_of(untaken: &Untaken) -> String {
    let mut cause = String::new();
    for c in short(&untaken.why, untaken).chars() {
        match c.is_ascii_digit() {
            true if cause.ends_with('0') => {}
            true => cause.push('0'),
            false => cause.push(c),
        }
    }
    cause
}

/// A message without the path that it is told next to.
fn short(why: &str, untaken: &Untaken) -> String {
    let shown = untaken.path.display().to_string();
    let why = why.replace(&format!("{:?}", untaken.path), "it");
    let why = why.replace(&shown, "it");
    why.strip_prefix("it cannot be taken: ")
        .unwrap_or(&why)
        .to_owned()
}

fn since<'a>(files: impl Iterator<Item = &'a Untaken>) -> Timestamp {
    let first = files.map(|untaken| untaken.since).min();
    let first = first.and_then(|first| first.duration_since(UNIX_EPOCH).ok());
    let millis = first.map_or(0, |first| first.as_millis());
    Timestamp(u64::try_from(millis).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn untaken(path: &str, why: &str) -> Untaken {
        Untaken {
            path: path.into(),
            why: why.to_owned(),
            since: UNIX_EPOCH,
        }
    }

    #[test]
    fn files_with_one_cause_are_one_problem() {
        let refused = |at: usize| {
            let path = format!("/w/f{at}");
            let why = format!(
                "{path} cannot be taken: no room to copy {path:?}: it has {} bytes; hint: free space",
                at * 1000
            );
            untaken(&path, &why)
        };
        let mut listed: Vec<_> = (1..=50).map(refused).collect();
        listed.push(untaken(
            "/w/link",
            "is a symbolic link; hint: put the file here",
        ));
        let list = ProblemList { listed, more: 0 };
        let problems = grouped(&FeedName::new("y").unwrap(), &list);
        let said: Vec<_> = problems
            .iter()
            .map(|problem| (problem.what.as_str(), problem.hint.as_str()))
            .collect();
        assert_eq!(
            said,
            [
                (
                    "feed y: 50 entries, such as \"/w/f1\": no room to copy it: it has 1000 bytes",
                    "free space"
                ),
                (
                    "feed y: \"/w/link\": is a symbolic link",
                    "put the file here"
                ),
            ]
        );
    }

    #[test]
    fn causes_beyond_those_told_are_counted() {
        let cause = |at: u8| untaken("/w/f", &"x".repeat(usize::from(at) + 1));
        let list = ProblemList {
            listed: (0..10).map(cause).collect(),
            more: 3,
        };
        let problems = grouped(&FeedName::new("y").unwrap(), &list);
        assert_eq!(problems.len(), CAUSES_SHOWN_MAX + 1);
        assert_eq!(
            problems[CAUSES_SHOWN_MAX].what,
            "feed y: 5 more entries are not taken"
        );
    }
}
