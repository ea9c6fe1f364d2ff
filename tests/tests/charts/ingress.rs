//! What must hold of whatever the chart `gateway` becomes as an ingress: who finds it, where it listens, what it may.

use ambit_api::labels::DATAPLANE_MODE;
use serde_json::{Value, json};

use crate::golden;
use crate::helm::objects;
use crate::rendered::assert_without_rights;

/// What an ingress with `values` becomes, `class` added.
fn ingress(values: Value) -> Vec<Value> {
    let mut values = values;
    values["class"] = json!("ingress");
    objects("gateway", &values)
}

/// The one object of `kind`.
fn one<'a>(objects: &'a [Value], kind: &str) -> &'a Value {
    let mut of_kind = objects.iter().filter(|object| object["kind"] == kind);
    let found = of_kind.next().unwrap_or_else(|| panic!("there is no {kind}"));
    assert!(of_kind.next().is_none(), "there are several of {kind}");
    found
}

/// True if the map `all` has every entry of `some`, and there is one.
fn has(all: &Value, some: &Value) -> bool {
    let (all, some) = (all.as_object().unwrap(), some.as_object().unwrap());
    !some.is_empty() && some.iter().all(|(key, value)| all.get(key) == Some(value))
}

/// The numbers at `pointer` in every entry of `list`.
fn numbers(list: &Value, pointer: &str) -> Vec<u64> {
    list.as_array().unwrap().iter().map(|entry| entry.pointer(pointer).unwrap().as_u64().unwrap()).collect()
}

/// Values that differ in what selects the pods and in where they listen.
fn values() -> [Value; 4] {
    let ports = json!([{"name": "http", "port": 8080}, {"name": "tcp-db", "port": 5432, "targetPort": 15432}]);
    [
        json!({}),
        golden::ingress(),
        json!({"service": {"ports": ports}}),
        json!({"labels": {"istio": "edge", "app": "edge"}}),
    ]
}

#[test]
fn it_is_selected_as_the_meshs_manifests_have_it() {
    for (values, expected) in [
        (json!({"name": "istio-ingressgateway"}), json!({"app": "istio-ingressgateway", "istio": "ingressgateway"})),
        (json!({"name": "edge"}), json!({"app": "edge", "istio": "edge"})),
        (json!({"name": "edge", "labels": {"istio": "ingress"}}), json!({"app": "edge", "istio": "ingress"})),
    ] {
        let objects = ingress(values);
        assert_eq!(one(&objects, "Service")["spec"]["selector"], expected);
    }
}

#[test]
fn what_selects_its_pods_are_labels_that_they_have() {
    for values in values() {
        let objects = ingress(values.clone());
        let deployment = one(&objects, "Deployment");
        let labels = &deployment["spec"]["template"]["metadata"]["labels"];
        assert!(has(labels, &deployment["spec"]["selector"]["matchLabels"]), "{values}: {labels}");
        assert!(has(labels, &one(&objects, "Service")["spec"]["selector"]), "{values}: {labels}");
        let budgets = objects.iter().filter(|object| object["kind"] == "PodDisruptionBudget");
        for budget in budgets {
            assert!(has(labels, &budget["spec"]["selector"]["matchLabels"]), "{values}: {labels}");
        }
        assert_eq!(labels[DATAPLANE_MODE], "none", "{values}: whatever its labels say, nobody captures it");
    }
}

#[test]
fn its_service_leads_to_ports_that_its_container_has() {
    for values in values() {
        let objects = ingress(values.clone());
        let container = &one(&objects, "Deployment")["spec"]["template"]["spec"]["containers"][0];
        let own = numbers(&container["ports"], "/containerPort");
        for target in numbers(&one(&objects, "Service")["spec"]["ports"], "/targetPort") {
            assert!(own.contains(&target), "{values}: {target} is none of {own:?}");
        }
        let mut once = own.clone();
        once.sort_unstable();
        once.dedup();
        assert_eq!(once.len(), own.len(), "{values}: {own:?}");
    }
}

#[test]
fn it_has_no_rights_over_its_node() {
    assert_without_rights(&one(&ingress(json!({})), "Deployment")["spec"]["template"]["spec"]);
}

#[test]
fn a_port_that_takes_rights_is_asked_for_only_where_it_is_wanted() {
    for (port, target, expected) in [(80, 8080, Value::Null), (80, 80, json!("0")), (1024, 1024, Value::Null)] {
        let ports = json!([{"name": "http", "port": port, "targetPort": target}]);
        let objects = ingress(json!({"service": {"ports": ports}}));
        let sysctls = one(&objects, "Deployment").pointer("/spec/template/spec/securityContext/sysctls/0");
        assert_eq!(sysctls.map_or(&Value::Null, |sysctl| &sysctl["value"]), &expected, "{target}");
        if let Some(sysctl) = sysctls {
            assert_eq!(sysctl["name"], "net.ipv4.ip_unprivileged_port_start");
        }
    }
}

#[test]
fn an_account_that_is_there_is_run_as_and_not_made() {
    let objects = ingress(json!({"serviceAccount": {"create": false, "name": "theirs"}}));
    assert!(objects.iter().all(|object| object["kind"] != "ServiceAccount"));
    let pod = &one(&objects, "Deployment")["spec"]["template"]["spec"];
    assert_eq!(pod["serviceAccountName"], "theirs");
    let arguments = pod["containers"][0]["args"].as_array().unwrap();
    assert!(arguments.contains(&json!("--service-account=theirs")), "{arguments:?}");
    for binding in ["ClusterRoleBinding", "RoleBinding"] {
        assert_eq!(one(&objects, binding)["subjects"][0]["name"], "theirs");
    }
}

#[test]
fn rights_are_granted_or_not_as_told() {
    let objects = ingress(json!({"rbac": {"enabled": false}}));
    let rights = objects.iter().filter(|object| object["apiVersion"] == "rbac.authorization.k8s.io/v1");
    assert_eq!(rights.count(), 0);
    let objects = ingress(json!({}));
    assert_eq!(one(&objects, "ClusterRoleBinding")["roleRef"]["name"], "ambit-read");
    let rules = json!([{"apiGroups": [""], "resources": ["secrets"], "verbs": ["get", "list", "watch"]}]);
    assert_eq!(one(&objects, "Role")["rules"], rules);
}

#[test]
fn its_pods_are_counted_or_scaled() {
    let replicas = |objects: &[Value]| one(objects, "Deployment")["spec"].get("replicas").cloned();
    let scaled = ingress(json!({"autoscaling": {"maxReplicas": 9}}));
    let scaler = one(&scaled, "HorizontalPodAutoscaler");
    assert_eq!(replicas(&scaled), None);
    assert_eq!((&scaler["spec"]["minReplicas"], &scaler["spec"]["maxReplicas"]), (&json!(1), &json!(9)));
    let target = &scaler["spec"]["scaleTargetRef"]["name"];
    assert_eq!(*target, one(&scaled, "Deployment")["metadata"]["name"]);
    let counted = ingress(json!({"autoscaling": {"enabled": false}, "replicaCount": 4}));
    assert!(counted.iter().all(|object| object["kind"] != "HorizontalPodAutoscaler"));
    assert_eq!(replicas(&counted), Some(json!(4)));
}
