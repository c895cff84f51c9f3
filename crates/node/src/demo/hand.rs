//! Handing files to the producers: submitted by path, or moved into a watched directory.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

use super::cluster::{self, Cluster, Submit};
use super::node::Node;
use super::rng::Rng;
use super::source::{self, Maker, Source, Way};
use super::watch::Eyes;
use crate::api::model::Submission;

/// Pause between two portions, when files come over time.
const PORTION_EVERY: Duration = Duration::from_millis(250);
/// Files in one portion, when they do not.
const PORTION_FILES: usize = 500;
/// Unfinished files below which more are made while chaos lasts.
const UNFINISHED_MIN: u64 = 20;
/// How long one portion is tried to be handed over, through any number of deaths.
const HAND_DEADLINE: Duration = Duration::from_secs(90);
const TRY_EVERY: Duration = Duration::from_millis(100);
/// How long a listing must not have grown before it is taken for all that a restarted producer
/// remembers.
const LISTING_STILL: Duration = Duration::from_millis(500);

/// Hands files over.
#[derive(Debug)]
pub(super) struct Hand<'a> {
    pub(super) cluster: &'a Cluster,
    pub(super) eyes: &'a Eyes,
}

impl Hand<'_> {
    /// Hands over `sources`, all at once or spread over `spread`.
    ///
    /// # Errors
    /// When a producer refuses a file, or does not come back.
    pub(super) async fn over(
        &self,
        sources: &[Source],
        spread: Option<Duration>,
    ) -> anyhow::Result<()> {
        let portion = match spread {
            None => PORTION_FILES,
            Some(spread) => {
                let portions = spread.as_millis().div_ceil(PORTION_EVERY.as_millis());
                sources.len().div_ceil(usize::try_from(portions)?.max(1))
            }
        };
        let began = Instant::now();
        for (at, portion) in (0..).zip(sources.chunks(portion.max(1))) {
            if spread.is_some() {
                let due = began + PORTION_EVERY * at;
                tokio::time::sleep_until(due.into()).await;
            }
            self.portion(portion).await?;
        }
        Ok(())
    }

    /// Makes more files and hands them over until `is_enough`, so that data keeps flowing. Returns
    /// them.
    ///
    /// # Errors
    /// As [`over`](Self::over), and when no file can be made.
    pub(super) async fn keep_flowing(
        &self,
        maker: &mut Maker,
        rng: &mut Rng,
        is_enough: &Cell<bool>,
    ) -> anyhow::Result<Vec<Source>> {
        let mut made = Vec::new();
        let mut round = 0;
        while !is_enough.get() {
            if self.eyes.progress().unfinished >= UNFINISHED_MIN {
                tokio::time::sleep(TRY_EVERY).await;
                continue;
            }
            round += 1;
            let mut sources = Vec::new();
            for shape in source::more(round, rng) {
                sources.push(maker.make(&shape)?);
                // Making takes a while; the others in this task go on meanwhile.
                tokio::task::yield_now().await;
            }
            self.portion(&sources).await?;
            made.extend(sources);
        }
        Ok(made)
    }

    async fn portion(&self, sources: &[Source]) -> anyhow::Result<()> {
        self.eyes.handed_over(sources.len() as u64);
        for (at, node) in self.cluster.producers().into_iter().enumerate() {
            let of = |way| {
                let sources = sources.iter();
                sources.filter(move |source| source.producer == at && source.way == way)
            };
            for source in of(Way::Dropped) {
                drop_into(node, source)?;
            }
            let sent: Vec<_> = of(Way::Sent).collect();
            submit_all(node, &sent).await?;
        }
        Ok(())
    }
}

/// Moves a file into the watched directory, as a program does that renames what it has written.
fn drop_into(node: &Node, source: &Source) -> anyhow::Result<()> {
    let to = node.watched().join(&source.name);
    let parent = to.parent().expect("it was joined to a directory");
    fs::create_dir_all(parent)
        .and_then(|()| fs::rename(&source.path, &to))
        .with_context(|| format!("cannot move {} to {}", source.path.display(), to.display()))
}

/// Submits files until the producer says that it has them, whatever happens to it meanwhile.
///
/// When it dies during the call, nobody knows which files it took. They are in its log or they are
/// not: so it is asked once it is back, and only those are submitted again that it does not know.
async fn submit_all(node: &Node, sources: &[&Source]) -> anyhow::Result<()> {
    let mut left: Vec<&Source> = sources.to_vec();
    let mut is_unsure = false;
    let deadline = Instant::now() + HAND_DEADLINE;
    while !left.is_empty() {
        if Instant::now() >= deadline {
            bail!(
                "{} took no files for {HAND_DEADLINE:?}; hint: read its log",
                node.name
            );
        }
        if !node.is_ready() {
            tokio::time::sleep(TRY_EVERY).await;
            continue;
        }
        if is_unsure {
            let Some(known) = known_names(node).await else {
                continue;
            };
            left.retain(|source| !known.contains(&source.name));
            is_unsure = false;
            continue;
        }
        let files = left.iter().map(|source| Submit {
            path: &source.path,
            name: &source.name,
        });
        let files: Vec<_> = files.collect();
        match cluster::submit(node, Way::Sent.feed(), &files).await {
            Ok(answers) => return all_accepted(node, &answers),
            Err(_) => is_unsure = true,
        }
    }
    Ok(())
}

fn all_accepted(node: &Node, answers: &[Submission]) -> anyhow::Result<()> {
    for answer in answers {
        if let Submission::Refused { path, error } = answer {
            bail!(
                "{} refused {path}: {}; hint: {}",
                node.name,
                error.message,
                error.hint
            );
        }
    }
    Ok(())
}

/// The names of all submitted files that a producer knows, once its listing has caught up with its
/// log. `None` when it died over it.
async fn known_names(node: &Node) -> Option<BTreeSet<String>> {
    let mut known = BTreeSet::new();
    let mut since = Instant::now();
    while since.elapsed() < LISTING_STILL {
        if !node.is_ready() {
            return None;
        }
        let listed = cluster::transfers(node).await.ok()?;
        let sent = listed.into_iter().filter(|t| t.feed == Way::Sent.feed());
        let names: BTreeSet<_> = sent.map(|transfer| transfer.name).collect();
        if names != known {
            (known, since) = (names, Instant::now());
        }
        tokio::time::sleep(TRY_EVERY).await;
    }
    Some(known)
}
