use bytes::Bytes;

use super::*;

async fn answer(ready: &Ready) -> (StatusCode, String) {
    let request = http::Request::get("/healthz/ready").body(Bytes::new()).unwrap();
    let response = ready.routes().answer(request).await;
    (response.status(), String::from_utf8(response.into_body().to_vec()).unwrap())
}

#[tokio::test]
async fn ready_means_that_nothing_is_pending() {
    let ready = Ready::new();
    assert_eq!(answer(&ready).await, (StatusCode::OK, "ready\n".to_owned()));
    let (snapshot, capture) = (ready.wait_for("snapshot"), ready.wait_for("capture"));
    let unavailable = StatusCode::SERVICE_UNAVAILABLE;
    assert_eq!(answer(&ready).await, (unavailable, "not ready, pending: capture, snapshot\n".to_owned()));
    capture.met();
    assert_eq!(answer(&ready).await, (unavailable, "not ready, pending: snapshot\n".to_owned()));
    snapshot.met();
    snapshot.met();
    assert_eq!(answer(&ready).await.0, StatusCode::OK);
    capture.unmet();
    assert_eq!(answer(&ready).await.0, unavailable);
}

#[test]
fn what_gave_up_before_it_was_met_stays_pending() {
    let ready = Ready::new();
    drop(ready.wait_for("certificates"));
    assert_eq!(ready.pending(), ["certificates".into()]);
}
