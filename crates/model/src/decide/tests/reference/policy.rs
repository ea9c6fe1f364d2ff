//! A second evaluation of policies, from the feature rows F-01 to F-13 alone: texts compared as texts, no index, no
//! truth between true and false. What cannot be told is taken for true by who denies and for false by who allows.

use std::net::IpAddr;

use super::{number, plain, pod_named, pods_with, waypoint};
use crate::fixtures::World;
use crate::policy::{Action, Attribute, Denial, Mtls, PeerAuthentication, Policy, Scope, Term, Values};
use crate::{Connection, Decision, Identity, Reason, Workload};

struct Asking<'a> {
    world: &'a World,
    ip: Option<IpAddr>,
    identity: Option<Identity>,
    client: Option<&'a Workload>,
    to: (IpAddr, u16),
}

/// The denial of what `decision` would deliver here, if policy denies it.
pub(super) fn judged(world: &World, connection: &Connection, decision: &Decision) -> Option<Denial> {
    let Decision::Local(upstream) = decision else { return None };
    let pod = pod_named(world, &upstream.workload.as_ref()?.uid)?;
    let to = (upstream.address.ip(), upstream.address.port());
    let asking = match connection {
        Connection::Outbound { source, .. } => {
            let client = pod_named(world, source)?;
            let own = client.addresses.iter().map(|ip| plain((*ip, 0).into()).ip());
            let ip = own.into_iter().find(|ip| ip.is_ipv4() == to.0.is_ipv4());
            Asking { world, ip, identity: Some(client.identity.clone()), client: Some(client), to }
        }
        Connection::InboundHbone { peer, identity, .. } => {
            let ours = |domain: &crate::TrustDomain| *domain == world.mesh.trust_domains.own || is_alias(world, domain);
            let is = |pod: &&&Workload| {
                let same = pod.identity.trust_domain == identity.trust_domain;
                let both = ours(&pod.identity.trust_domain) && ours(&identity.trust_domain);
                let named = (&pod.identity.namespace, &pod.identity.service_account);
                (same || both) && named == (&identity.namespace, &identity.service_account)
            };
            let client = pods_with(world, peer.ip()).iter().find(is).copied();
            let identity = Some(identity.clone());
            Asking { world, ip: Some(plain(*peer).ip()), identity, client, to }
        }
        Connection::InboundPlaintext { peer, .. } => {
            Asking { world, ip: Some(plain(*peer).ip()), identity: None, client: None, to }
        }
    };
    //
    if matches!(connection, Connection::InboundPlaintext { by_node: true, .. }) {
        return None;
    }
    let known = asking.client.is_some();
    let unpassed = waypoint::unpassed(world, pod, upstream.address, (asking.identity.as_ref(), known));
    unpassed.or_else(|| clear_text(&asking, pod)).or_else(|| unauthorized(&asking, pod))
}

fn is_alias(world: &World, domain: &crate::TrustDomain) -> bool {
    world.mesh.trust_domains.aliases.contains(domain)
}

/// F-04, F-05.
fn clear_text(asking: &Asking<'_>, pod: &Workload) -> Option<Denial> {
    if asking.identity.is_some() {
        return None;
    }
    for level in [2, 1, 0] {
        let mut there: Vec<&PeerAuthentication> = asking
            .world
            .peers
            .iter()
            .filter(|peer| level_of(&peer.scope) == level && covers(&peer.scope, pod))
            .collect();
        there.sort_by_key(|peer| (peer.created.clone().unwrap_or_default(), peer.key.clone()));
        let Some(oldest) = there.first() else { continue };
        match oldest.ports.get(&asking.to.1).copied().or(oldest.mode) {
            None => {}
            Some(Mtls::Permissive) => return None,
            Some(Mtls::Strict) => {
                let (reason, kind) = (Reason::MtlsRequired, "PeerAuthentication");
                return Some(Denial {
                    reason,
                    kind,
                    policy: oldest.key.clone(),
                    rule: None,
                    partial: false,
                    early: false,
                });
            }
        }
    }
    None
}

fn level_of(scope: &Scope) -> usize {
    match scope {
        Scope::Mesh => 0,
        Scope::Namespace(_) => 1,
        Scope::Selector(..) => 2,
        Scope::Targets(_) => 3,
    }
}

fn covers(scope: &Scope, pod: &Workload) -> bool {
    match scope {
        Scope::Mesh => true,
        Scope::Targets(_) => false,
        Scope::Namespace(namespace) => *namespace == pod.namespace,
        Scope::Selector(None, labels) => labels.iter().all(|label| pod.labels.iter().any(|own| own == label)),
        Scope::Selector(Some(namespace), labels) => {
            *namespace == pod.namespace && covers(&Scope::Selector(None, labels.clone()), pod)
        }
    }
}

/// F-06: DENY, then ALLOW. The policy named is the first of the mesh's, the namespace's, its selectors and the mesh's.
fn unauthorized(asking: &Asking<'_>, pod: &Workload) -> Option<Denial> {
    let mut policies: Vec<&Policy> =
        asking.world.policies.iter().filter(|policy| !policy.dry_run && covers(&policy.scope, pod)).collect();
    policies.sort_by_key(|policy| {
        let wide = matches!(policy.scope, Scope::Selector(None, _));
        (level_of(&policy.scope) + usize::from(wide), policy.key.clone())
    });
    let denial = |policy: &Policy, reason, rule, partial| {
        let early = unknown(asking) && at_best_admitted(asking, &policies);
        Some(Denial { reason, kind: "AuthorizationPolicy", policy: policy.key.clone(), rule, partial, early })
    };
    for policy in policies.iter().filter(|policy| matches!(policy.action, Action::Deny | Action::Custom)) {
        for place in 0..policy.rules.len() {
            if rule_holds(asking, policy, place, [true, true]) {
                let partial = policy.action == Action::Custom || !rule_holds(asking, policy, place, [false, false]);
                return denial(policy, Reason::PolicyDenied, Some(place), partial);
            }
        }
    }
    let allows: Vec<&&Policy> = policies.iter().filter(|policy| policy.action == Action::Allow).collect();
    let first = allows.first()?;
    let any = |doubt| {
        let holds = |policy: &&&Policy| (0..policy.rules.len()).any(|place| rule_holds(asking, policy, place, doubt));
        allows.iter().any(holds)
    };
    if any([false, false]) { None } else { denial(first, Reason::NoPolicyMatched, None, any([true, true])) }
}

/// C-11: whose pod may be on its way.
fn unknown(asking: &Asking<'_>) -> bool {
    asking.identity.is_some() && asking.client.is_none()
}

/// Would one be admitted whose labels are none that a DENY asks for, and all that an ALLOW asks for?
fn at_best_admitted(asking: &Asking<'_>, policies: &[&Policy]) -> bool {
    let holds =
        |policy: &&&Policy, doubt| (0..policy.rules.len()).any(|place| rule_holds(asking, policy, place, doubt));
    let (allows, others): (Vec<&&Policy>, Vec<&&Policy>) =
        policies.iter().filter(|policy| policy.action != Action::Audit).partition(|p| p.action == Action::Allow);
    let denied = others.iter().any(|policy| holds(policy, [true, false]));
    let admitted = allows.is_empty() || allows.iter().any(|policy| holds(policy, [false, true]));
    admitted && !denied
}

/// `doubt`: whether what only HTTP shows holds, and what labels that cannot be told would.
fn rule_holds(asking: &Asking<'_>, policy: &Policy, place: usize, doubt: [bool; 2]) -> bool {
    let rule = &policy.rules[place];
    let all = |terms: &[Term]| !terms.iter().any(|term| !holds(asking, term, doubt));
    let one = |clauses: &[Vec<Term>]| clauses.is_empty() || clauses.iter().any(|terms| all(terms));
    one(&rule.from) && one(&rule.to) && all(&rule.when)
}

fn holds(asking: &Asking<'_>, term: &Term, [doubt, untold]: [bool; 2]) -> bool {
    match term {
        Term::Beyond(_) | Term::Path(_) => doubt,
        Term::Text(
            Attribute::Sni | Attribute::Host | Attribute::Method | Attribute::Header(_) | Attribute::Token(_),
            _,
        ) => doubt,
        Term::DestinationPort(values) => {
            (values.any.is_empty() || values.any.contains(&asking.to.1)) && !values.none.contains(&asking.to.1)
        }
        Term::DestinationIp(values) => in_blocks(values, asking.to.0),
        Term::SourceIp(values) | Term::RemoteIp(values) => asking.ip.map_or(doubt, |ip| in_blocks(values, ip)),
        Term::Text(attribute, values) => {
            let Some(texts) = texts(asking, attribute) else { return untold };
            let one_of = |patterns: &[crate::policy::Pattern]| {
                patterns.iter().any(|pattern| texts.iter().any(|text| is_like(&pattern.to_string(), text)))
            };
            (values.any.is_empty() || one_of(&values.any)) && !one_of(&values.none)
        }
    }
}

/// F-08.
fn is_like(pattern: &str, text: &str) -> bool {
    match pattern.find('*') {
        None => text == pattern,
        Some(0) => !text.is_empty() && text.ends_with(&pattern[1..]),
        Some(end) => text.starts_with(&pattern[..end]),
    }
}

fn in_blocks(values: &Values<crate::Cidr>, ip: IpAddr) -> bool {
    let within = |block: &crate::Cidr| {
        let text = block.to_string();
        let (network, prefix) = text.split_once('/').unwrap();
        let network: IpAddr = network.parse().unwrap();
        let skipped = if network.is_ipv4() { 96 } else { 0 };
        let bits = |ip: IpAddr| format!("{:0128b}", number(ip));
        let length = skipped + prefix.parse::<usize>().unwrap();
        network.is_ipv4() == ip.is_ipv4() && bits(network)[..length] == bits(ip)[..length]
    };
    (values.any.is_empty() || values.any.iter().any(within)) && !values.none.iter().any(within)
}

/// F-07, F-13: what the attribute is, none of it for a stranger. `None` where it cannot be told.
fn texts(asking: &Asking<'_>, attribute: &Attribute) -> Option<Vec<String>> {
    if let Attribute::Label(key) = attribute {
        return match (&asking.client, &asking.identity) {
            (Some(client), _) => Some(client.labels.get(key).map(ToString::to_string).into_iter().collect()),
            (None, Some(_)) => None,
            (None, None) => Some(vec![]),
        };
    }
    let Some(identity) = &asking.identity else { return Some(vec![]) };
    let path = identity.to_string().trim_start_matches("spiffe://").to_owned();
    Some(match attribute {
        Attribute::Principal if is_alias(asking.world, &identity.trust_domain) => {
            let rest = path.split_once('/').unwrap().1;
            vec![path.clone(), format!("{}/{rest}", asking.world.mesh.trust_domains.own)]
        }
        Attribute::Principal => vec![path],
        Attribute::Namespace => vec![path.split('/').nth(2).unwrap().to_owned()],
        Attribute::ServiceAccount => {
            let parts: Vec<&str> = path.split('/').collect();
            vec![format!("{}/{}", parts[2], parts[4])]
        }
        _ => vec![identity.trust_domain.to_string()],
    })
}
