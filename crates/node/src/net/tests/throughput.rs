//! How fast bytes move. Run with
//! `cargo test --release -p consign net::tests::throughput -- --ignored --nocapture`.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use consign_core::consumer::Event;
use consign_core::ids::{Attempt, Digest, Sequence, Slot, TransferKey};
use consign_core::log::Position;
use consign_core::producer::SmallSend;
use consign_core::spec::FileSpec;
use consign_core::wire::Hop;

use super::support::{Node, START, inflow, stream, target};

const SIZE: u64 = 1 << 30;
const ROUNDS: u32 = 3;

fn megabytes_per_second(bytes: u64, began: Instant) -> f64 {
    bytes as f64 / 1e6 / began.elapsed().as_secs_f64()
}

/// Processor time that this process has used, in seconds: what can be compared between machines
/// that have other things to do.
fn processor_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields = stat.rsplit(')').next().unwrap().split_whitespace();
    let ticks: u64 = fields
        .skip(11)
        .take(2)
        .map(|f| f.parse::<u64>().unwrap())
        .sum();
    ticks as f64 / 100.0
}

/// The most memory that this process had at any time, in MiB.
fn peak_memory_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM"));
    let kib = line.and_then(|line| line.split_whitespace().nth(1));
    kib.unwrap().parse::<u64>().unwrap() / 1024
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn one_large_file_to_one_and_along_a_chain() {
    let cam = Node::start("cam").await;
    let (mut a, mut b) = (Node::start("a").await, Node::start("b").await);
    let digest = cam.spool(SIZE);
    for round in 1..=2 * ROUNDS {
        for node in [&mut a, &mut b] {
            let path = node.dir.path().join("inbox/.consign/staged");
            let _ = std::fs::remove_file(path);
            node.net.close_inflow(&super::support::slot());
            // A file that is opened again keeps what it had: wait until it is let go.
            while node.ready(inflow(round, SIZE)).await > 0 {
                node.net.close_inflow(&super::support::slot());
            }
        }
        let chain = round > ROUNDS;
        if chain {
            a.forward(&b, round, 0);
        }
        cam.net.forget_stream(super::support::key());
        let (began, used) = (Instant::now(), processor_seconds());
        cam.net
            .stream(stream(round, SIZE, target(&a.name, &a.addr, round, 0)));
        assert_eq!(a.complete().await, digest);
        let first = megabytes_per_second(SIZE, began);
        if chain {
            assert_eq!(b.complete().await, digest);
        }
        let all = megabytes_per_second(SIZE, began);
        let hops = if chain { 2 } else { 1 };
        println!(
            "{hops} hop(s): first {first:.0} MB/s, all {all:.0} MB/s; {:.2} s of processor, peak \
             memory of all nodes {} MiB",
            processor_seconds() - used,
            peak_memory_mib()
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn ten_thousand_small_files() {
    const COUNT: u32 = 10_000;
    const BYTES: u64 = 10_000;
    let cam = Node::start("cam").await;
    let mut a = Node::start("a").await;
    let bytes = Bytes::from(vec![7; BYTES as usize]);
    let digest = Digest(*blake3::hash(&bytes).as_bytes());
    let files: Vec<_> = (0..COUNT)
        .map(|number| SmallSend {
            key: TransferKey {
                start: START,
                seq: Sequence(number.into()),
            },
            attempt: Attempt(1),
            slots: vec![(START, Slot(number.into()))],
            submitted: Position::default(),
            spec: FileSpec {
                feed: "images".into(),
                name: format!("image-{number}.jpg"),
                size: BYTES,
                ..FileSpec::default()
            },
            digest,
        })
        .collect();
    for _ in 0..2 * ROUNDS {
        let bytes = bytes.clone();
        let route = vec![Hop {
            node: a.name.to_string(),
            addr: a.addr.clone(),
        }];
        let (began, used) = (Instant::now(), processor_seconds());
        cam.net.send_smalls(
            route,
            files.clone(),
            Arc::new(move |_: Position| Ok(bytes.clone())),
        );
        let mut arrived = 0;
        a.heard(|event| match event {
            Event::Smalls { files, .. } => {
                arrived += files.len();
                (arrived == COUNT as usize).then_some(())
            }
            _ => None,
        })
        .await;
        println!(
            "{COUNT} x {BYTES} bytes: {:.1} ms, {:.0} MB/s; {:.2} s of processor, peak memory of \
             both nodes {} MiB",
            began.elapsed().as_secs_f64() * 1e3,
            megabytes_per_second(u64::from(COUNT) * BYTES, began),
            processor_seconds() - used,
            peak_memory_mib()
        );
    }
}
