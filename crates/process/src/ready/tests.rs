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

#[tokio::test]
async fn another_process_asks_at_a_socket() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("run/ready.sock");
    assert_eq!(Ready::ask(&socket).unwrap_err().kind(), io::ErrorKind::NotFound);
    let ready = Ready::new();
    let snapshot = ready.wait_for("snapshot");
    let asked = || {
        let socket = socket.clone();
        async { tokio::task::spawn_blocking(move || Ready::ask(&socket)).await.unwrap().unwrap() }
    };
    let serving = crate::Server::at("readiness", &socket).unwrap().serve(ready.routes());
    let local = tokio::task::LocalSet::new();
    local
        .run_until(async {
            tokio::task::spawn_local(serving);
            assert_eq!(asked().await, Err("not ready, pending: snapshot".to_owned()));
            snapshot.met();
            assert_eq!(asked().await, Ok(()));
        })
        .await;
    drop(local);
    assert_eq!(Ready::ask(&socket).unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
}
