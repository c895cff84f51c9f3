//! All the agents together, and the way to ask them.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use serde::Serialize;

use super::node::{Node, Role, Stopped, free_ports};
use crate::api::model::{Status, Submission, Transfer};
use crate::catalogue::Event;
use crate::cli::address::Address;
use crate::cli::client::{Client, encoded};
use crate::cli::exit::Failure;

/// How long the agents may take to be ready when they are started for the first time.
const START_DEADLINE: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// How often ports are chosen anew when others took them first.
const PORTS_TRIES: usize = 4;
/// What the system calls it, and so the agent.
const PORT_TAKEN: &str = "Address already in use";

/// The agents; all are killed when this is dropped.
#[derive(Debug)]
pub(super) struct Cluster {
    pub(super) nodes: Vec<Node>,
}

/// A file to submit.
#[derive(Debug, Serialize)]
pub(super) struct Submit<'a> {
    pub(super) path: &'a Path,
    pub(super) name: &'a str,
}

/// How many nodes there are of each role, and how many copies they make.
#[derive(Debug, Clone, Copy)]
pub(super) struct Size {
    pub(super) producers: u16,
    pub(super) consumers: u16,
    pub(super) replicas: u16,
}

impl Cluster {
    /// Starts a cluster in `parent`, and returns when every agent is ready and has found the others.
    ///
    /// # Errors
    /// When an agent ends, or is not ready in time; with its last words.
    pub(super) async fn start(parent: &Path, size: Size) -> anyhow::Result<Self> {
        for try_number in 1.. {
            let cluster = Self::prepare(parent, size)?;
            for node in &cluster.nodes {
                node.start()
                    .with_context(|| format!("cannot start the agent {}", node.name))?;
            }
            match cluster.wait_until_ready().await {
                Ok(()) => return Ok(cluster),
                Err(error)
                    if try_number < PORTS_TRIES && error.to_string().contains(PORT_TAKEN) => {}
                Err(error) => return Err(error),
            }
        }
        unreachable!("the last try returns")
    }

    fn prepare(parent: &Path, size: Size) -> anyhow::Result<Self> {
        let producers = (1..=size.producers).map(|at| (format!("prod-{at}"), Role::Producer));
        let consumers = (1..=size.consumers).map(|at| (format!("cons-{at}"), Role::Consumer));
        let named: Vec<_> = producers.chain(consumers).collect();
        let ports = free_ports(named.len()).context("cannot find free ports on 127.0.0.1")?;
        let nodes: Vec<_> = named
            .into_iter()
            .zip(ports)
            .map(|((name, role), port)| Node::new(parent, name, role, port))
            .collect();
        let members: Vec<_> = nodes.iter().map(Node::as_member).collect();
        for node in &nodes {
            node.prepare(&members, size.replicas)
                .with_context(|| format!("cannot prepare the directories of {}", node.name))?;
        }
        Ok(Self { nodes })
    }

    async fn wait_until_ready(&self) -> anyhow::Result<()> {
        let deadline = Instant::now() + START_DEADLINE;
        loop {
            let told = self.refresh().await;
            self.check_alive()?;
            // A producer places files with whom it reaches first, which would look like a fault.
            let connected = |node: &&Node| told.get(&node.name).is_some_and(is_connected);
            let found = |node: &&Node| node.is_ready() && connected(node);
            let Some(late) = self.nodes.iter().find(|node| !found(node)) else {
                return Ok(());
            };
            if Instant::now() >= deadline {
                bail!(
                    "{} is not ready after {START_DEADLINE:?}; hint: read its log\n{}",
                    late.name,
                    late.last_words()
                );
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Fails when an agent ended that nobody killed.
    pub(super) fn check_alive(&self) -> anyhow::Result<()> {
        for node in &self.nodes {
            if let Some(status) = node.ended() {
                bail!(
                    "the agent {} ended by itself ({status}); hint: its last words were\n{}",
                    node.name,
                    node.last_words()
                );
            }
        }
        Ok(())
    }

    pub(super) fn of(&self, role: Role) -> impl Iterator<Item = &Node> {
        self.nodes.iter().filter(move |node| node.role == role)
    }

    /// The producers, in order.
    pub(super) fn producers(&self) -> Vec<&Node> {
        self.of(Role::Producer).collect()
    }

    /// What every agent that answers says of itself, by name; and notes who is ready.
    pub(super) async fn refresh(&self) -> BTreeMap<String, Status> {
        let mut told = BTreeMap::new();
        for node in self.nodes.iter().filter(|node| node.is_up()) {
            match status(node).await {
                Ok(status) => {
                    node.said_ready(status.node.ready);
                    told.insert(node.name.clone(), status);
                }
                Err(_) => node.said_ready(false),
            }
        }
        told
    }

    /// Asks every agent to stop, and says which did not stop well.
    pub(super) async fn stop(&self) -> Vec<(String, String)> {
        let mut bad = Vec::new();
        for node in &self.nodes {
            let why = match node.stop().await {
                Stopped::Ended(status) if status.success() => continue,
                Stopped::Ended(status) => format!("ended with {status} when it was asked to stop"),
                Stopped::Late => "did not stop when it was asked to, and was killed".to_owned(),
                Stopped::Down => "did not run any more at the end".to_owned(),
            };
            bad.push((node.name.clone(), why));
        }
        bad
    }
}

/// Whether it has a connection to everybody to whom it may send.
fn is_connected(status: &Status) -> bool {
    let sends = !status.node.produces.is_empty();
    let mut members = status.node.members.iter();
    !sends || members.all(|member| member.feeds.is_empty() || member.connected)
}

fn client(node: &Node) -> Client {
    Client::new(Address::Unix(node.socket()), None)
}

async fn status(node: &Node) -> Result<Status, Failure> {
    client(node).get("/status").await
}

/// Submits files by their paths.
pub(super) async fn submit(
    node: &Node,
    feed: &str,
    files: &[Submit<'_>],
) -> Result<Vec<Submission>, Failure> {
    let path = format!("/feeds/{}/files", encoded(feed));
    client(node).post(&path, &files).await
}

/// Every transfer of a producer, which receives nothing.
pub(super) async fn transfers(node: &Node) -> Result<Vec<Transfer>, Failure> {
    client(node).all("/transfers").await
}

/// Everything that happened to a transfer.
pub(super) async fn timeline(node: &Node, id: &str) -> Result<Vec<Event>, Failure> {
    let path = format!("/transfers/{}/events", encoded(id));
    client(node).all(&path).await
}
