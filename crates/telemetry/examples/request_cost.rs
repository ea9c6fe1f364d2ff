//! What counting and logging a request costs a worker: `cargo run --release -p ambit-telemetry --example request_cost`.
//! The median of the rounds is printed, in nanoseconds a request.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::indexing_slicing,
    reason = "a measurement stops at the first surprise, and its product is text"
)]

use std::hint::black_box;
use std::io::sink;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ambit_model::{Distribution, Identity, Resolution, Service, ServiceKey, TrustDomain};
use ambit_telemetry::{
    Answer, Derived, Downstream, Ends, Form, Logging, Meter, Party, Reporter, RequestHead, RequestRecord, Security,
    Upstream,
};

const ROUNDS: usize = 9;
/// Fewer than the log's queue holds, so that no round measures records that are dropped.
const REQUESTS: u32 = 4_000;
const SERIES: usize = 64;

fn main() {
    for (name, filter) in [("counted", "access=off"), ("counted and logged", "access=info")] {
        let (_subscriber, logging) = Logging::build(Form::Text, filter, Box::new(sink())).unwrap();
        let meter = Meter::new(logging.access_log());
        let series: Vec<_> = (0..SERIES).map(|number| Arc::new(ends(number))).collect();
        series.iter().for_each(|ends| meter.request(record(ends.clone())));
        let mut rounds: Vec<_> = (0..ROUNDS)
            .map(|_| {
                logging.flush();
                let made = round(&series, |record| drop(black_box(record)));
                logging.flush();
                (round(&series, |record| meter.request(black_box(record))), made)
            })
            .collect();
        rounds.sort_unstable();
        let (whole, made) = rounds[ROUNDS / 2];
        let dropped = logging.access_log().dropped();
        println!("{name}: {whole} ns, of which making and dropping the record is {made} ns; dropped {dropped} lines");
    }
}

/// Nanoseconds a request.
fn round(series: &[Arc<Ends>], mut one: impl FnMut(RequestRecord)) -> u128 {
    let start = Instant::now();
    let requests = (0..REQUESTS).zip(series.iter().cycle());
    requests.for_each(|(_, ends)| one(record(ends.clone())));
    start.elapsed().as_nanos() / u128::from(REQUESTS)
}

fn record(ends: Arc<Ends>) -> RequestRecord {
    let head = RequestHead {
        method: b"GET",
        path: b"/reviews/0?full=yes",
        protocol: "HTTP/2",
        authority: b"reviews:9080",
        user_agent: b"Mozilla/5.0 (X11; Linux x86_64; rv:109.0) Gecko/20100101 Firefox/115.0",
        request_id: b"8fcedd10-23a4-9b4d-8caa-ade8a92a66a8",
        forwarded_for: b"10.0.0.1",
    };
    let ended = Instant::now();
    RequestRecord {
        ends,
        head: head.keep(),
        grpc: None,
        started: ended.checked_sub(Duration::from_millis(3)).unwrap_or(ended),
        ended,
        received: 0,
        sent: 375,
        answer: Answer { code: 200, details: "via_upstream".into(), ..Answer::default() },
        route: None,
        downstream: Downstream::default(),
        upstream: Upstream::default(),
    }
}

fn ends(number: usize) -> Ends {
    let client = Identity::new(TrustDomain::default(), "shop", "bookinfo-productpage");
    let party = |name: &str| {
        let (workload, namespace) = (Some(format!("{name}-{number}").into()), Some("shop".into()));
        let (app, revision) = (Some(name.into()), Some("v1".into()));
        Party::Derived(Arc::new(Derived { workload, namespace, app, revision, ..Derived::default() }))
    };
    Ends {
        reporter: Reporter::Waypoint,
        source: party("productpage"),
        destination: party("reviews"),
        service: Some(Arc::new(Service {
            key: ServiceKey::new("shop", "reviews"),
            hostname: "reviews.shop.svc.cluster.local".into(),
            vips: Vec::new(),
            ranges: Vec::new(),
            resolution: Resolution::Endpoints,
            alias: None,
            visibility: ambit_model::route::Visibility::Public,
            ports: Vec::new(),
            distribution: Distribution::Anywhere,
            waypoint: None,
        })),
        security: Security::MutualTls { client },
    }
}
