//! How load is spread.

use std::num::NonZeroU32;
use std::sync::Arc;

use ambit_model::destination::{Balance, Cookie, HashAlgorithm, HashKey, LoadBalancer, Simple, Warmup};
use ambit_model::route::Percent;

use super::super::duration::{any, milliseconds, optional};
use super::super::written::refuse_unknown;
use super::locality::by_locality;
use crate::field::{Findings, Severity};
use crate::name;
use crate::object::destination_rule as written;

/// The largest table of Maglev's: a prime below this.
const MAGLEV_LIMIT: u32 = 5_000_011;

/// The table that Maglev usually has.
const MAGLEV_TABLE: u32 = 65_537;

/// `loadBalancer`, where endpoints that fail are passed over (`ejects`) or are not.
pub(super) fn load_balancer(
    balancer: &written::LoadBalancer,
    ejects: bool,
    path: &str,
    findings: &mut Findings,
) -> LoadBalancer {
    refuse_unknown(&balancer.unknown, path, findings);
    if balancer.zone_aware_lb_setting.is_some() {
        let message = "is not in effect in this version: write localityLbSetting";
        findings.remark(Severity::Warning, format_args!("{path}.zoneAwareLbSetting"), message);
    }
    if balancer.locality_lb_setting.is_some() && balancer.zone_aware_lb_setting.is_some() {
        findings.error(format_args!("{path}.zoneAwareLbSetting"), "stands beside localityLbSetting: write one of them");
    }
    let balance = match (&balancer.simple, &balancer.consistent_hash) {
        (Some(_), Some(_)) => {
            findings.error(format_args!("{path}.simple"), "stands beside consistentHash: write one of them");
            Balance::default()
        }
        (None, Some(hash)) => consistent_hash(hash, &format!("{path}.consistentHash"), findings),
        (simple, None) => Balance::Simple(simple_balancer(simple.as_deref(), path, findings)),
    };
    let warmup = warmup(balancer, path, findings);
    let warms = matches!(balance, Balance::Simple(Simple::LeastRequest | Simple::RoundRobin));
    if warmup.is_some() && !warms {
        let message = "has no effect but with ROUND_ROBIN and LEAST_REQUEST";
        findings.remark(Severity::Warning, format_args!("{path}.warmup"), message);
    }
    let locality = match &balancer.locality_lb_setting {
        Some(setting) => by_locality(setting, ejects, &format!("{path}.localityLbSetting"), findings),
        None => LoadBalancer::default().locality,
    };
    LoadBalancer { balance, warmup, locality }
}

fn simple_balancer(text: Option<&str>, path: &str, findings: &mut Findings) -> Simple {
    match text.unwrap_or_default() {
        "" | "UNSPECIFIED" | "LEAST_REQUEST" | "LEAST_CONN" => Simple::LeastRequest,
        "ROUND_ROBIN" => Simple::RoundRobin,
        "RANDOM" => Simple::Random,
        "PASSTHROUGH" => Simple::Passthrough,
        other => {
            let message =
                format!("{:?} is none of LEAST_REQUEST, ROUND_ROBIN, RANDOM, PASSTHROUGH", name::shortened(other));
            findings.error(format_args!("{path}.simple"), message);
            Simple::default()
        }
    }
}

fn consistent_hash(hash: &written::ConsistentHash, path: &str, findings: &mut Findings) -> Balance {
    refuse_unknown(&hash.unknown, path, findings);
    let header = hash.http_header_name.as_ref();
    let header = header.and_then(|name| findings.take(format_args!("{path}.httpHeaderName"), name::field_name(name)));
    let cookie = hash.http_cookie.as_ref().map(|one| cookie(one, &format!("{path}.httpCookie"), findings));
    let keys = [
        header.map(HashKey::Header),
        cookie.map(HashKey::Cookie),
        hash.use_source_ip.filter(|wanted| *wanted).map(|_| HashKey::SourceIp),
        hash.http_query_parameter_name.as_deref().map(|name| HashKey::Parameter(Arc::from(name))),
    ];
    let mut keys = keys.into_iter().flatten();
    let algorithm = algorithm(hash, path, findings);
    let (Some(key), None) = (keys.next(), keys.next()) else {
        let message = "takes one of httpHeaderName, httpCookie, useSourceIp, httpQueryParameterName";
        findings.error(path, message);
        return Balance::default();
    };
    Balance::Hash(key, algorithm)
}

fn algorithm(hash: &written::ConsistentHash, path: &str, findings: &mut Findings) -> HashAlgorithm {
    let said = [hash.ring_hash.is_some(), hash.maglev.is_some(), hash.minimum_ring_size.is_some()];
    if said.iter().filter(|said| **said).count() > 1 {
        findings.error(path, "says more than one of ringHash, maglev, minimumRingSize: write ringHash or maglev");
    }
    if let Some(maglev) = &hash.maglev {
        let path = format!("{path}.maglev");
        refuse_unknown(&maglev.unknown, &path, findings);
        let Some(size) = maglev.table_size.filter(|size| *size != 0) else {
            findings.error(format_args!("{path}.tableSize"), "is missing: write a prime such as 65537");
            return HashAlgorithm::Maglev(MAGLEV_TABLE);
        };
        let read = u32::try_from(size).ok().filter(|size| *size < MAGLEV_LIMIT && is_prime(*size));
        let read = read.ok_or_else(|| format!("{size} is no prime below {MAGLEV_LIMIT}: write one such as 65537"));
        let size = findings.take(format_args!("{path}.tableSize"), read);
        return HashAlgorithm::Maglev(size.unwrap_or(MAGLEV_TABLE));
    }
    if hash.minimum_ring_size.is_some() {
        let message = "is Istio's old word: write ringHash: {minimumRingSize: ...}";
        findings.remark(Severity::Warning, format_args!("{path}.minimumRingSize"), message);
    }
    let ring = hash.ring_hash.as_ref();
    if let Some(ring) = ring {
        refuse_unknown(&ring.unknown, format_args!("{path}.ringHash"), findings);
    }
    let Some(size) = ring.and_then(|ring| ring.minimum_ring_size).or(hash.minimum_ring_size) else {
        return HashAlgorithm::default();
    };
    // Envoy's ring has no more places than this, however many are asked for.
    let read = u32::try_from(size).ok().filter(|size| (1..=8 << 20).contains(size));
    let read = read.ok_or_else(|| format!("{size} is no size of a ring: 1 to {} are", 8 << 20));
    let size = findings.take(format_args!("{path}.ringHash.minimumRingSize"), read);
    size.map_or_else(HashAlgorithm::default, HashAlgorithm::Ring)
}

fn is_prime(number: u32) -> bool {
    let mut factors = (2..).take_while(|factor: &u32| factor.saturating_mul(*factor) <= number);
    number > 1 && factors.all(|factor| !number.is_multiple_of(factor))
}

fn cookie(cookie: &written::Cookie, path: &str, findings: &mut Findings) -> Cookie {
    refuse_unknown(&cookie.unknown, path, findings);
    if name::field_name(&cookie.name).is_err() {
        findings.error(format_args!("{path}.name"), "is missing, or no cookie's name: write one such as session");
    }
    let mut attributes: Vec<(Arc<str>, Option<Arc<str>>)> = Vec::with_capacity(cookie.attributes.len());
    for (place, attribute) in cookie.attributes.iter().enumerate() {
        let path = format!("{path}.attributes[{place}]");
        refuse_unknown(&attribute.unknown, &path, findings);
        if attribute.name.is_empty() || attributes.iter().any(|(known, _)| **known == *attribute.name) {
            findings.error(format_args!("{path}.name"), "is missing, or stands in the list already");
        }
        let value = (!attribute.value.is_empty()).then(|| Arc::from(attribute.value.as_str()));
        attributes.push((Arc::from(attribute.name.as_str()), value));
    }
    Cookie {
        name: Arc::from(cookie.name.as_str()),
        path: (!cookie.path.is_empty()).then(|| Arc::from(cookie.path.as_str())),
        ttl: optional(format_args!("{path}.ttl"), cookie.ttl.as_ref(), any, findings),
        attributes,
    }
}

fn warmup(balancer: &written::LoadBalancer, path: &str, findings: &mut Findings) -> Option<Warmup> {
    if balancer.warmup.is_some() && balancer.warmup_duration_secs.is_some() {
        findings.error(format_args!("{path}.warmupDurationSecs"), "stands beside warmup: remove it");
    }
    let written = written::Warmup { duration: balancer.warmup_duration_secs.clone(), ..written::Warmup::default() };
    let (warmup, path) = match (&balancer.warmup, &balancer.warmup_duration_secs) {
        (Some(warmup), _) => (warmup, format!("{path}.warmup")),
        (None, Some(_)) => (&written, format!("{path}.warmupDurationSecs")),
        (None, None) => return None,
    };
    refuse_unknown(&warmup.unknown, &path, findings);
    if warmup.duration.is_none() {
        findings.error(format_args!("{path}.duration"), "is missing: write how long endpoints are new, such as 30s");
    }
    let duration = optional(format_args!("{path}.duration"), warmup.duration.as_ref(), milliseconds, findings);
    let minimum = warmup.minimum_percent.unwrap_or(10.0);
    let minimum = Percent::new(minimum).ok_or_else(|| format!("{minimum} is no percentage: 0 to 100 are"));
    let minimum = findings.take(format_args!("{path}.minimumPercent"), minimum);
    let aggression = warmup.aggression.unwrap_or(1.0);
    let thousandths = (0.001..=1000.0).contains(&aggression).then_some(aggression * 1000.0);
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is 1 to 1,000,000")]
    let thousandths = thousandths.and_then(|thousandths| NonZeroU32::new(thousandths.round() as u32));
    let thousandths = thousandths.ok_or_else(|| format!("{aggression} is out of bounds: write 1.0, or up to 1000"));
    let aggression = findings.take(format_args!("{path}.aggression"), thousandths);
    Some(Warmup { duration: duration?, minimum: minimum?, aggression: aggression? })
}
