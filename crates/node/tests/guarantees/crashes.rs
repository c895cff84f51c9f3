//! SIGKILL at bad moments: nothing is lost, nothing appears twice, and little is sent again.

use std::fs;
use std::time::{Duration, Instant};

use crate::cluster::{Cluster, Proxy, SOON, files_in, left_in_staging, random_bytes, until};

/// Long enough that the bound on what is sent again means something.
const LARGE_BYTES: usize = 300 << 20;
/// What may be sent again after a crash: the distance of synced watermarks, one window of credit,
/// and what sockets and frame headers add.
const AGAIN_BYTES_MAX: u64 = (64 + 8 + 8) << 20;
/// Slow enough that a kill hits the middle.
const LINK_BYTES_PER_SECOND: u64 = 120 << 20;
const LARGE_DEADLINE: Duration = Duration::from_secs(60);

/// A producer, a consumer, a slow link between them, and a large file under way.
fn with_large_file_under_way() -> (Cluster, Proxy) {
    let mut cluster = Cluster::new();
    cluster.producer("prod-1", "");
    cluster.consumer("cons-1", "");
    let link = cluster.proxy("cons-1");
    link.slow_down(LINK_BYTES_PER_SECOND);
    cluster.start();
    let path = cluster.write("large.bin", &random_bytes(7, LARGE_BYTES));
    let args = ["send", path.to_str().unwrap(), "--feed", "files"];
    cluster.ask("prod-1", &args).good();
    until("60 % are sent", LARGE_DEADLINE, || {
        link.sent() > LARGE_BYTES as u64 * 6 / 10
    });
    (cluster, link)
}

#[track_caller]
fn arrives_with_little_sent_again(cluster: &Cluster, link: &Proxy) {
    cluster.wait_until_done("prod-1", 1, LARGE_DEADLINE);
    let again = link.sent().saturating_sub(LARGE_BYTES as u64);
    assert!(
        again <= AGAIN_BYTES_MAX,
        "{} MiB were sent again",
        again >> 20
    );
    let inbox = cluster.node("cons-1").inbox();
    until("it is there", SOON, || inbox.join("large.bin").exists());
    let there = fs::read(inbox.join("large.bin")).unwrap();
    assert!(there == random_bytes(7, LARGE_BYTES), "other bytes arrived");
    assert_eq!(files_in(&inbox).len(), 1);
    until("staging is empty", SOON, || {
        left_in_staging(&inbox).is_empty()
    });
}

#[test]
fn killed_consumer_resumes_from_its_watermark() {
    let (mut cluster, link) = with_large_file_under_way();
    cluster.kill("cons-1");
    cluster.start_one("cons-1");
    arrives_with_little_sent_again(&cluster, &link);
    let transfer = &cluster.transfers("prod-1", &[])[0];
    let show = ["show", transfer["id"].as_str().unwrap(), "--json"];
    let told = cluster.ask("prod-1", &show).good().out;
    assert!(
        told.contains("from byte"),
        "the timeline tells from where: {told}"
    );
}

#[test]
fn killed_producer_resumes_from_the_consumers_watermark() {
    let (mut cluster, link) = with_large_file_under_way();
    cluster.kill("prod-1");
    cluster.start_one("prod-1");
    arrives_with_little_sent_again(&cluster, &link);
}

#[test]
fn broken_link_resumes_from_what_the_consumer_holds() {
    let (cluster, link) = with_large_file_under_way();
    link.cut();
    until("the producer has noticed", SOON, || {
        cluster.member("prod-1", "cons-1")["connected"] == false
    });
    link.mend();
    arrives_with_little_sent_again(&cluster, &link);
}

#[test]
fn both_sides_killed_at_once_resume() {
    let (mut cluster, link) = with_large_file_under_way();
    cluster.kill("prod-1");
    cluster.kill("cons-1");
    cluster.start_one("cons-1");
    cluster.start_one("prod-1");
    arrives_with_little_sent_again(&cluster, &link);
}

#[test]
fn consumer_of_a_chain_that_dies_holds_up_no_other() {
    let mut cluster = Cluster::new();
    cluster.producer("prod-1", "replicas = 2");
    cluster.consumer("cons-1", "");
    cluster.consumer("cons-2", "");
    let links = [cluster.proxy("cons-1"), cluster.proxy("cons-2")];
    // Both get about half of it, one a window behind the other, and nobody is through before the kill.
    links.iter().for_each(|link| link.hold_at(60 << 20));
    cluster.start();
    // Whoever is not there yet when the file is sent is left out of the chain.
    until("both are connected", SOON, || {
        let nodes = cluster.ask("prod-1", &["nodes", "--json"]).good().objects();
        let connected = |node: &&serde_json::Value| node["connected"] == true;
        nodes.iter().filter(connected).count() == 2
    });
    let bytes = random_bytes(8, 100 << 20);
    let path = cluster.write("large.bin", &bytes);
    let args = ["send", path.to_str().unwrap(), "--feed", "files"];
    cluster.ask("prod-1", &args).good();
    until("about half is sent to both", LARGE_DEADLINE, || {
        links.iter().all(|link| link.sent() >= 40 << 20)
    });
    cluster.kill("cons-1");
    links.iter().for_each(Proxy::go_on);
    let survivor = cluster.node("cons-2").inbox().join("large.bin");
    until("the survivor has it", LARGE_DEADLINE, || survivor.exists());
    assert_eq!(
        cluster.count("prod-1", "done"),
        0,
        "one consumer is still owed"
    );
    cluster.start_one("cons-1");
    cluster.wait_until_done("prod-1", 1, LARGE_DEADLINE);
    for name in ["cons-1", "cons-2"] {
        let path = cluster.node(name).inbox().join("large.bin");
        until("it is there", SOON, || path.exists());
        assert!(fs::read(path).unwrap() == bytes, "{name} has other bytes");
    }
}

#[test]
fn submitted_files_survive_the_producers_death() {
    let mut cluster = Cluster::new();
    cluster.producer("prod-1", "");
    cluster.consumer("cons-1", "");
    cluster.configure();
    cluster.start_one("prod-1");
    for at in 0..500 {
        cluster.write(&format!("{at:03}"), &random_bytes(at, 2_000));
    }
    cluster.write("large", &random_bytes(500, 5 << 20));
    let own = cluster.dir().join("own");
    let args = ["send", own.to_str().unwrap(), "--feed", "files"];
    let said = cluster.ask("prod-1", &args).good();
    cluster.kill("prod-1");
    assert_eq!(said.out.lines().count(), 501, "one id a line");
    // Small files travel in the log, so not even their sources are needed any more.
    for at in 0..500 {
        fs::remove_file(own.join(format!("{at:03}"))).unwrap();
    }
    cluster.start_one("cons-1");
    cluster.start_one("prod-1");
    cluster.wait_until_done("prod-1", 501, LARGE_DEADLINE);
    let inbox = cluster.node("cons-1").inbox();
    until("all are there", SOON, || files_in(&inbox).len() == 501);
    for at in 0..500 {
        let there = fs::read(inbox.join(format!("{at:03}"))).unwrap();
        assert_eq!(there, random_bytes(at, 2_000));
    }
}

#[test]
fn what_the_application_took_away_never_comes_back() {
    let mut cluster = Cluster::new();
    cluster.producer("prod-1", "");
    cluster.consumer("cons-1", "");
    cluster.start();
    let inbox = cluster.node("cons-1").inbox();
    let own = cluster.dir().join("own");
    let mut taken = std::collections::BTreeMap::new();
    let take = |taken: &mut std::collections::BTreeMap<String, Vec<u8>>| {
        for (name, path) in files_in(&inbox) {
            let bytes = fs::read(&path).unwrap();
            fs::remove_file(&path).unwrap();
            let before = taken.insert(name.clone(), bytes);
            assert!(before.is_none(), "{name} appeared twice");
        }
    };
    let deadline = Instant::now() + Duration::from_secs(8);
    let mut sent = 0;
    let mut round = 0_u64;
    while Instant::now() < deadline {
        let _ = fs::remove_dir_all(&own);
        for at in 0..200 {
            cluster.write(&format!("{round}-{at}"), &random_bytes(at, 3_000));
        }
        cluster.write(&format!("{round}-large"), &random_bytes(round, 1 << 20));
        let args = ["send", own.to_str().unwrap(), "--feed", "files"];
        cluster.ask("prod-1", &args).good();
        sent += 201;
        take(&mut taken);
        let victim = ["cons-1", "prod-1"][(round % 2) as usize];
        cluster.kill(victim);
        take(&mut taken);
        cluster.start_one(victim);
        take(&mut taken);
        round += 1;
    }
    until("all were taken", LARGE_DEADLINE, || {
        take(&mut taken);
        taken.len() as u64 == sent
    });
    cluster.wait_until_done("prod-1", sent, SOON);
    println!("{round} kills");
    assert!(round >= 3, "there were only {round} rounds");
    // Once more, when nothing is under way.
    cluster.kill("cons-1");
    cluster.start_one("cons-1");
    // By the time that this one is there, everything that would come back has.
    fs::remove_dir_all(&own).unwrap();
    cluster.write("last", b"last");
    let args = ["send", own.to_str().unwrap(), "--feed", "files"];
    cluster.ask("prod-1", &args).good();
    cluster.wait_until_done("prod-1", sent + 1, SOON);
    until("it is there", SOON, || inbox.join("last").exists());
    take(&mut taken);
    assert_eq!(taken.len() as u64, sent + 1);
}

#[test]
fn memory_stays_bounded_while_much_flows() {
    let mut cluster = Cluster::new();
    cluster.producer("prod-1", "");
    cluster.consumer("cons-1", "");
    cluster.start();
    for at in 0..3_000 {
        cluster.write(&format!("small/{at}"), &random_bytes(at, 10_000));
    }
    cluster.write("large", &random_bytes(1, LARGE_BYTES));
    let own = cluster.dir().join("own");
    let args = ["send", own.to_str().unwrap(), "--feed", "files"];
    cluster.ask("prod-1", &args).good();
    cluster.wait_until_done("prod-1", 3_001, LARGE_DEADLINE);
    for name in ["prod-1", "cons-1"] {
        let peak = cluster.node(name).memory_peak();
        assert!(peak < 128 << 20, "{name} used {} MiB", peak >> 20);
    }
}
