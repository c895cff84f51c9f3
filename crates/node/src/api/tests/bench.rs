//! A driver that answers by rote, a catalogue with a few transfers, and a client without a socket.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode};
use consign_core::ids::{NodeName, Sequence, Start, TransferId, TransferKey};
use consign_core::ranges::SlotRange;
use consign_core::record::{LegRecord, LegRung, LegsSettled, Placed, Record, Submitted, Transfers};
use consign_core::spec::FileSpec;
use http_body_util::BodyExt as _;
use serde_json::Value;
use tokio::sync::broadcast;
use tower::ServiceExt as _;

use crate::api::{Api, router};
use crate::audit::Door;
use crate::catalogue::{self, Applied, Catalogue, LogSpan};
use crate::driver::endings::Ended;
use crate::driver::handle::{
    Accepted, Candidate, Command, DriverEnd, Explanation, Failed, Outcome, channel,
};
use crate::driver::refusal::Refusal;
use crate::driver::snapshot::{
    ActiveConsumer, ActiveTransfer, LogState, Member, ProducedFeed, Snapshot,
};
use crate::timestamp::Timestamp;

pub(crate) const NODE: &str = "cam-7";
pub(crate) const START: u64 = 0xc0ff_ee00_0000_0001;

pub(crate) fn id(seq: u64) -> TransferId {
    TransferId {
        producer: NodeName::new(NODE).unwrap(),
        key: TransferKey {
            start: Start(START),
            seq: Sequence(seq),
        },
    }
}

pub(crate) struct Bench {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) api: Api,
    pub(crate) catalogue: Catalogue,
    /// Where the driver tells what ends.
    pub(crate) endings: broadcast::Sender<Arc<Ended>>,
}

pub(crate) fn snapshot() -> Snapshot {
    Snapshot {
        node: NODE.to_owned(),
        version: "0.1.0".to_owned(),
        incarnation: 3,
        start: format!("{START:016x}"),
        started_at: Timestamp(1_700_000_000_000),
        ready: true,
        log: LogState {
            has_room: true,
            ..LogState::default()
        },
        members: vec![Member {
            name: "store-1".to_owned(),
            addr: "10.0.0.5:7420".to_owned(),
            state: "active".to_owned(),
            weight: 100,
            connected: true,
            owed_files: 2,
            ..Member::default()
        }],
        produces: vec![ProducedFeed {
            feed: "images".to_owned(),
            replicas: "2".to_owned(),
            queued_files: 2,
            done_total: 7,
            ..ProducedFeed::default()
        }],
        active: vec![ActiveTransfer {
            id: id(2).to_string(),
            attempt: 4,
            consumers: vec![ActiveConsumer {
                node: "store-1".to_owned(),
                state: "receiving".to_owned(),
                bytes: 77,
            }],
            ..ActiveTransfer::default()
        }],
        ..Snapshot::default()
    }
}

impl Bench {
    pub(crate) fn new() -> Self {
        let (handle, driver) = channel(snapshot());
        let endings = driver.endings.clone();
        tokio::spawn(answer(driver));
        let dir = tempfile::tempdir().unwrap();
        let all = LogSpan {
            first: 0,
            end: u64::MAX,
        };
        let node = NodeName::new(NODE).unwrap();
        let catalogue = catalogue::open(dir.path(), &node, all, None);
        let api = Api {
            handle,
            reader: catalogue.reader.clone(),
            receipts: crate::receipts::Reader::default(),
            audits: Door::default(),
        };
        Self {
            dir,
            api,
            catalogue,
            endings,
        }
    }

    /// Transfers 1 (done), 2 (placed on store-1 and store-2) and 3 (submitted).
    pub(crate) async fn with_transfers() -> Self {
        let bench = Self::new();
        let mut records: Vec<Record> = (1..=3).map(submitted).collect();
        records.extend([placed(1), placed(2)]);
        records.push(Record::LegsSettled(LegsSettled {
            node: "store-1".to_owned(),
            start: START,
            slots: vec![SlotRange { from: 1, to: 2 }],
            rung: LegRung::Saved as i32,
            at: 3_000,
            ..LegsSettled::default()
        }));
        records.push(Record::Done(Transfers {
            start: START,
            seqs: vec![SlotRange { from: 1, to: 2 }],
            at: 3_100,
            ..Transfers::default()
        }));
        bench.apply(records).await;
        bench.settled().await;
        bench
    }

    /// Tells listeners what a record ends.
    pub(crate) fn tell(&self, record: &Record) {
        let ended = Ended::of(record).unwrap();
        self.endings.send(Arc::new(ended)).unwrap();
    }

    /// Feeds the catalogue.
    pub(crate) async fn apply(&self, records: Vec<Record>) {
        let batch = (1u64..).zip(records);
        let batch = batch.map(|(position, record)| Applied { position, record });
        self.catalogue.feed.send(batch.collect()).await.unwrap();
    }

    /// The same, of one record that follows those before.
    pub(crate) async fn apply_at(&self, position: u64, record: Record) {
        let applied = Applied { position, record };
        self.catalogue.feed.send(vec![applied]).await.unwrap();
    }

    /// Waits until the catalogue has committed the end of transfer 1.
    async fn settled(&self) {
        loop {
            let row = self.api.reader.transfer(id(1)).await.unwrap();
            if row.is_some_and(|row| row.ended_at.is_some()) {
                return;
            }
            tokio::task::yield_now().await;
        }
    }

    pub(crate) fn router(&self) -> Router {
        router(self.api.clone())
    }

    pub(crate) async fn get(&self, path: &str) -> (StatusCode, Value) {
        self.send(Request::get(path), Body::empty()).await
    }

    pub(crate) async fn post(&self, path: &str, body: &str) -> (StatusCode, Value) {
        self.send(Request::post(path), Body::from(body.to_owned()))
            .await
    }

    pub(crate) async fn send(
        &self,
        request: axum::http::request::Builder,
        body: Body,
    ) -> (StatusCode, Value) {
        let (status, text) = self.send_text(request, body).await;
        let json = serde_json::from_str(&text);
        (status, json.unwrap_or_else(|_| panic!("not JSON: {text}")))
    }

    pub(crate) async fn send_text(
        &self,
        request: axum::http::request::Builder,
        body: Body,
    ) -> (StatusCode, String) {
        let request = request.body(body).unwrap();
        let response = self.router().oneshot(request).await.unwrap();
        let status = response.status();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }
}

pub(crate) fn submitted(seq: u64) -> Record {
    Record::Submitted(Submitted {
        start: START,
        seq,
        spec: FileSpec {
            feed: "images".to_owned(),
            name: format!("f{seq}"),
            key: format!("f{seq}"),
            size: 100,
            submitted_at: 1_000 + seq,
            ..FileSpec::default()
        },
        ..Submitted::default()
    })
}

fn placed(seq: u64) -> Record {
    let leg = |node: &str| LegRecord {
        node: node.to_owned(),
        start: START,
        slot: seq,
        ..LegRecord::default()
    };
    Record::Placed(Placed {
        start: START,
        seq,
        attempt: 1,
        epoch: 7,
        legs: vec![leg("store-1"), leg("store-2")],
        at: 2_000,
        ..Placed::default()
    })
}

/// Accepts what has `good` in its path or name, and knows one failed transfer: 1.
async fn answer(mut driver: DriverEnd) {
    let mut seq = 100;
    while let Some(command) = driver.commands.recv().await {
        let mut take = |name: String, size: u64| {
            seq += 1;
            Accepted {
                id: id(seq),
                key: name.clone(),
                name,
                size,
                submitted_at: Timestamp(5_000),
            }
        };
        // Whoever asked may be gone: these replies are for nobody then.
        match command {
            Command::Submit { files, reply } => {
                let results = files.into_iter().map(|file| {
                    let path = file.path.to_string_lossy().into_owned();
                    match path.contains("good") {
                        true => Ok(take(file.name.unwrap_or(path), 10)),
                        false => Err(Refusal::FileMissing { path: file.path }),
                    }
                });
                let _ = reply.send(results.collect());
            }
            Command::SubmitBytes { file, reply } => {
                let key = file.key.unwrap_or(file.name.clone());
                let accepted = take(file.name, file.bytes.len() as u64);
                let _ = reply.send(Ok(Accepted { key, ..accepted }));
            }
            Command::Retry { which, reply } => {
                let _ = reply.send(retried(which));
            }
            Command::Cancel { ids, reply } => {
                let files = ids.len() as u64;
                let refused = Vec::new();
                let _ = reply.send(Outcome { files, refused });
            }
            Command::Drain { reply, .. } => drop(reply.send(Ok(()))),
            Command::ToReconcile { reply } => drop(reply.send(Ok(Default::default()))),
            Command::Reconcile { reply, .. } => drop(reply.send(Ok(0))),
            Command::Forget { node, reply } => {
                let _ = reply.send(match node.as_str() {
                    "store-1" => Ok(()),
                    _ => Err(Refusal::UnknownNode { node }),
                });
            }
            Command::Explain { feed, key, reply } => {
                let candidate = Candidate {
                    node: "store-1".to_owned(),
                    zone: None,
                    weight: 100,
                    score: 1.5,
                    chosen: true,
                    reason: "the best score".to_owned(),
                };
                let _ = reply.send(Ok(Explanation {
                    feed: feed.to_string(),
                    key,
                    replicas: "1".to_owned(),
                    candidates: vec![candidate],
                    chain: vec!["store-1".to_owned()],
                    short: false,
                }));
            }
        }
    }
}

fn retried(which: Failed) -> Outcome {
    let ids = match which {
        Failed::All => vec![id(1)],
        Failed::These(ids) => ids,
    };
    let mut outcome = Outcome::default();
    for one in ids {
        if one == id(1) {
            outcome.files += 1;
        } else {
            let refusal = Refusal::UnknownTransfer { id: one.clone() };
            outcome.refused.push((one, refusal));
        }
    }
    outcome
}
