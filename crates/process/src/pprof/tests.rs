use bytes::Bytes;

use super::*;

async fn answered(target: &str) -> (u16, Bytes) {
    let response = routes().answer(http::Request::get(target).body(Bytes::new()).unwrap()).await;
    (response.status().as_u16(), response.into_body())
}

#[tokio::test]
async fn parameters_out_of_range_are_refused() {
    for (query, expected) in [
        ("seconds=0", "seconds must be 1 to 300\n"),
        ("seconds=301", "seconds must be 1 to 300\n"),
        ("seconds=soon", "seconds must be 1 to 300\n"),
        ("frequency=1001", "frequency must be 1 to 1000\n"),
        ("frequency=-1", "frequency must be 1 to 1000\n"),
    ] {
        let (status, text) = answered(&format!("/debug/pprof/profile?{query}")).await;
        assert_eq!((status, text.as_ref()), (400, expected.as_bytes()), "{query}");
    }
}

#[tokio::test]
async fn one_cpu_profile_is_taken_at_a_time() {
    let routes = routes();
    let ask = || routes.answer(http::Request::get("/debug/pprof/profile?seconds=1").body(Bytes::new()).unwrap());
    let (first, second) = tokio::join!(ask(), ask());
    assert_eq!((first.status().as_u16(), second.status().as_u16()), (200, 503));
    assert!(!first.into_body().is_empty());
}
