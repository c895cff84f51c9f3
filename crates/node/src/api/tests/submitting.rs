//! Calls that change something.

use axum::body::Body;
use axum::http::{Request, StatusCode};
use serde_json::json;

use super::bench::{Bench, id};

#[tokio::test]
async fn a_file_by_its_path_is_answered_with_its_transfer() {
    let bench = Bench::new();
    let body = r#"{"path": "/srv/good.jpg", "name": "a.jpg", "meta": {"camera": "7"}}"#;
    let (status, transfer) = bench.post("/api/v1/feeds/images/files", body).await;
    assert_eq!(status, StatusCode::CREATED);
    assert_eq!(
        transfer,
        json!({
            "id": id(101).to_string(), "feed": "images", "name": "a.jpg", "key": "a.jpg",
            "size": 10, "digest": null, "state": "submitted", "attempt": 0, "consumers": [],
            "submitted_at": "1970-01-01T00:00:05.000Z", "done_at": null, "error": null,
        })
    );
    let body = r#"{"path": "/srv/missing.jpg"}"#;
    let (status, error) = bench.post("/api/v1/feeds/images/files", body).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    assert_eq!(error["error"]["kind"], "not_found");
    assert_eq!(error["error"]["message"], "/srv/missing.jpg is not there");
    assert!(!error["error"]["hint"].as_str().unwrap().is_empty());
}

#[tokio::test]
async fn an_array_of_files_is_answered_in_its_order() {
    let bench = Bench::new();
    let body = r#" [{"path": "/good/1"}, {"path": "/bad"}, {"path": "/good/2"}]"#;
    let (status, results) = bench.post("/api/v1/feeds/images/files", body).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(results[0]["name"], "/good/1");
    assert_eq!(results[1]["path"], "/bad");
    assert_eq!(results[1]["error"]["kind"], "not_found");
    assert_eq!(results[2]["name"], "/good/2");
    let (status, none) = bench.post("/api/v1/feeds/images/files", "[]").await;
    assert_eq!((status, none), (StatusCode::OK, json!([])));
}

#[tokio::test]
async fn wrong_requests_are_refused_with_a_hint() {
    let bench = Bench::new();
    for (path, body) in [
        ("/api/v1/feeds/images/files", r#"{"path": "relative"}"#),
        (
            "/api/v1/feeds/images/files",
            r#"{"path": "/good", "nam": "x"}"#,
        ),
        ("/api/v1/feeds/images/files", "nonsense"),
        ("/api/v1/feeds/im%20ages/files", r#"{"path": "/good"}"#),
        ("/api/v1/transfers/nonsense/retry", ""),
        ("/api/v1/nodes/a%2Fb/forget", ""),
    ] {
        let (status, error) = bench.post(path, body).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{path} {body}");
        assert_eq!(error["error"]["kind"], "invalid", "{error}");
        assert_ne!(error["error"]["hint"], "", "{error}");
    }
}

#[tokio::test]
async fn a_small_body_is_a_file_and_a_large_one_is_sent_elsewhere() {
    let bench = Bench::new();
    let put = Request::put("/api/v1/feeds/images/files/a/b.jpg?key=k&meta.x=1");
    let (status, transfer) = bench.send(put, Body::from("bytes")).await;
    assert_eq!(status, StatusCode::CREATED);
    assert_eq!(
        (&transfer["name"], &transfer["key"], &transfer["size"]),
        (&json!("a/b.jpg"), &json!("k"), &json!(5))
    );
    let exactly = vec![0; 256 << 10];
    let put = Request::put("/api/v1/feeds/images/files/a");
    let (status, _) = bench.send(put, Body::from(exactly)).await;
    assert_eq!(status, StatusCode::CREATED);
    // Once with its length said before, once without.
    let larger = vec![0; (256 << 10) + 1];
    let said = Request::put("/api/v1/feeds/images/files/a").header("content-length", larger.len());
    let unsaid = Request::put("/api/v1/feeds/images/files/a");
    for put in [said, unsaid] {
        let (status, error) = bench.send(put, Body::from(larger.clone())).await;
        assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);
        let text = error.to_string();
        assert!(text.contains("262144") && text.contains("POST"), "{text}");
    }
    let put = Request::put("/api/v1/feeds/images/files/a?kye=k");
    let (status, _) = bench.send(put, Body::from("x")).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn transfers_are_retried_and_cancelled() {
    let bench = Bench::new();
    let one = format!("/api/v1/transfers/{}", id(1));
    let (status, acted) = bench.post(&format!("{one}/retry"), "").await;
    assert_eq!((status, &acted["files"]), (StatusCode::OK, &json!(1)));
    let (status, acted) = bench.post(&format!("{one}/cancel"), "").await;
    assert_eq!((status, &acted["files"]), (StatusCode::OK, &json!(1)));
    let (status, acted) = bench.post("/api/v1/transfers/retry-failed", "").await;
    assert_eq!((status, &acted["files"]), (StatusCode::OK, &json!(1)));
    let other = format!("/api/v1/transfers/{}/retry", id(9));
    let (status, error) = bench.post(&other, "").await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    assert_eq!(error["error"]["kind"], "not_found");
}

#[tokio::test]
async fn nodes_are_forgotten() {
    let bench = Bench::new();
    let (status, told) = bench.post("/api/v1/nodes/store-1/forget", "").await;
    assert_eq!(
        (status, told),
        (StatusCode::OK, json!({"forgotten": "store-1"}))
    );
    let (status, _) = bench.post("/api/v1/nodes/store-9/forget", "").await;
    assert_eq!(status, StatusCode::NOT_FOUND);
}
