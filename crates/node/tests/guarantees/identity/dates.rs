//! Clocks that are wrong: between nodes no date counts, whoever tells of the members.

use crate::cluster::{Cluster, Etcd, SOON, until};

use super::{deliver, secured};

fn deliver_when_all_are_known(cluster: &Cluster, round: u64) {
    for by in ["prod-1", "cons-1", "cons-2"] {
        until(&format!("{by} knows all"), SOON, || {
            let nodes = cluster.ask(by, &["nodes", "--json"]).good().objects();
            nodes.len() == 3 && nodes.iter().all(|one| one["heard"] != false)
        });
    }
    deliver(cluster, round);
}

/// The producer's clock is ten years ahead, and one consumer's ten years back.
fn at_other_times(mut cluster: Cluster) {
    if !cluster.at_another_time("prod-1", "+10y") || !cluster.at_another_time("cons-1", "-10y") {
        return;
    }
    cluster.start();
    let log = cluster.node("prod-1").log();
    assert!(log.starts_with("203"), "the clock is not ahead: {log}");
    let log = cluster.node("cons-1").log();
    assert!(log.starts_with("201"), "the clock is not back: {log}");
    deliver_when_all_are_known(&cluster, 1);
    // Whoever comes back with such a date is known again, in its next life.
    for node in ["prod-1", "cons-1"] {
        cluster.kill(node);
        cluster.start_one(node);
    }
    deliver(&cluster, 2);
}

#[test]
fn a_clock_ten_years_ahead_or_back_changes_nothing() {
    let (cluster, _authority) = secured();
    at_other_times(cluster);
}

#[test]
fn a_clock_ten_years_ahead_or_back_changes_nothing_by_gossip() {
    let (mut cluster, _authority) = secured();
    let seed = format!("127.0.0.1:{}", cluster.node("cons-2").port());
    cluster.learns_by(&format!("kind = \"gossip\"\nseeds = [{seed:?}]"));
    at_other_times(cluster);
}

/// Without TLS to etcd itself, where dates count: see below.
#[test]
fn a_clock_ten_years_ahead_or_back_changes_nothing_by_etcd() {
    let test = "a_clock_ten_years_ahead_or_back_changes_nothing_by_etcd";
    let Some(etcd) = Etcd::start(test) else {
        return;
    };
    let (mut cluster, _authority) = secured();
    cluster.learns_by(&etcd.membership());
    at_other_times(cluster);
}

/// The one place where a date counts. It is told, and costs no file between those who know each other.
#[test]
fn a_date_beyond_the_certificates_of_etcd_makes_etcd_away_and_nothing_else() {
    let test = "a_date_beyond_the_certificates_of_etcd_makes_etcd_away_and_nothing_else";
    let Some(etcd) = Etcd::start_with_tls(test, 365) else {
        return;
    };
    let (mut cluster, _authority) = secured();
    cluster.learns_by(&etcd.membership());
    cluster.start();
    deliver_when_all_are_known(&cluster, 1);
    cluster.stop("prod-1");
    if !cluster.at_another_time("prod-1", "+10y") {
        return;
    }
    cluster.start_one("prod-1");
    until("status says why", SOON, || {
        let status = cluster.status("prod-1");
        let problems = status["problems"].to_string();
        status["membership"]["reachable"] == false && problems.contains("expired")
    });
    deliver(&cluster, 2);
}
