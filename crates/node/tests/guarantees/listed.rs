//! Members that are listed: whoever's line is taken out while its agent runs is no member any more.

use std::collections::BTreeSet;

use crate::cluster::{Cluster, SOON, files_in, left_in_staging, random_bytes, until};

const FILES: usize = 30;

fn send(cluster: &Cluster, prefix: &str, size: usize) {
    let names = (0..FILES).map(|at| format!("{prefix}-{at:02}"));
    let paths = names.map(|name| {
        let path = cluster.write(&name, &random_bytes(FILES as u64, size));
        path.to_str().unwrap().to_owned()
    });
    let paths: Vec<_> = paths.collect();
    let mut args = vec!["send", "--feed", "files"];
    args.extend(paths.iter().map(String::as_str));
    cluster.ask("prod-1", &args).good();
}

fn names_at(cluster: &Cluster, consumer: &str) -> BTreeSet<String> {
    files_in(&cluster.node(consumer).inbox())
        .into_keys()
        .collect()
}

/// Writes the list anew, and has it read by all that run, as a person does.
fn relist(cluster: &mut Cluster, node: &str, is_listed: bool) {
    cluster.list(node, is_listed);
    cluster.configure();
    for one in ["prod-1", "cons-1", "cons-2", "cons-3"] {
        cluster.hang_up(one);
    }
}

fn knows(cluster: &Cluster, node: &str) -> bool {
    let nodes = cluster.ask("prod-1", &["nodes", "--json"]).good().objects();
    nodes
        .iter()
        .any(|one| one["name"] == node && one["state"] == "active")
}

#[test]
fn what_is_owed_to_a_live_consumer_that_is_taken_out_of_the_list_goes_to_others() {
    let mut cluster = Cluster::new();
    cluster.producer("prod-1", "replicas = 2");
    for name in ["cons-1", "cons-2", "cons-3"] {
        cluster.consumer(name, "");
    }
    let link = cluster.proxy("cons-1");
    // Nothing but the list takes anything away from it.
    cluster.membership("replace_after = \"never\"");
    cluster.start();
    // So slow that nothing is whole before it is taken out.
    until("they have met", SOON, || {
        cluster.member("prod-1", "cons-1")["connected"] == true
    });
    link.slow_down(20_000);
    send(&cluster, "owed", 400_000);
    let inbox = cluster.node("cons-1").inbox();
    until("it has begun to receive", SOON, || {
        !left_in_staging(&inbox).is_empty()
    });
    assert!(cluster.count("prod-1", "done") < FILES as u64);
    relist(&mut cluster, "cons-1", false);
    until("it is no member", SOON, || !knows(&cluster, "cons-1"));
    cluster.wait_until_done("prod-1", FILES as u64, SOON);
    send(&cluster, "new", 1_000);
    cluster.wait_until_done("prod-1", 2 * FILES as u64, SOON);
    for name in ["cons-2", "cons-3"] {
        until("who is left has everything", SOON, || {
            names_at(&cluster, name).len() == 2 * FILES
        });
    }
    assert_eq!(names_at(&cluster, "cons-1"), BTreeSet::new());
    assert_eq!(cluster.status("cons-1")["ready"], true, "its agent runs");
    // It is a member again as soon as a person says so, and nothing of before is left of it.
    link.slow_down(0);
    relist(&mut cluster, "cons-1", true);
    until("it is a member again", SOON, || knows(&cluster, "cons-1"));
    until("staging is empty", SOON, || {
        left_in_staging(&inbox).is_empty()
    });
    until("it is connected", SOON, || {
        cluster.member("prod-1", "cons-1")["connected"] == true
    });
    send(&cluster, "later", 1_000);
    cluster.wait_until_done("prod-1", 3 * FILES as u64, SOON);
    until("it has its share", SOON, || {
        !names_at(&cluster, "cons-1").is_empty()
    });
    let is_later = |name: &String| name.starts_with("later");
    assert!(names_at(&cluster, "cons-1").iter().all(is_later));
}
