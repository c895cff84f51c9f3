//! Machines that come and go while files flow: each an agent with keys in a network of its own. Every
//! file is compared with every inbox afterwards.

mod check;
mod etcd;
mod figures;
mod fleet;
mod keys;
mod sources;
mod story;

use std::time::{Duration, Instant};

use crate::isolated::{amount, isolated};
use story::Story;

/// Parts of the files: one for each step, and one for the end.
const STEPS: u64 = 8;
/// How soon a new consumer has its first file, from the start of its process.
const FIRST_FILE_MAX: Duration = Duration::from_secs(5);
/// The same where thirty agents, and what else they are told to do, share the processor.
const FIRST_FILE_OF_MANY_MAX: Duration = Duration::from_secs(20);

#[test]
fn machines_come_and_go_by_gossip_and_every_file_is_where_it_should_be() {
    let test = "churn::machines_come_and_go_by_gossip_and_every_file_is_where_it_should_be";
    isolated(test, &["ip"], || machines_come_and_go(false));
}

#[test]
fn machines_come_and_go_by_etcd_which_is_killed_and_every_file_is_where_it_should_be() {
    let test =
        "churn::machines_come_and_go_by_etcd_which_is_killed_and_every_file_is_where_it_should_be";
    isolated(test, &["ip", "etcd"], || machines_come_and_go(true));
}

fn machines_come_and_go(by_etcd: bool) {
    let (seed, files) = (amount("FAULT_SEED", 1), amount("CHURN_FILES", 5_000));
    println!("FAULT_SEED={seed}: {files} files");
    let part = files / STEPS;
    let mut story = Story::new(by_etcd, seed);
    story.begin(&["cons-1", "cons-2", "cons-3"], &["prod-1", "prod-2"]);
    story.hand(part);
    story.consumers_join(&["cons-4", "cons-5", "cons-6"], FIRST_FILE_MAX);
    story.etcd_goes();
    story.hand(part);
    story.all_done();
    story.etcd_returns();
    story.hand(part);
    story.drain("cons-2");
    story.etcd_goes();
    story.kill("cons-3", part / 2);
    // It is owed these too, as long as nobody knows that it does not come back.
    story.hand(part / 2);
    story.sources.are_submitted();
    // Who dies while etcd is away is forgotten when it is back.
    story.etcd_returns();
    story.forget("cons-3", "prod-1");
    story.hand(part);
    let left = ["cons-1", "cons-4", "cons-5", "cons-6"];
    story.producers_join(&["prod-3"], &left);
    story.hand(files.saturating_sub(story.sources.count()));
    story.all_done();
    story.check();
}

/// Figures of it are in `docs/scaling.md`.
#[test]
#[ignore = "thirty agents want 5 GB of memory, and a minute or two"]
fn a_third_of_thirty_agents_joins_and_goes_by_gossip() {
    let test = "churn::a_third_of_thirty_agents_joins_and_goes_by_gossip";
    isolated(test, &["ip", "ss"], || a_third_of_thirty(false));
}

#[test]
#[ignore = "thirty agents want 5 GB of memory, and a minute or two"]
fn a_third_of_thirty_agents_joins_and_goes_by_etcd() {
    let test = "churn::a_third_of_thirty_agents_joins_and_goes_by_etcd";
    isolated(test, &["ip", "ss", "etcd"], || a_third_of_thirty(true));
}

/// Twenty first; ten more come, of whom four produce; and ten go: four consumers that drain, three that
/// are lost, and three producers.
fn a_third_of_thirty(by_etcd: bool) {
    let (seed, files) = (amount("FAULT_SEED", 1), amount("CHURN_FILES", 10_000));
    println!("FAULT_SEED={seed}: {files} files");
    let consumers = numbered("cons", 1..21);
    let consumers: Vec<&str> = consumers.iter().map(String::as_str).collect();
    let producers = numbered("prod", 1..11);
    let producers: Vec<&str> = producers.iter().map(String::as_str).collect();
    let part = files / 10;
    let mut story = Story::new(by_etcd, seed);
    story.begin(&consumers[..14], &producers[..6]);
    let began = Instant::now();
    story.hand(part);
    story.consumers_join(&consumers[14..], FIRST_FILE_OF_MANY_MAX);
    story.hand(part);
    story.producers_join(&producers[6..], &consumers);
    story.tell_figures();
    for &name in &consumers[1..5] {
        story.hand(part);
        story.drain(name);
    }
    for &name in &consumers[5..8] {
        story.kill(name, part / 2);
        story.hand(part / 2);
        story.sources.are_submitted();
        story.forget(name, "prod-01");
    }
    for &name in &producers[1..4] {
        story.drain_producer(name);
    }
    story.hand(files.saturating_sub(story.sources.count()));
    story.all_done();
    let rate = story.sources.count() as f64 / began.elapsed().as_secs_f64();
    println!("{rate:.0} files/s, all steps included");
    story.tell_figures();
    story.check();
}

/// Each producer has a connection to the consumer, and nobody sends anything.
#[test]
#[ignore = "it measures, and thirty agents want 5 GB of memory"]
fn what_idle_connections_cost_a_consumer() {
    let test = "churn::what_idle_connections_cost_a_consumer";
    isolated(test, &["ip", "ss", "etcd"], || {
        let mut story = Story::new(true, 1);
        story.begin(&["cons-01"], &["prod-01"]);
        story.tell_figures();
        let producers = numbered("prod", 2..30);
        let producers: Vec<&str> = producers.iter().map(String::as_str).collect();
        for more in producers.chunks(7) {
            story.producers_join(more, &["cons-01"]);
            story.tell_figures();
        }
    });
}

fn numbered(kind: &str, numbers: std::ops::Range<u32>) -> Vec<String> {
    numbers
        .map(|number| format!("{kind}-{number:02}"))
        .collect()
}
