//! A long queue and many strangers, scaled down to what a test may take; `benches/scale.py` has the
//! same at full size.

use std::fs;
use std::io::Write as _;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::cluster::{Cluster, SOON, files_in, random_bytes, until};

const QUEUED: u64 = 10_000;
const DRAINED_WITHIN: Duration = Duration::from_secs(60);
/// A node has room for some hundreds of these in the descriptors that every system gives.
const STRANGERS: usize = 800;

fn send_directory(cluster: &Cluster, files: u64) {
    for number in 0..files {
        cluster.write(&format!("many/{number:05}"), format!("{number}").as_bytes());
    }
    let many = cluster.dir().join("own/many");
    let args = ["send", many.to_str().unwrap(), "--feed", "files"];
    cluster.ask("prod-1", &args).good();
}

#[test]
fn a_long_queue_survives_a_kill_a_lost_catalogue_and_drains() {
    let mut cluster = Cluster::new();
    cluster.producer("prod-1", "");
    cluster.consumer("cons-1", "");
    cluster.configure();
    cluster.start_one("prod-1");
    send_directory(&cluster, QUEUED);
    cluster.kill("prod-1");
    let data_dir = cluster.node("prod-1").data_dir();
    fs::remove_file(data_dir.join("catalogue.db")).unwrap();
    let began = Instant::now();
    cluster.start_one("prod-1");
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
    let queued = &cluster.status("prod-1")["produces"][0]["queued_files"];
    assert_eq!(queued.as_u64(), Some(QUEUED));
    // It is filled from the log beside the work, and loses nothing.
    until("the catalogue is filled", SOON, || {
        cluster.count("prod-1", "submitted") == QUEUED
    });
    assert_eq!(cluster.transfers("prod-1", &[]).len() as u64, QUEUED);
    assert_eq!(
        cluster.transfers("prod-1", &["--limit", "10"])[..],
        cluster.transfers("prod-1", &[])[QUEUED as usize - 10..],
        "the newest are those that came last"
    );
    cluster.start_one("cons-1");
    cluster.wait_until_done("prod-1", QUEUED, DRAINED_WITHIN);
    let inbox = cluster.node("cons-1").inbox();
    until("all are there", SOON, || {
        files_in(&inbox).len() as u64 == QUEUED
    });
}

#[test]
fn strangers_on_the_peer_port_keep_nobody_out_and_cost_little() {
    let mut cluster = Cluster::new();
    cluster.producer("prod-1", "");
    cluster.consumer("cons-1", "");
    cluster.configure();
    cluster.start_one("cons-1");
    let before = cluster.node("cons-1").memory_peak();
    let port = cluster.node("cons-1").port();
    let connect = || {
        let mut stranger = TcpStream::connect(("127.0.0.1", port)).unwrap();
        // Some say something, and that is no hello yet. Who was sent away is a stranger no more.
        let _ = stranger.write_all(&[0]);
        stranger
    };
    let silent = || TcpStream::connect(("127.0.0.1", port)).unwrap();
    let strangers: Vec<_> = (0..STRANGERS)
        .map(|number| {
            if number % 10 == 0 {
                connect()
            } else {
                silent()
            }
        })
        .collect();
    cluster.start_one("prod-1");
    let large = random_bytes(3, 20 << 20);
    let path = cluster.write("large.bin", &large);
    let args = ["send", path.to_str().unwrap(), "--feed", "files", "--wait"];
    cluster.ask("prod-1", &args).good();
    send_directory(&cluster, 200);
    cluster.wait_until_done("prod-1", 201, SOON);
    let grown = cluster.node("cons-1").memory_peak() - before;
    assert!(
        grown < 150 << 20,
        "it took {} MiB more with strangers",
        grown >> 20
    );
    drop(strangers);
}
