//! Who is found at the ends of a connection.

use ambit_hbone::headers::WorkloadKind;
use ambit_model::{Mesh, Node, Reason};
use ambit_telemetry::{Form, Logging};

use super::*;
use crate::proxy::fixtures::{identity, pod, service, workload};

fn meter() -> Meter {
    let (_, logging) = Logging::build(Form::Text, "off", Box::new(std::io::sink())).unwrap();
    Meter::new(logging.access_log())
}

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn snapshot() -> Snapshot {
    let mut snapshot = Snapshot::new(Mesh::default());
    snapshot.insert_workload(Arc::new(workload("web", &["10.0.0.1"])));
    snapshot.insert_workload(Arc::new(workload("old", &["10.0.0.2"])));
    snapshot.insert_workload(Arc::new(workload("zen", &["10.0.0.2"])));
    let addresses = vec!["172.18.0.2".parse().unwrap()];
    snapshot.insert_node(Arc::new(Node {
        name: "a".into(),
        addresses,
        region: "".into(),
        zone: "".into(),
        subzone: "".into(),
    }));
    snapshot
}

fn hbone(account: &str, peer: &str, baggage: Option<&Baggage>) -> Opened {
    let (meter, snapshot, pod) = (meter(), snapshot(), pod("web", &["10.0.0.1"]));
    let record = Inbound { meter: &meter, snapshot: &snapshot, pod: &pod, peer: address(peer), start: Instant::now() };
    let authority = Authority::Address(address("10.0.0.1:80"));
    let lives = record.hbone((&identity(account), baggage), "10.0.0.1".parse().unwrap(), authority, None);
    let opened = lives.first.opened().clone();
    lives.close(Ok(()));
    opened
}

#[test]
fn a_peer_is_the_pod_at_its_address_that_it_proved_to_be() {
    for account in ["old", "zen"] {
        let opened = hbone(account, "10.0.0.2:41000", None);
        assert_eq!(opened.ends.source.name(), Some(format!("{account}-x").as_str()), "both claim the address");
        assert_eq!(opened.destination, address("10.0.0.1:15008"));
        assert_eq!(opened.hbone, Some(Authority::Address(address("10.0.0.1:80"))));
        assert_eq!(opened.ends.reporter, Reporter::Destination);
    }
}

#[test]
fn a_stranger_may_say_who_it_is_but_not_its_namespace() {
    let baggage = Baggage {
        namespace: Some("bank".to_owned()),
        workload: Some((WorkloadKind::Deployment, "teller".to_owned())),
        ..Baggage::default()
    };
    let opened = hbone("far", "10.9.9.9:41000", Some(&baggage));
    assert_eq!((opened.ends.source.name(), opened.ends.source.namespace()), (Some("teller"), Some("shop")));
    let silent = hbone("far", "10.9.9.9:41000", None);
    assert_eq!((silent.ends.source.name(), silent.ends.source.namespace()), (None, Some("shop")));
}

#[test]
fn on_one_node_both_ends_are_recorded_and_the_bytes_counted_once() {
    let (meter, snapshot, pod) = (meter(), snapshot(), pod("web", &["10.0.0.1"]));
    let (client, dialled) = (address("10.0.0.1:41000"), address("10.96.0.1:80"));
    let record = Outbound { meter: &meter, snapshot: &snapshot, pod: &pod, client, dialled, start: Instant::now() };
    let (pod, host) = (Arc::new(workload("old", &["10.0.0.2"])), service("old", "10.0.0.2:80"));
    let to = Upstream::new(address("10.0.0.2:80"), Some(pod), Some(host));
    let lives = record.local(&to);
    lives.traffic().add_sent(7);
    let (first, second) = (lives.first.opened(), lives.second.as_ref().unwrap().opened());
    assert_eq!((first.ends.reporter, second.ends.reporter), (Reporter::Source, Reporter::Destination));
    assert_eq!(Ends { reporter: Reporter::Source, ..second.ends.clone() }, first.ends);
    assert_eq!(first.ends.security, Security::MutualTls { client: identity("web") });
    let open = meter.connections(Instant::now());
    assert_eq!(open.iter().map(|open| open.bytes_to_server).collect::<Vec<_>>(), [7, 7]);
    lives.close(Err(Failure::from(Reason::ResetByServer)));
    assert!(meter.connections(Instant::now()).is_empty());
}

#[test]
fn what_comes_in_clear_proves_nothing_and_a_node_is_called_a_node() {
    let (meter, snapshot, pod) = (meter(), snapshot(), pod("web", &["10.0.0.1"]));
    let source = |peer: &str| {
        let record =
            Inbound { meter: &meter, snapshot: &snapshot, pod: &pod, peer: address(peer), start: Instant::now() };
        let lives = record.plaintext(address("10.0.0.1:80"), None);
        let opened = lives.first.opened().clone();
        lives.close(Ok(()));
        assert_eq!((&opened.ends.security, &opened.hbone), (&Security::Unknown, &None));
        assert_eq!(opened.destination, address("10.0.0.1:80"));
        opened.ends.source.name().map(str::to_owned)
    };
    assert_eq!(source("10.0.0.2:41000").as_deref(), Some("old-x"));
    assert_eq!(source("172.18.0.2:41000").as_deref(), Some("node/a"));
    assert_eq!(source("192.0.2.1:41000"), None);
}
