//! strace, as what makes system calls fail: what it is told, and what it tells.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, SystemTime};

use crate::rng::Rng;

/// The beginning of a command line that injects into everything that follows on it. As a grandchild,
/// the tracer leaves the agent to be waited for and killed.
pub(crate) fn strace<'a>(trace: &'a Path, options: &[&'a str]) -> Vec<&'a str> {
    let mut words = vec!["strace", "-D", "-f", "--seccomp-bpf", "-qq", "-y", "-o"];
    words.push(trace.to_str().unwrap());
    words.extend(options);
    words
}

/// One call of a trace.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Call<'a> {
    pub(crate) thread: &'a str,
    pub(crate) name: &'a str,
    pub(crate) line: &'a str,
}

impl<'a> Call<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let (thread, rest) = line.split_once(' ')?;
        // With `-ttt` the time is between the two.
        let name = rest.split_once('(')?.0.rsplit(' ').next()?;
        Some(Self { thread, name, line })
    }

    /// When it began, in a trace with `-ttt`.
    pub(crate) fn at(&self) -> Option<SystemTime> {
        let seconds = self.line.split_whitespace().nth(1)?.parse().ok()?;
        Some(SystemTime::UNIX_EPOCH + Duration::try_from_secs_f64(seconds).ok()?)
    }

    /// Whether it was not made: what was said of it is not true.
    pub(crate) fn is_injected(&self) -> bool {
        self.line.contains("(INJECTED)")
    }

    /// What it answered.
    pub(crate) fn answer(&self) -> Option<u64> {
        let said = self.line.rsplit_once(" = ")?.1;
        said.split(' ').next()?.parse().ok()
    }

    /// How many bytes a `pwrite64` was asked to write.
    pub(crate) fn asked(&self) -> Option<u64> {
        // strace aligns short calls with spaces before the sign.
        let arguments = self.line.rsplit_once(" = ")?.0.trim_end();
        let arguments = arguments.strip_suffix(')')?;
        let mut from_the_end = arguments.rsplit(", ");
        from_the_end.next()?;
        from_the_end.next()?.parse().ok()
    }
}

pub(crate) fn calls(trace: &str) -> impl Iterator<Item = Call<'_>> {
    trace.lines().filter_map(Call::parse)
}

/// Of the thread that made each call most often, how often it did.
pub(crate) fn most(trace: &str) -> BTreeMap<String, u64> {
    let mut counts: BTreeMap<(&str, &str), u64> = BTreeMap::new();
    for call in calls(trace) {
        *counts.entry((call.thread, call.name)).or_default() += 1;
    }
    let mut most: BTreeMap<String, u64> = BTreeMap::new();
    for ((_, name), count) in counts {
        let entry = most.entry(name.to_owned()).or_default();
        *entry = count.max(*entry);
    }
    most
}

/// So many of all cases, in a random order, and as many of each kind of them as of any other.
pub(crate) fn spread<T>(mut strata: Vec<Vec<T>>, most: usize, rng: &mut Rng) -> Vec<T> {
    strata.iter_mut().for_each(|cases| shuffle(cases, rng));
    let mut spread = Vec::new();
    while spread.len() < most && strata.iter().any(|cases| !cases.is_empty()) {
        shuffle(&mut strata, rng);
        spread.extend(strata.iter_mut().filter_map(Vec::pop));
    }
    spread.truncate(most);
    spread
}

/// Fisher and Yates.
fn shuffle<T>(some: &mut [T], rng: &mut Rng) {
    for at in (1..some.len()).rev() {
        some.swap(at, rng.below(at as u64 + 1) as usize);
    }
}

#[test]
fn a_part_of_the_cases_has_some_of_each_kind() {
    let strata = vec![(0..1_000).collect(), vec![-1], vec![-2, -2]];
    let part = spread(strata.clone(), 6, &mut Rng::new(1));
    let count = |of: i32| part.iter().filter(|&&case| case == of).count();
    assert_eq!((part.len(), count(-1), count(-2)), (6, 1, 2));
    assert_eq!(spread(strata, 5_000, &mut Rng::new(1)).len(), 1_003);
}

#[test]
fn what_strace_tells_is_understood() {
    let line = r#"412   pwrite64(12</d/log/1>, "\1, 2) = 3"..., 4096, 8192) = 4096 (INJECTED)"#;
    let call = calls(line).next().unwrap();
    assert_eq!((call.thread, call.name), ("412", "pwrite64"));
    assert!(call.is_injected());
    assert_eq!((call.asked(), call.answer()), (Some(4096), Some(4096)));
    assert_eq!(most(line)["pwrite64"], 1);
}
