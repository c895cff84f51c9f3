//! Calls that only look.

use axum::body::Body;
use axum::http::{Request, StatusCode};
use consign_core::ranges::SlotRange;
use consign_core::record::{Opened, Record, SlotRecord, Transfers, Watermark};
use consign_core::spec::FileSpec;
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::driver::bounds::ENDINGS_LISTENERS_MAX;

use super::bench::{Bench, NODE, START, id};

#[tokio::test]
async fn a_transfer_is_told_exactly_as_the_contract_says() {
    let bench = Bench::with_transfers().await;
    let (status, transfer) = bench.get(&format!("/api/v1/transfers/{}", id(1))).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(
        transfer,
        json!({
            "id": id(1).to_string(), "feed": "images", "name": "f1", "key": "f1", "size": 100,
            "digest": null, "state": "done", "attempt": 1,
            "consumers": [
                {"node": "store-1", "state": "saved", "bytes": 100, "receipt": "unsigned"},
                {"node": "store-2", "state": "owed", "bytes": 0},
            ],
            "submitted_at": "1970-01-01T00:00:01.001Z",
            "done_at": "1970-01-01T00:00:03.100Z",
            "error": null,
        })
    );
}

#[tokio::test]
async fn a_received_file_is_told_by_its_role_and_why_it_waits() {
    let bench = Bench::new();
    let slot = SlotRecord {
        producer: "cam-9".to_owned(),
        start: START,
        slot: 5,
    };
    let spec = FileSpec {
        feed: "images".to_owned(),
        name: "far.jpg".to_owned(),
        size: 5 << 20,
        submitted_at: 1_000,
        ..FileSpec::default()
    };
    let opened = Record::Opened(Opened {
        slot: slot.clone(),
        start: START,
        seq: 9,
        at: 2_000,
        attempt: 1,
        spec,
        ..Opened::default()
    });
    let watermark = Record::Watermark(Watermark {
        slot,
        offset: 1 << 20,
        ..Watermark::default()
    });
    bench.apply(vec![opened, watermark]).await;
    let far = format!("cam-9.{START:016x}.9");
    let path = format!("/api/v1/transfers/{far}");
    let mut told = Value::Null;
    while told["bytes"] != 1 << 20 {
        tokio::task::yield_now().await;
        told = bench.get(&path).await.1;
    }
    let reason = told["waiting_reason"].take();
    assert_eq!(
        told,
        json!({
            "role": "consumer", "id": far, "producer": "cam-9", "feed": "images",
            "name": "far.jpg", "size": 5 << 20, "digest": null, "state": "receiving",
            "bytes": 1 << 20, "inbox": null, "path": null,
            "submitted_at": "1970-01-01T00:00:01.000Z", "saved_at": null, "published_at": null,
            "abandoned_at": null, "waiting_reason": null,
        })
    );
    let reason = reason.as_str().unwrap();
    assert!(
        reason.starts_with("cam-9 is not connected; hint: "),
        "{reason}"
    );
    let (_, events) = bench.get(&format!("{path}/events")).await;
    assert_eq!(events[0]["kind"], "opened");
    let (status, _) = bench.get("/api/v1/transfers?state=received").await;
    assert_eq!(status, StatusCode::OK);
    let (_, none) = bench.get("/api/v1/transfers?from=cam-8").await;
    assert_eq!(none, json!([]));
}

#[tokio::test]
async fn what_moves_right_now_is_merged_over_what_was_logged() {
    let bench = Bench::with_transfers().await;
    let (_, transfer) = bench.get(&format!("/api/v1/transfers/{}", id(2))).await;
    assert_eq!(transfer["attempt"], 4);
    assert_eq!(
        transfer["consumers"],
        json!([
            {"node": "store-1", "state": "receiving", "bytes": 77},
            {"node": "store-2", "state": "owed", "bytes": 0},
        ])
    );
}

#[tokio::test]
async fn listings_are_an_array_or_lines_and_take_filters() {
    let bench = Bench::with_transfers().await;
    let (_, all) = bench.get("/api/v1/transfers").await;
    let ids = |list: &Value| {
        let items = list.as_array().unwrap().iter();
        items.map(|t| t["id"].clone()).collect::<Vec<_>>()
    };
    let expected: Vec<Value> = (1..=3).map(|seq| json!(id(seq).to_string())).collect();
    assert_eq!(ids(&all), expected);

    let lines = Request::get("/api/v1/transfers").header("accept", "application/x-ndjson");
    let (_, text) = bench.send_text(lines, Body::empty()).await;
    let parsed: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(json!(parsed), all);

    for (query, found) in [
        ("state=placed", 1),
        ("state=failed", 0),
        ("feed=images&to=store-2", 2),
        ("feed=nothing", 0),
        ("limit=2&order=newest", 2),
    ] {
        let (status, list) = bench.get(&format!("/api/v1/transfers?{query}")).await;
        assert_eq!(status, StatusCode::OK);
        assert_eq!(list.as_array().unwrap().len(), found, "{query}");
    }
    let (_, some) = bench
        .get(&format!(
            "/api/v1/transfers?ids={},{},{}",
            id(3),
            id(9),
            id(1)
        ))
        .await;
    assert_eq!(ids(&some), [expected[2].clone(), expected[0].clone()]);
    for query in ["state=broken", "stat=done", "limit=x", "ids=nonsense"] {
        let (status, error) = bench.get(&format!("/api/v1/transfers?{query}")).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{query}");
        assert_ne!(error["error"]["hint"], "", "{error}");
    }
}

#[tokio::test]
async fn a_timeline_is_told_and_a_foreign_transfer_is_not_found_at_once() {
    let bench = Bench::with_transfers().await;
    let (_, events) = bench
        .get(&format!("/api/v1/transfers/{}/events", id(1)))
        .await;
    let kinds: Vec<_> = events
        .as_array()
        .unwrap()
        .iter()
        .map(|e| &e["kind"])
        .collect();
    assert_eq!(kinds, ["submitted", "placed", "saved", "done"]);
    let began = std::time::Instant::now();
    let foreign = "/api/v1/transfers/cam-9.0000000000000001.1";
    let (status, _) = bench.get(foreign).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    assert!(began.elapsed().as_millis() < 1_000);
}

#[tokio::test]
async fn a_transfer_that_was_just_submitted_is_waited_for() {
    let bench = Bench::new();
    let path = format!("/api/v1/transfers/{}", id(1));
    let late = async {
        // So late that it has been looked for in vain: that cannot be seen from here, and sooner this
        // would pass without any wait.
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        let record = consign_core::record::Record::Submitted(consign_core::record::Submitted {
            start: super::bench::START,
            seq: 1,
            ..Default::default()
        });
        bench.apply(vec![record]).await;
    };
    let ((status, _), ()) = tokio::join!(bench.get(&path), late);
    assert_eq!(status, StatusCode::OK);
}

#[tokio::test]
async fn the_node_its_members_and_feeds_are_told() {
    let bench = Bench::with_transfers().await;
    let (_, status) = bench.get("/api/v1/status").await;
    assert_eq!(
        (&status["health"], &status["node"]),
        (&json!("ok"), &json!(NODE))
    );
    let counts = json!([
        {"feed": "images", "state": "submitted", "files": 1, "bytes": 100},
        {"feed": "images", "state": "placed", "files": 1, "bytes": 100},
        {"feed": "images", "state": "done", "files": 1, "bytes": 100},
    ]);
    assert_eq!(status["transfers"], counts);
    let (_, nodes) = bench.get("/api/v1/nodes").await;
    assert_eq!(nodes[0]["name"], "store-1");
    let (_, feeds) = bench.get("/api/v1/feeds").await;
    assert_eq!(
        (&feeds[0]["role"], &feeds[0]["feed"]),
        (&json!("produce"), &json!("images"))
    );
    let (_, explained) = bench.get("/api/v1/explain?feed=images&key=a").await;
    assert_eq!(explained["chain"], json!(["store-1"]));
    let (status, _) = bench.get("/api/v1/explain?feed=images").await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn probes_answer_at_the_root_and_beside_the_api() {
    let bench = Bench::with_transfers().await;
    for prefix in ["", "/api/v1"] {
        let (status, _) = bench.get(&format!("{prefix}/healthz")).await;
        assert_eq!(status, StatusCode::OK);
        let (status, _) = bench.get(&format!("{prefix}/readyz")).await;
        assert_eq!(status, StatusCode::OK);
    }
    let (status, text) = bench
        .send_text(Request::get("/metrics"), Body::empty())
        .await;
    assert_eq!(status, StatusCode::OK);
    for line in [
        "consign_queue_files{feed=\"images\"} 2",
        "consign_done_files_total{feed=\"images\"} 7",
        "consign_transfers{feed=\"images\",state=\"done\"} 1",
        "consign_member_owed_files{node=\"store-1\"} 2",
        "consign_ready 1",
    ] {
        assert!(text.lines().any(|there| there == line), "{line} in\n{text}");
    }
    assert!(!text.contains(&id(2).to_string()), "no transfer is a label");
}

#[tokio::test]
async fn a_node_that_is_not_ready_says_why() {
    let bench = Bench::new();
    let (handle, end) = crate::driver::handle::channel(crate::driver::snapshot::Snapshot {
        node: NODE.to_owned(),
        problems: vec![crate::problems::Problem {
            what: "segment 7 is damaged".to_owned(),
            hint: "see `consign status`".to_owned(),
            ..Default::default()
        }],
        ..Default::default()
    });
    let bench = Bench {
        api: crate::api::Api {
            handle,
            ..bench.api.clone()
        },
        ..bench
    };
    let (status, error) = bench.get("/readyz").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(
        error["error"]["message"],
        "cam-7 is not ready: segment 7 is damaged"
    );
    // And when the driver is gone, commands say so instead of waiting.
    drop(end);
    let (status, _) = bench
        .post("/api/v1/feeds/images/files", r#"{"path": "/good"}"#)
        .await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test]
async fn who_listens_is_told_what_ends_and_that_the_agent_stops() {
    let bench = Bench::new();
    let request = Request::get("/api/v1/events").body(Body::empty()).unwrap();
    let response = bench.router().oneshot(request).await.unwrap();
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    bench.tell(&Record::Done(Transfers {
        start: START,
        seqs: vec![SlotRange { from: 1, to: 3 }],
        ..Transfers::default()
    }));
    let router = bench.router();
    drop((bench, router));
    let body = response.into_body().collect().await.unwrap().to_bytes();
    let ids = format!("{:?}", [id(1).to_string(), id(2).to_string()]);
    let told = format!("event: ended\ndata: {{\"ids\":{ids},\"state\":\"done\"}}\n\n");
    assert_eq!(
        String::from_utf8_lossy(&body),
        told.replace("\", \"", "\",\"")
    );
}

#[tokio::test]
async fn listeners_leave_room_for_others() {
    let bench = Bench::new();
    let mut listeners = Vec::new();
    for _ in 0..ENDINGS_LISTENERS_MAX {
        listeners.push(bench.api.handle.endings().expect("there is a place"));
    }
    let (status, error) = bench.get("/api/v1/events").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{error}");
    listeners.pop();
    assert!(bench.api.handle.endings().is_some());
}

#[tokio::test]
async fn what_is_not_there_yet_is_refused_by_name() {
    let bench = Bench::new();
    for path in [
        "/api/v1/feeds/images/deliveries",
        "/api/v1/openapi.json",
        "/",
    ] {
        let (status, error) = bench.get(path).await;
        assert_eq!(status, StatusCode::NOT_IMPLEMENTED, "{path}");
        let message = error["error"]["message"].as_str().unwrap();
        assert!(message.contains(path), "{message}");
    }
    for path in ["/nothing", "/api/v1/nothing"] {
        let (status, error) = bench.get(path).await;
        assert_eq!(status, StatusCode::NOT_FOUND);
        assert!(error["error"]["message"].as_str().unwrap().contains(path));
    }
    let (status, error) = bench.post("/api/v1/status", "").await;
    assert_eq!(status, StatusCode::METHOD_NOT_ALLOWED);
    assert!(
        error["error"]["message"]
            .as_str()
            .unwrap()
            .contains("/api/v1/status")
    );
}

#[tokio::test]
async fn audits_are_refused_with_a_reason_until_the_node_is_ready() {
    let bench = Bench::new();
    for (body, expected, word) in [
        ("", StatusCode::SERVICE_UNAVAILABLE, "accepts nothing now"),
        (
            r#"{"read": true}"#,
            StatusCode::SERVICE_UNAVAILABLE,
            "accepts nothing now",
        ),
        (r#"{"raed": true}"#, StatusCode::BAD_REQUEST, "raed"),
        (
            r#"{"to": "a", "from": "b"}"#,
            StatusCode::BAD_REQUEST,
            "not both",
        ),
        (r#"{"to": "../a"}"#, StatusCode::BAD_REQUEST, "../a"),
    ] {
        let (status, error) = bench.post("/api/v1/audit", body).await;
        assert_eq!(status, expected, "{body}: {error}");
        let message = error["error"]["message"].as_str().unwrap();
        assert!(message.contains(word), "{message}");
        assert_ne!(error["error"]["hint"], "", "{error}");
    }
}
