//! What the targets of `ambit-hbone` feed: a server and the readers of headers. The crate's own tests call them as well.

use std::cell::Cell;
use std::future::pending;

use ambit_hbone::headers::{Baggage, Forwarded, Traceparent};
use ambit_hbone::{Config, ConnectResponse, server};
use tokio::io::AsyncWriteExt;

/// Serves a client that sends a valid preface and then `bytes`; returns how many requests came of it.
pub fn serve(bytes: &[u8]) -> usize {
    let requests = Cell::new(0);
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_time().build() else { return 0 };
    runtime.block_on(async {
        let (mut client, transport) = tokio::io::duplex(bytes.len() + 64);
        let feed = async {
            let _ = client.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await;
            let _ = client.write_all(bytes).await;
            // The end of the transport ends everything at once: first a few turns for what was sent.
            for _ in 0..32 {
                tokio::task::yield_now().await;
            }
            let _ = client.shutdown().await;
            // Answers that the pipe does not hold must not keep the server waiting.
            let _ = tokio::io::copy(&mut client, &mut tokio::io::sink()).await;
            pending::<()>().await;
        };
        let config = Config { max_concurrent_streams: 10, ..Config::default() };
        let serving = server::serve(transport, &config, pending(), |incoming| {
            requests.set(requests.get() + 1);
            match incoming.request() {
                Ok(request) if request.baggage.is_some() => incoming.refuse(503, Some("no-healthy-upstream")),
                Ok(_) => drop(incoming.accept(&ConnectResponse::default())),
                Err(_) => {}
            }
        });
        tokio::select! {
            _ = serving => {}
            () = feed => {}
        }
    });
    requests.get()
}

/// Reads `bytes` as the value of each header, and what was read a second time after having been written.
pub fn headers(bytes: &[u8]) {
    let lines = || bytes.split(|byte| *byte == b'\n');
    if let Some(baggage) = Baggage::parse(lines()) {
        let written = baggage.to_string();
        let again = Baggage::parse([written.as_bytes()]).unwrap_or_default();
        assert_eq!(again.to_string(), written);
    }
    if let Some(forwarded) = Forwarded::parse(lines()) {
        let written = forwarded.to_string();
        let again = Forwarded::parse([written.as_bytes()]).unwrap_or_default();
        assert_eq!(again.to_string(), written);
    }
    if let Some(traceparent) = Traceparent::parse(bytes) {
        assert_eq!(Traceparent::parse(traceparent.to_string().as_bytes()), Some(traceparent));
    }
}
