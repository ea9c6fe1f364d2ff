//! The header `baggage`: who the workload at this end is. Knows nothing of how the mesh names workloads.

use std::fmt;

/// Who a workload is, as the header `baggage` says it. What is empty is not written, and is read as absent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Baggage {
    /// `k8s.cluster.name`.
    pub cluster: Option<String>,
    /// `k8s.namespace.name`.
    pub namespace: Option<String>,
    /// `k8s.<kind>.name`: what owns the pod, or the pod itself.
    pub workload: Option<(WorkloadKind, String)>,
    /// `service.name`: the canonical service (`service.istio.io/canonical-name`).
    pub service: Option<String>,
    /// `service.version`: the canonical revision (`service.istio.io/canonical-revision`).
    pub version: Option<String>,
    /// `cloud.region`: where the node is.
    pub region: Option<String>,
    /// `cloud.availability_zone`: where in the region the node is.
    pub zone: Option<String>,
}

/// The kinds of workload that Istio tells apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WorkloadKind {
    /// `k8s.deployment.name`.
    Deployment,
    /// `k8s.pod.name`.
    Pod,
    /// `k8s.job.name`.
    Job,
    /// `k8s.cronjob.name`.
    CronJob,
}

impl WorkloadKind {
    const fn key(self) -> &'static str {
        match self {
            Self::Deployment => "k8s.deployment.name",
            Self::Pod => "k8s.pod.name",
            Self::Job => "k8s.job.name",
            Self::CronJob => "k8s.cronjob.name",
        }
    }
}

impl Baggage {
    /// Reads the values of all header lines called `baggage`; of a key written twice the last one counts.
    #[must_use]
    pub fn parse<'a>(values: impl IntoIterator<Item = &'a [u8]>) -> Option<Self> {
        let mut baggage = Self::default();
        for value in values {
            let Ok(value) = std::str::from_utf8(value) else { continue };
            for member in value.split(',') {
                // Properties of a member (W3C Baggage section 3.2.1.2) say nothing to us.
                let member = member.split(';').next().unwrap_or_default();
                if let Some((key, value)) = member.split_once('=') {
                    baggage.set(key.trim(), value.trim());
                }
            }
        }
        (baggage != Self::default()).then_some(baggage)
    }

    fn set(&mut self, key: &str, value: &str) {
        let value = (!value.is_empty()).then(|| value.to_owned());
        let named = |kind| value.clone().map(|name| (kind, name));
        match key {
            "k8s.cluster.name" => self.cluster = value,
            "k8s.namespace.name" => self.namespace = value,
            "k8s.deployment.name" => self.workload = named(WorkloadKind::Deployment),
            "k8s.pod.name" => self.workload = named(WorkloadKind::Pod),
            "k8s.job.name" => self.workload = named(WorkloadKind::Job),
            "k8s.cronjob.name" => self.workload = named(WorkloadKind::CronJob),
            "service.name" => self.service = value,
            "service.version" => self.version = value,
            "cloud.region" => self.region = value,
            "cloud.availability_zone" => self.zone = value,
            _ => {}
        }
    }
}

impl fmt::Display for Baggage {
    /// The header's value. A member whose value would break the header is left out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let members = [
            ("k8s.cluster.name", &self.cluster),
            ("k8s.namespace.name", &self.namespace),
            ("", &None),
            ("service.name", &self.service),
            ("service.version", &self.version),
            ("cloud.region", &self.region),
            ("cloud.availability_zone", &self.zone),
        ];
        let mut separator = "";
        for (key, value) in members {
            let (key, value) = match (&self.workload, key) {
                (Some((kind, name)), "") => (kind.key(), Some(name)),
                _ => (key, value.as_ref()),
            };
            if let Some(value) = value.filter(|value| is_member_value(value)) {
                write!(f, "{separator}{key}={value}")?;
                separator = ",";
            }
        }
        Ok(())
    }
}

/// W3C Baggage section 3.3.1: printable ASCII but for space, quote, comma, semicolon and backslash.
fn is_member_value(value: &str) -> bool {
    !value.is_empty() && value.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'"' | b',' | b';' | b'\\'))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn full() -> Baggage {
        Baggage {
            cluster: Some("Kubernetes".to_owned()),
            namespace: Some("shop".to_owned()),
            workload: Some((WorkloadKind::Deployment, "reviews-v2".to_owned())),
            service: Some("reviews".to_owned()),
            version: Some("v2".to_owned()),
            region: Some("eu-west-1".to_owned()),
            zone: Some("eu-west-1a".to_owned()),
        }
    }

    #[test]
    fn is_written_as_istio_writes_it() {
        assert_eq!(
            full().to_string(),
            "k8s.cluster.name=Kubernetes,k8s.namespace.name=shop,k8s.deployment.name=reviews-v2,service.name=reviews,\
             service.version=v2,cloud.region=eu-west-1,cloud.availability_zone=eu-west-1a"
        );
        let cron = Baggage {
            workload: Some((WorkloadKind::CronJob, "nightly".to_owned())),
            zone: Some("z".to_owned()),
            ..Baggage::default()
        };
        assert_eq!(cron.to_string(), "k8s.cronjob.name=nightly,cloud.availability_zone=z");
        assert_eq!(Baggage::default().to_string(), "");
    }

    #[test]
    fn is_read_from_several_lines_with_empty_values_and_strangers() {
        let lines: [&[u8]; 4] = [
            b"k8s.cluster.name=,k8s.namespace.name=shop",
            b" k8s.pod.name = a-1 ;property, stranger=1,,=,x",
            b"\xff\xfe",
            b"service.name=one,service.name=two",
        ];
        let expected = Baggage {
            namespace: Some("shop".to_owned()),
            workload: Some((WorkloadKind::Pod, "a-1".to_owned())),
            service: Some("two".to_owned()),
            ..Baggage::default()
        };
        assert_eq!(Baggage::parse(lines), Some(expected));
        assert_eq!(Baggage::parse([]), None);
        assert_eq!(Baggage::parse([b"k8s.cluster.name=,service.name=".as_slice()]), None);
    }

    #[test]
    fn a_value_cannot_forge_another_member() {
        let forged = Baggage { service: Some("a,k8s.namespace.name=b".to_owned()), ..full() };
        assert_eq!(Baggage::parse([forged.to_string().as_bytes()]), Some(Baggage { service: None, ..full() }));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            names in proptest::array::uniform7(proptest::option::of("[A-Za-z0-9._-]{1,63}")),
            kind in prop_oneof![
                Just(WorkloadKind::Deployment), Just(WorkloadKind::Pod), Just(WorkloadKind::Job), Just(WorkloadKind::CronJob)
            ],
        ) {
            let [cluster, namespace, workload, service, version, region, zone] = names;
            let workload = workload.map(|name| (kind, name));
            let baggage = Baggage { cluster, namespace, workload, service, version, region, zone };
            let read = Baggage::parse([baggage.to_string().as_bytes()]).unwrap_or_default();
            prop_assert_eq!(read, baggage);
        }
    }
}
