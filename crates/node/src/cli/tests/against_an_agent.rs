//! Commands over a real Unix socket, with a driver that answers by rote.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use clap::Parser as _;
use consign_core::ids::TransferId;
use consign_core::ranges::SlotRange;
use consign_core::record::{Record, Transfers};
use tokio::sync::watch;

use super::super::client::Client;
use super::super::command::{Cli, Command};
use super::super::exit::{Exit, Failure};
use super::super::hearing::Hearing;
use super::super::paint::Paint;
use super::super::session::Session;
use super::super::wait::{Outcome, Wanted};
use super::super::{
    act, address::Address, explain, feeds, nodes, send, show, status, transfers, wait,
};
use crate::api::model::Transfer;
use crate::api::tests::bench::{Bench, START, id};
use crate::api::{Listen, serve, socket_path};

struct Agent {
    bench: Bench,
    client: Client,
    _stop: watch::Sender<bool>,
}

impl Agent {
    async fn new() -> Self {
        let bench = Bench::with_transfers().await;
        let (stop, stopped) = watch::channel(false);
        let listen = Listen {
            data_dir: bench.dir.path().to_owned(),
            ..Listen::default()
        };
        serve(bench.api.clone(), &listen, stopped).await.unwrap();
        let address = Address::Unix(socket_path(bench.dir.path()));
        Self {
            bench,
            client: Client::new(address, None),
            _stop: stop,
        }
    }

    async fn run(&self, line: &str) -> Result<(), Failure> {
        self.printed(line).await.0
    }

    /// Runs a command, and returns what it printed too.
    async fn printed(&self, line: &str) -> (Result<(), Failure>, String) {
        let words = std::iter::once("consign").chain(line.split(' '));
        let printed = Printed::default();
        let client = &mut printed.session(&self.client);
        let result = match Cli::try_parse_from(words).unwrap().command {
            Command::Send(args) => send::run(client, args).await,
            Command::Status(output) => status::run(client, output).await,
            Command::Nodes(output) => nodes::run(client, output).await,
            Command::Feeds(output) => feeds::run(client, output).await,
            Command::Transfers(args) => transfers::run(client, args).await,
            Command::Show(args) => show::run(client, args).await,
            Command::Explain(args) => explain::run(client, args).await,
            Command::Retry(args) => act::retry(client, args).await,
            Command::Cancel(args) => act::cancel(client, args).await,
            Command::Forget(args) => act::forget(client, args).await,
            other => panic!("{other:?} asks no agent"),
        };
        (result, printed.text())
    }

    fn file(&self, name: &str) -> PathBuf {
        let path = self.bench.dir.path().join("files").join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, "content").unwrap();
        path
    }
}

/// A stdout to look at.
#[derive(Clone, Default)]
struct Printed(Arc<Mutex<Vec<u8>>>);

impl Printed {
    fn session(&self, client: &Client) -> Session {
        Session {
            client: client.clone(),
            out: Box::new(self.clone()),
            paint: Paint::plain(),
        }
    }

    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl std::io::Write for Printed {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn exit_of(result: Result<(), Failure>) -> Option<Exit> {
    result.err().and_then(|failure| failure.exit)
}

#[tokio::test]
async fn every_question_has_an_answer_for_people_and_for_scripts() {
    let agent = Agent::new().await;
    let show = format!("show {}", id(1));
    for question in [
        "status",
        "nodes",
        "feeds",
        "transfers",
        "transfers --state done --feed images --to store-1",
        &show,
        "explain --feed images --key a",
    ] {
        let (result, page) = agent.printed(question).await;
        result.unwrap();
        assert!(page.ends_with('\n') && !page.contains('\u{1b}'), "{page}");
        let (result, lines) = agent.printed(&format!("{question} --json")).await;
        result.unwrap();
        assert!(!lines.is_empty());
        for line in lines.lines() {
            let object: serde_json::Value = serde_json::from_str(line).unwrap();
            assert!(object.is_object(), "{line}");
        }
    }
    let missing = agent.run(&format!("show {}", id(77))).await;
    assert_eq!(exit_of(missing), Some(Exit::Failed));
    let nonsense = agent.run("show nonsense").await;
    assert_eq!(exit_of(nonsense), Some(Exit::Usage));
}

#[tokio::test]
async fn the_newest_are_listed_and_the_newest_of_them_last() {
    let agent = Agent::new().await;
    let (result, all) = agent.printed("transfers --json").await;
    result.unwrap();
    let all: Vec<&str> = all.lines().collect();
    let produced: Vec<&str> = all
        .iter()
        .copied()
        .filter(|line| !line.contains("\"producer\""))
        .collect();
    assert!(produced.len() > 2, "{all:?}");
    let (result, newest) = agent.printed("transfers --json --limit 2").await;
    result.unwrap();
    let newest: Vec<&str> = newest.lines().collect();
    assert_eq!(newest[..2], produced[produced.len() - 2..]);
    let (result, none_left_out) = agent.printed("transfers --json --limit 0").await;
    result.unwrap();
    assert_eq!(none_left_out.lines().collect::<Vec<_>>(), all);
}

#[tokio::test]
async fn changes_are_made_and_refusals_end_with_one() {
    let agent = Agent::new().await;
    agent.run(&format!("retry {}", id(1))).await.unwrap();
    agent.run("retry --failed").await.unwrap();
    agent
        .run(&format!("cancel {} {}", id(1), id(2)))
        .await
        .unwrap();
    agent.run("forget store-1").await.unwrap();
    let some_refused = agent.run(&format!("retry {} {}", id(9), id(1))).await;
    assert_eq!(exit_of(some_refused), Some(Exit::Failed));
    let unknown = agent.run("forget store-9").await;
    assert_eq!(exit_of(unknown), Some(Exit::Failed));
}

#[tokio::test]
async fn files_and_directories_are_sent() {
    let agent = Agent::new().await;
    let one = agent.file("good-1.jpg");
    let line = format!("send {} --feed images --key k --meta a=b", one.display());
    agent.run(&line).await.unwrap();
    // More than one batch, and one file that is refused.
    for number in 0..1_200 {
        agent.file(&format!("dir/good-{number}"));
    }
    let dir = one.parent().unwrap().join("dir");
    let line = format!("send {} --feed images", dir.display());
    let (result, ids) = agent.printed(&line).await;
    result.unwrap();
    assert_eq!(ids.lines().count(), 1_200, "one id a line");
    assert!(ids.lines().all(|id| id.parse::<TransferId>().is_ok()));
    agent.file("dir/unwanted");
    let line = format!("send {} --feed images --json", dir.display());
    let (result, lines) = agent.printed(&line).await;
    assert_eq!(exit_of(result), Some(Exit::Failed));
    let sent = lines.lines().map(serde_json::from_str::<Transfer>);
    assert_eq!(sent.map(Result::unwrap).count(), 1_200);
    let line = format!("send {} --feed images --name x", dir.display());
    assert_eq!(exit_of(agent.run(&line).await), Some(Exit::Usage));
    let line = format!("send {} --feed images --wait=processed", one.display());
    assert_eq!(exit_of(agent.run(&line).await), Some(Exit::Usage));
}

#[tokio::test]
async fn waiting_in_vain_ends_with_four() {
    let agent = Agent::new().await;
    let one = agent.file("good-1.jpg");
    let line = format!(
        "send {} --feed images --wait --timeout 100ms",
        one.display()
    );
    let ended = tokio::time::timeout(Duration::from_secs(20), agent.run(&line)).await;
    assert_eq!(exit_of(ended.unwrap()), Some(Exit::TimedOut));
}

/// Waits for these, each of 100 bytes.
async fn waited(agent: &Agent, ids: &[TransferId], json: bool) -> (Outcome, String) {
    let printed = Printed::default();
    let mut session = printed.session(&agent.client);
    let mut hearing = Hearing::begin(&agent.client).await;
    let sizes = ids.iter().map(|id| (id.to_string(), 100)).collect();
    let wanted = Wanted {
        json,
        ..Wanted::default()
    };
    let outcome = wait::for_all(&mut session, &mut hearing, sizes, wanted).await;
    (outcome.unwrap(), printed.text())
}

#[tokio::test]
async fn waiting_ends_when_all_have_ended() {
    let agent = Agent::new().await;
    let (outcome, printed) = waited(&agent, &[id(1)], true).await;
    outcome.report(Duration::ZERO).unwrap();
    let ended: Transfer = serde_json::from_str(&printed).unwrap();
    assert_eq!(ended.id, id(1).to_string());
    let path = format!("/transfers?ids={}", id(1));
    let listed: Vec<Transfer> = agent.client.all(&path).await.unwrap();
    assert_eq!(listed[0].state, "done");
}

/// The catalogue of this agent never knows: what is heard is enough.
#[tokio::test]
async fn who_waits_hears_of_an_end_and_need_not_look() {
    let agent = Agent::new().await;
    let done = Record::Done(Transfers {
        start: START,
        seqs: vec![SlotRange { from: 2, to: 4 }],
        ..Transfers::default()
    });
    let ids = [id(1), id(2), id(3)];
    let waiting = waited(&agent, &ids, false);
    let telling = async {
        // Again and again, since nobody says when it listens.
        loop {
            tokio::time::sleep(Duration::from_millis(10)).await;
            agent.bench.tell(&done);
        }
    };
    let (outcome, _) = tokio::select! {
        waited = waiting => waited,
        () = telling => unreachable!("it goes on for ever"),
    };
    outcome.report(Duration::ZERO).unwrap();
    assert_eq!(outcome.done(), 3);
}

/// What was done before anything could be heard may be too fresh for the catalogue at the first look.
#[tokio::test]
async fn what_was_not_heard_is_found_by_a_later_look() {
    let agent = Agent::new().await;
    let ids = [id(3)];
    let waiting = waited(&agent, &ids, false);
    let later = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let done = Record::Done(Transfers {
            start: START,
            seqs: vec![SlotRange { from: 3, to: 4 }],
            ..Transfers::default()
        });
        agent.bench.apply_at(500, done).await;
    };
    let ((outcome, _), ()) = tokio::join!(waiting, later);
    outcome.report(Duration::ZERO).unwrap();
}

/// `cargo test -p consign -- --ignored --nocapture a_long_listing`
#[tokio::test]
#[ignore = "a measurement: it takes a minute"]
async fn a_long_listing_streams_in_bounded_memory() {
    const FILES: u64 = 500_000;
    let agent = Agent::new().await;
    let mut position = 1_000;
    for first in (1_000..1_000 + FILES).step_by(1_000) {
        let batch = (first..first + 1_000).map(|seq| {
            position += 1;
            let record = crate::api::tests::bench::submitted(seq);
            crate::catalogue::Applied { position, record }
        });
        let batch = batch.collect();
        agent.bench.catalogue.feed.send(batch).await.unwrap();
    }
    let last = id(1_000 + FILES - 1);
    while agent
        .bench
        .api
        .reader
        .transfer(last.clone())
        .await
        .unwrap()
        .is_none()
    {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let peak_kib = || {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status
            .lines()
            .find(|line| line.starts_with("VmHWM"))
            .unwrap();
        let number = line.split_whitespace().nth(1).unwrap();
        number.parse::<u64>().unwrap()
    };
    // Forgets the peak that filling the catalogue had.
    std::fs::write("/proc/self/clear_refs", "5").unwrap();
    let before = peak_kib();
    let began = std::time::Instant::now();
    let mut lines = agent.client.list("/transfers").await.unwrap();
    let mut seen = 0;
    while lines.next().await.unwrap().is_some() {
        seen += 1;
    }
    let grown = peak_kib() - before;
    println!(
        "{seen} lines in {:?}, peak memory grew by {grown} KiB",
        began.elapsed()
    );
    assert_eq!(seen, FILES + 3);
    assert!(grown < 32 << 10, "{grown} KiB is not bounded");
}
