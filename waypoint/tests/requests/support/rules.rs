//! Objects of Istio for the service `reviews`, and what is to be expected of chance.

/// A VirtualService for `reviews` whose `http`, `tcp` or `tls` is `spec`.
pub(crate) fn virtual_service(spec: &str) -> String {
    of("VirtualService", "reviews", &format!("hosts: [reviews]\n{spec}"))
}

/// The subsets of `reviews`, one a version, and `none` that has no pod.
pub(crate) fn subsets() -> String {
    destination_rule("reviews", "{}")
}

/// The same with a traffic policy, for `host`.
pub(crate) fn destination_rule(host: &str, policy: &str) -> String {
    let subset = |version: &str| format!("{{name: {version}, labels: {{version: {version}}}}}");
    let subsets = ["v1", "v2", "v3", "none"].map(subset).join(", ");
    // One that says nothing is refused.
    let policy = if policy == "{}" { String::new() } else { format!("trafficPolicy: {policy}") };
    of("DestinationRule", host, &format!("host: {host}\nsubsets: [{subsets}]\n{policy}"))
}

fn of(kind: &str, name: &str, spec: &str) -> String {
    let spec = spec.replace('\n', "\n  ");
    format!(
        "
---
apiVersion: networking.istio.io/v1
kind: {kind}
metadata: {{name: {name}, namespace: shop}}
spec:
  {spec}
"
    )
}

/// Asserts that `count` of `all` is what a share of `percent` gives, within five standard deviations.
pub(crate) fn near(count: usize, all: usize, percent: f64) {
    let all = f64::from(u32::try_from(all).unwrap());
    let count = f64::from(u32::try_from(count).unwrap());
    let share = percent / 100.0;
    let spread = 5.0 * (all * share * (1.0 - share)).sqrt();
    assert!((count - all * share).abs() <= spread, "{count} of {all} are not {percent} %");
}
