//! Machines that come and go while files flow: each an agent with keys in a network of its own. Every
//! file is compared with every inbox afterwards.

mod check;
mod etcd;
mod fleet;
mod keys;
mod sources;
mod story;

use crate::isolated::{amount, isolated};
use story::Story;

/// Parts of the files: one for each step, and one for the end.
const STEPS: u64 = 8;

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
    story.consumers_join(&["cons-4", "cons-5", "cons-6"]);
    story.etcd_goes();
    story.hand(part);
    story.all_done();
    story.etcd_returns();
    story.hand(part);
    story.drain("cons-2");
    story.etcd_goes();
    story.hand(part / 2);
    story.kill("cons-3");
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
