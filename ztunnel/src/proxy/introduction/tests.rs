//! The headers of a CONNECT, byte for byte (features.md E-04).

use ambit_model::Owner;

use super::*;
use crate::proxy::fixtures::{service, workload};

/// The CONNECT for a port of a pod, as `source` asks for it from `client`.
fn asks(source: Option<&Workload>, client: &str, service: Option<&Service>) -> ConnectRequest {
    request(source, client.parse().unwrap(), service, "10.0.0.2:8080".parse().unwrap())
}

#[test]
fn a_pod_of_a_deployment_dials_a_service() {
    let mut source = workload("web", &["10.0.0.1"]);
    (source.region, source.zone) = ("eu-west-1".into(), "eu-west-1a".into());
    let reviews = service("reviews", "10.0.0.2:8080");
    let request = asks(Some(&source), "10.0.0.1:41000", Some(&reviews));
    assert_eq!(request.authority, "10.0.0.2:8080");
    assert_eq!(
        request.baggage.unwrap().to_string(),
        "k8s.cluster.name=Kubernetes,k8s.namespace.name=shop,k8s.deployment.name=web,service.name=web,\
         service.version=v1,cloud.region=eu-west-1,cloud.availability_zone=eu-west-1a"
    );
    assert_eq!(request.forwarded.unwrap().to_string(), r#"for="10.0.0.1:41000";host=reviews.shop.svc.cluster.local"#);
    let traceparent = request.traceparent.unwrap().to_string();
    let lengths: Vec<usize> = traceparent.split('-').map(str::len).collect();
    assert_eq!(lengths, [2, 32, 16, 2], "{traceparent}");
    assert!(traceparent.starts_with("00-") && traceparent.ends_with("-00"), "{traceparent}");
    assert_eq!((request.network, request.source), (None, None));
}

#[test]
fn whoever_owns_the_pod_is_named_as_istio_names_it() {
    for (kind, expected) in [
        ("deployment", "k8s.deployment.name=nightly"),
        ("job", "k8s.job.name=nightly"),
        ("cronjob", "k8s.cronjob.name=nightly"),
        ("pod", "k8s.pod.name=web-x"),
        ("statefulset", "k8s.pod.name=web-x"),
    ] {
        let owner = Owner { kind: kind.into(), name: "nightly".into() };
        let source = Workload { owner, ..workload("web", &["10.0.0.1"]) };
        let request = asks(Some(&source), "[fd00::1]:41000", None);
        let baggage = request.baggage.unwrap().to_string();
        assert_eq!(
            baggage,
            format!(
                "k8s.cluster.name=Kubernetes,k8s.namespace.name=shop,{expected},service.name=web,service.version=v1"
            )
        );
        assert_eq!(request.forwarded.unwrap().to_string(), r#"for="[fd00::1]:41000""#);
    }
}

#[test]
fn two_connections_have_two_traces() {
    let trace = || asks(None, "10.0.0.1:41000", None).traceparent.unwrap();
    assert_ne!(trace(), trace());
}
