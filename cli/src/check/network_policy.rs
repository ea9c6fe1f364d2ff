//! NetworkPolicies that keep the mesh's pods from one another: those that select a pod and let no HBONE in, or none out. By the
//! rules of Kubernetes: a pod that no policy selects takes and opens everything; of those that select it one has to let it.

use std::collections::{BTreeMap, BTreeSet};

use ambit_api::labels::REDIRECTION;
use k8s_openapi::api::networking::v1::{NetworkPolicyPort, NetworkPolicySpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::ResourceExt;
use kube::api::DynamicObject;
use kube::core::{Selector, SelectorExt};
use serde_json::Value;

use super::{Finding, Outcome};
use crate::waypoint::CLASSES;

/// What pods of the mesh take connections at, and open them to.
const HBONE: i32 = 15008;
/// The label that says of a Gateway's pods of what class that is.
const GATEWAY_CLASS_NAME: &str = "gateway.networking.k8s.io/gateway-class-name";
/// The port of DNS: to be let out to that alone is to be let out to nobody.
const DNS: i32 = 53;
/// So many pods are named.
const NAMED: usize = 3;

/// Which connections of a pod a policy is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Direction {
    Ingress,
    Egress,
}

impl Direction {
    /// What comes of pods, counted by `pods`, that no policy lets be reached, or reach anybody; and what to do.
    fn message(self, pods: &str) -> String {
        match self {
            Self::Ingress => format!(
                "nobody reaches {pods} by HBONE: add TCP port {HBONE} to the ingress rule that lets their clients in"
            ),
            Self::Egress => {
                format!(
                    "no HBONE leaves {pods}: add TCP port {HBONE} to the egress rule that lets them out to their servers"
                )
            }
        }
    }
}

/// What a policy lets a pod do.
struct Policy<'a> {
    name: String,
    namespace: &'a str,
    selector: Selector,
    spec: NetworkPolicySpec,
}

/// A pod of the mesh.
struct Pod<'a> {
    name: String,
    namespace: &'a str,
    labels: &'a BTreeMap<String, String>,
    /// The names of its ports that are HBONE's.
    named: Vec<&'a str>,
}

/// Looks whether `policies` let the pods of the mesh among `pods` speak HBONE.
pub(crate) fn check(policies: &[DynamicObject], pods: &[DynamicObject]) -> Outcome {
    let mut findings = Vec::new();
    let mut known = Vec::new();
    for object in policies {
        match read(object) {
            Ok(policy) => known.push(policy),
            Err(why) => {
                let objects =
                    vec![written(object.metadata.namespace.as_deref().unwrap_or_default(), &object.name_any())];
                findings.push(Finding { objects, message: format!("cannot be read: {why}") });
            }
        }
    }
    let pods: Vec<Pod<'_>> = pods.iter().filter_map(of_mesh).collect();
    let named: BTreeSet<&str> = pods.iter().flat_map(|pod| pod.named.iter().copied()).collect();
    let mut shut: BTreeMap<(Direction, Vec<String>), BTreeSet<String>> = BTreeMap::new();
    for pod in &pods {
        for direction in [Direction::Ingress, Direction::Egress] {
            let about = |policy: &&Policy<'_>| policy.selects(pod) && policy.is_about(direction);
            let selecting: Vec<&Policy<'_>> = known.iter().filter(about).collect();
            let open = selecting.iter().any(|policy| policy.lets(direction, pod, &named));
            // Whom nobody is to reach by any port is not reached without the mesh either.
            if !open && selecting.iter().any(|policy| policy.lets_tcp(direction)) {
                let names = selecting.iter().map(|policy| written(policy.namespace, &policy.name)).collect();
                shut.entry((direction, names)).or_default().insert(pod.name.clone());
            }
        }
    }
    findings.extend(shut.into_iter().map(|((direction, objects), pods)| {
        let mut some: Vec<&str> = pods.iter().take(NAMED).map(String::as_str).collect();
        if pods.len() > NAMED {
            some.push("...");
        }
        let plural = if pods.len() == 1 { "pod" } else { "pods" };
        let message = direction.message(&format!("{} {plural} of the mesh ({})", pods.len(), some.join(", ")));
        Finding { objects, message }
    }));
    let seen = format!("{} NetworkPolicies, {} pods of the mesh", policies.len(), pods.len());
    Outcome { check: "NetworkPolicy", seen, findings }
}

fn written(namespace: &str, name: &str) -> String {
    format!("NetworkPolicy {namespace}/{name}")
}

fn read(object: &DynamicObject) -> Result<Policy<'_>, String> {
    let spec = object.data.get("spec").cloned().unwrap_or_else(|| Value::Object(serde_json::Map::new()));
    let spec: NetworkPolicySpec = serde_json::from_value(spec).map_err(|error| format!("spec: {error}"))?;
    let selector = Selector::try_from(spec.pod_selector.clone().unwrap_or_default());
    let selector = selector.map_err(|error| format!("spec.podSelector: {error}"))?;
    let namespace = object.metadata.namespace.as_deref().unwrap_or_default();
    Ok(Policy { name: object.name_any(), namespace, selector, spec })
}

/// `object`, if it is a pod that speaks HBONE: one that is captured, or a waypoint's.
fn of_mesh(object: &DynamicObject) -> Option<Pod<'_>> {
    let captured = object.annotations().get(REDIRECTION).is_some_and(|said| said == "enabled");
    let waypoint = object.labels().get(GATEWAY_CLASS_NAME).is_some_and(|class| CLASSES.contains(&class.as_str()));
    let phase = object.data.pointer("/status/phase").and_then(Value::as_str);
    if !(captured || waypoint) || matches!(phase, Some("Succeeded" | "Failed")) {
        return None;
    }
    let containers = object.data.pointer("/spec/containers").and_then(Value::as_array).map(Vec::as_slice);
    let ports =
        containers.unwrap_or_default().iter().filter_map(|container| container.get("ports")?.as_array()).flatten();
    let is_hbone = |port: &&Value| port.get("containerPort").and_then(Value::as_i64) == Some(HBONE.into());
    let named = ports.filter(is_hbone).filter_map(|port| port.get("name")?.as_str()).collect();
    let namespace = object.metadata.namespace.as_deref().unwrap_or_default();
    Some(Pod { name: object.name_any(), namespace, labels: object.labels(), named })
}

impl Policy<'_> {
    fn selects(&self, pod: &Pod<'_>) -> bool {
        self.namespace == pod.namespace && self.selector.matches(pod.labels)
    }

    fn is_about(&self, direction: Direction) -> bool {
        match (self.spec.policy_types.as_deref(), direction) {
            // What is not said is ingress, and egress where there are rules for it.
            (None | Some([]), Direction::Ingress) => true,
            (None | Some([]), Direction::Egress) => self.spec.egress.as_ref().is_some_and(|rules| !rules.is_empty()),
            (Some(types), Direction::Ingress) => types.iter().any(|one| one == "Ingress"),
            (Some(types), Direction::Egress) => types.iter().any(|one| one == "Egress"),
        }
    }

    /// Whether a rule lets HBONE through, from or to whomever. Of those that `pod` reaches, ports with these names are HBONE's.
    fn lets(&self, direction: Direction, pod: &Pod<'_>, named: &BTreeSet<&str>) -> bool {
        self.rules(direction).any(|ports| {
            ports.is_empty()
                || ports.iter().filter(|port| is_tcp(port)).any(|port| match (&port.port, port.end_port) {
                    (None, _) => true,
                    (Some(IntOrString::Int(first)), last) => (*first..=last.unwrap_or(*first)).contains(&HBONE),
                    (Some(IntOrString::String(name)), _) => match direction {
                        Direction::Ingress => pod.named.contains(&name.as_str()),
                        Direction::Egress => named.contains(name.as_str()),
                    },
                })
        })
    }

    /// Whether a rule lets any port of TCP through but that of DNS.
    fn lets_tcp(&self, direction: Direction) -> bool {
        let beyond_dns = |port: &NetworkPolicyPort| port.port != Some(IntOrString::Int(DNS)) || port.end_port.is_some();
        self.rules(direction).flatten().any(|port| is_tcp(port) && beyond_dns(port))
    }

    /// The ports of each rule; none are all.
    fn rules(&self, direction: Direction) -> impl Iterator<Item = &[NetworkPolicyPort]> {
        let ingress = self.spec.ingress.iter().flatten().map(|rule| rule.ports.as_deref());
        let egress = self.spec.egress.iter().flatten().map(|rule| rule.ports.as_deref());
        let ingress = ingress.filter(move |_| direction == Direction::Ingress);
        let egress = egress.filter(move |_| direction == Direction::Egress);
        ingress.chain(egress).map(Option::unwrap_or_default)
    }
}

fn is_tcp(port: &NetworkPolicyPort) -> bool {
    port.protocol.as_deref().is_none_or(|protocol| protocol == "TCP")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(kind: &str, name: &str, rest: Value) -> DynamicObject {
        let mut object = json!({"metadata": {"name": name, "namespace": "shop"}});
        let (Value::Object(fields), Value::Object(rest)) = (&mut object, rest) else { panic!() };
        for (key, value) in rest {
            match (fields.get_mut(&key), value) {
                (Some(Value::Object(there)), Value::Object(more)) => there.extend(more),
                (_, value) => drop(fields.insert(key, value)),
            }
        }
        fields.insert("kind".to_owned(), kind.into());
        serde_json::from_value(object).unwrap()
    }

    fn policy(name: &str, spec: Value) -> DynamicObject {
        object("NetworkPolicy", name, json!({"spec": spec}))
    }

    fn pod(name: &str, app: &str) -> DynamicObject {
        let metadata = json!({"labels": {"app": app}, "annotations": {"ambient.istio.io/redirection": "enabled"}});
        object("Pod", name, json!({"metadata": metadata}))
    }

    /// What is found of one policy for one pod.
    fn found(spec: Value) -> Vec<Finding> {
        check(&[policy("only", spec)], &[pod("web-1", "web")]).findings
    }

    #[test]
    fn a_policy_that_lets_the_applications_port_in_alone_is_named_with_its_pods() {
        let spec = json!({"podSelector": {"matchLabels": {"app": "web"}}, "ingress": [{"ports": [{"port": 8080}]}]});
        let pods = [pod("web-1", "web"), pod("web-2", "web"), pod("api-1", "api")];
        let outcome = check(&[policy("only-http", spec)], &pods);
        assert_eq!(outcome.seen, "1 NetworkPolicies, 3 pods of the mesh");
        let [finding] = &outcome.findings[..] else { panic!("{outcome:?}") };
        assert_eq!(finding.objects, ["NetworkPolicy shop/only-http"]);
        let expected = "nobody reaches 2 pods of the mesh (web-1, web-2) by HBONE: add TCP port 15008 to the ingress rule that \
                        lets their clients in";
        assert_eq!(finding.message, expected);
    }

    #[test]
    fn a_rule_lets_hbone_in_by_its_number_a_range_a_name_or_by_naming_no_port() {
        let rule = |rule: Value| json!({"podSelector": {}, "ingress": [{"ports": [{"port": 8080}]}, rule]});
        for lets in [
            json!({}),
            json!({"ports": []}),
            json!({"ports": [{"port": 15008}]}),
            json!({"ports": [{"protocol": "TCP"}]}),
            json!({"ports": [{"port": 15000, "endPort": 15010}]}),
            json!({"from": [{"podSelector": {}}]}),
        ] {
            assert_eq!(found(rule(lets.clone())), [], "{lets}");
        }
        for does_not in [
            json!({"ports": [{"port": 15008, "protocol": "UDP"}]}),
            json!({"ports": [{"port": 15000, "endPort": 15007}]}),
            json!({"ports": [{"port": "hbone"}]}),
        ] {
            assert_eq!(found(rule(does_not.clone())).len(), 1, "{does_not}");
        }
        let labels = json!({"app": "wp", "gateway.networking.k8s.io/gateway-class-name": "istio-waypoint"});
        let ports = json!([{"name": "hbone", "containerPort": 15008}]);
        let waypoint = object(
            "Pod",
            "waypoint-1",
            json!({"metadata": {"labels": labels}, "spec": {"containers": [{"name": "w", "ports": ports}]}}),
        );
        let named = policy("named", rule(json!({"ports": [{"port": "hbone"}]})));
        assert_eq!(check(&[named], &[waypoint]).findings, []);
    }

    #[test]
    fn what_one_policy_lets_through_is_enough_and_what_none_is_about_is_open() {
        let shut = json!({"podSelector": {}, "ingress": [{"ports": [{"port": 8080}]}]});
        let open = json!({"podSelector": {"matchExpressions": [{"key": "app", "operator": "In", "values": ["web"]}]}, "ingress": [{}]});
        let pods = [pod("web-1", "web"), pod("api-1", "api")];
        let outcome = check(&[policy("only-http", shut.clone()), policy("web", open)], &pods);
        let [finding] = &outcome.findings[..] else { panic!("{outcome:?}") };
        assert!(finding.message.contains("1 pod of the mesh (api-1)"), "{}", finding.message);
        // Of another namespace, of other pods, or of egress alone.
        let mut elsewhere = policy("elsewhere", shut.clone());
        elsewhere.metadata.namespace = Some("other".to_owned());
        assert_eq!(check(&[elsewhere], &pods).findings, []);
        assert_eq!(found(json!({"podSelector": {"matchLabels": {"app": "api"}}})), []);
        assert_eq!(found(json!({"podSelector": {}, "policyTypes": ["Egress"], "egress": [{}]})), []);
        // A pod that is not in the mesh speaks no HBONE, nor does one that has ended; nor a gateway of another class.
        let outside = object("Pod", "outside", json!({}));
        let mut ended = pod("job-1", "web");
        ended.data = json!({"status": {"phase": "Succeeded"}});
        let labels = json!({"gateway.networking.k8s.io/gateway-name": "ingress", "gateway.networking.k8s.io/gateway-class-name": "istio"});
        let gateway = object("Pod", "ingress-1", json!({"metadata": {"labels": labels}}));
        assert_eq!(check(&[policy("only-http", shut)], &[outside, ended, gateway]).findings, []);
        // Whom nobody is to reach at all, or who is to reach nobody but DNS, is as he would be without the mesh.
        assert_eq!(found(json!({"podSelector": {}, "policyTypes": ["Ingress"]})), []);
        let dns = json!([{"ports": [{"port": 53, "protocol": "UDP"}, {"port": 53}]}]);
        assert_eq!(found(json!({"podSelector": {}, "policyTypes": ["Egress"], "egress": dns})), []);
    }

    #[test]
    fn what_lets_no_hbone_out_is_named_as_well() {
        let dns = json!([{"ports": [{"port": 53, "protocol": "UDP"}]}, {"ports": [{"port": 8080}]}]);
        for types in [json!(["Egress"]), Value::Null] {
            let spec = json!({"podSelector": {}, "policyTypes": types, "egress": dns, "ingress": [{}]});
            let [finding] = &found(spec)[..] else { panic!("{types}") };
            assert!(finding.message.starts_with("no HBONE leaves 1 pod of the mesh (web-1): "), "{}", finding.message);
        }
    }

    #[test]
    fn a_policy_that_cannot_be_read_is_named_and_hides_no_other() {
        let odd = json!({"podSelector": {"matchExpressions": [{"key": "app", "operator": "Like"}]}});
        let outcome = check(
            &[policy("odd", odd), policy("shut", json!({"podSelector": {}, "ingress": [{"ports": [{"port": 8080}]}]}))],
            &[pod("web-1", "web")],
        );
        let [unread, shut] = &outcome.findings[..] else { panic!("{outcome:?}") };
        assert!(
            unread.objects == ["NetworkPolicy shop/odd"] && unread.message.contains("spec.podSelector"),
            "{unread:?}"
        );
        assert_eq!(shut.objects, ["NetworkPolicy shop/shut"]);
    }
}
