//! A small shop of workloads for the tests, and a place to write logs to.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use ambit_model::{
    Enrolment, Identity, NetworkMode, Owner, Service, ServiceKey, Snapshot, TrustDomain, Workload, WorkloadUid,
};
use tracing_subscriber::filter::Targets;

use crate::access::AccessLog;
use crate::ends::{Ends, Party, Reporter, Security};
use crate::line::Form;
use crate::meter::{Meter, Opened};
use crate::queue::{Queue, Writer};
use crate::request::{Answer, Downstream, RequestHead, RequestRecord, Upstream};

/// The pod `<owner>-<suffix>` of the Deployment `owner`.
pub(crate) fn workload(owner: &str, suffix: &str) -> Arc<Workload> {
    let name = format!("{owner}-{suffix}");
    let text = |text: &str| Arc::<str>::from(text);
    Arc::new(Workload {
        uid: WorkloadUid::pod("Kubernetes", "shop", &name),
        name: text(&name),
        namespace: text("shop"),
        identity: Identity::new(TrustDomain::default(), "shop", &format!("bookinfo-{owner}")),
        addresses: vec![[10, 0, 0, 1].into()],
        node: text("node-1"),
        network_mode: NetworkMode::Standard,
        enrolment: Enrolment::Enrolled,
        ready: true,
        dns_capture: true,
        waypoint: None,
        labels: BTreeMap::new(),
        owner: Owner { kind: text("deployment"), name: text(owner) },
        canonical_name: text(&format!("{owner}-app")),
        canonical_revision: text("v1"),
        cluster: text("Kubernetes"),
        region: text("eu"),
        zone: text(""),
        subzone: text(""),
        pod_uid: None,
        netns: None,
    })
}

pub(crate) fn reviews_service() -> Arc<Service> {
    Arc::new(Service {
        key: ServiceKey::new("shop", "reviews"),
        hostname: Arc::from("reviews.shop.svc.cluster.local"),
        vips: vec![[10, 96, 0, 7].into()],
        ranges: Vec::new(),
        resolution: ambit_model::Resolution::Endpoints,
        alias: None,
        visibility: ambit_model::route::Visibility::Public,
        waypoint: None,
        ports: Vec::new(),
        distribution: ambit_model::Distribution::Anywhere,
    })
}

/// From productpage to reviews, by the service, over mutual TLS.
pub(crate) fn ends(reporter: Reporter) -> Ends {
    let client = workload("productpage", "abc");
    Ends {
        reporter,
        security: Security::MutualTls { client: client.identity.clone() },
        source: Party::Workload(client),
        destination: Party::Workload(workload("reviews", "xyz")),
        service: Some(reviews_service()),
    }
}

pub(crate) fn opened(ends: Ends, start: Instant) -> Opened {
    Opened {
        ends,
        client: "10.244.0.16:52008".parse().unwrap(),
        destination: "10.244.0.14:15008".parse().unwrap(),
        hbone: Some("10.244.0.14:9080".parse().unwrap()),
        start,
    }
}

/// A GET that reviews answered with 200 after 5 ms, of which it took 4 itself.
pub(crate) fn answered(ends: Ends, started: Instant) -> RequestRecord {
    let head = RequestHead {
        method: b"GET",
        path: b"/reviews/0?full=yes",
        protocol: "HTTP/2",
        authority: b"reviews:9080",
        user_agent: b"curl/8.5 (linux)",
        request_id: b"8fcedd10-23a4-9b4d-8caa-ade8a92a66a8",
        forwarded_for: b"",
    };
    RequestRecord {
        ends: Arc::new(ends),
        head: head.keep(),
        grpc: None,
        started,
        ended: started + Duration::from_micros(5_900),
        received: 0,
        sent: 375,
        answer: Answer { code: 200, details: "via_upstream".into(), ..Answer::default() },
        route: Some("reviews-v2.beta".into()),
        downstream: Downstream {
            remote: "10.244.0.16:52008".parse().ok(),
            local: "10.96.0.7:9080".parse().ok(),
            server_name: None,
        },
        upstream: Upstream {
            host: "10.244.0.14:9080".parse().ok(),
            cluster: Some("inbound-vip|9080|http|reviews.shop.svc.cluster.local".into()),
            local: "10.244.0.20:41000".parse().ok(),
            took: Some(Duration::from_millis(4)),
            failure: "".into(),
        },
    }
}

pub(crate) fn snapshot(workloads: impl IntoIterator<Item = Arc<Workload>>) -> Snapshot {
    let mut snapshot = Snapshot::default();
    snapshot.insert_service(reviews_service());
    workloads.into_iter().for_each(|workload| snapshot.insert_workload(workload));
    snapshot
}

/// 2024-04-11T15:38:42.182974Z.
pub(crate) fn moment() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_micros(1_712_849_922_182_974)
}

/// What was written so far.
#[derive(Clone, Default)]
pub(crate) struct Sink(Arc<Mutex<Vec<u8>>>);

impl Sink {
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// An access log that lets through what `filter` does, where it goes and the thread that writes it.
pub(crate) fn access_log(filter: &str) -> (AccessLog, Sink, Writer) {
    let sink = Sink::default();
    let (queue, writer) = Queue::start(Box::new(sink.clone()), Form::Text, 1024).unwrap();
    let access = AccessLog::new(queue);
    access.follow(&filter.parse::<Targets>().unwrap());
    (access, sink, writer)
}

/// A meter whose access log is off.
pub(crate) fn silent_meter() -> Meter {
    Meter::new(access_log("off").0)
}
