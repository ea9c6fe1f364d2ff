//! How load keeps to places.

use std::collections::BTreeMap;
use std::sync::Arc;

use ambit_model::destination::{ByLocality, Distribute, FailoverLabel, Place};

use super::super::written::refuse_unknown;
use crate::field::{Findings, Severity};
use crate::labels;
use crate::name;
use crate::object::destination_rule as written;

/// The labels of places, of which the order is known.
const PLACES: [&str; 3] = [labels::REGION, labels::ZONE, labels::SUBZONE];

/// None if it is disabled. Endpoints that fail are passed over (`ejects`), or are not.
pub(super) fn by_locality(
    setting: &written::LocalityLbSetting,
    ejects: bool,
    path: &str,
    findings: &mut Findings,
) -> Option<ByLocality> {
    refuse_unknown(&setting.unknown, path, findings);
    let fails_over = !setting.failover.is_empty() || !setting.failover_priority.is_empty();
    if fails_over && !setting.distribute.is_empty() {
        let message = "stands beside failover or failoverPriority: write one of them";
        findings.error(format_args!("{path}.distribute"), message);
    }
    if fails_over && !ejects {
        let message = "stands without outlierDetection: only where no endpoint is ready does load move on";
        findings.remark(Severity::Warning, path, message);
    }
    for (place, label) in setting.failover_priority.iter().enumerate() {
        if !setting.failover.is_empty() && PLACES.contains(&label.as_str()) {
            let message = "is a place, of which failover says what comes next: remove one of them";
            findings.error(format_args!("{path}.failoverPriority[{place}]"), message);
        }
    }
    let by = ByLocality {
        distribute: distribute(&setting.distribute, path, findings),
        failover: failover(&setting.failover, path, findings),
        failover_priority: failover_priority(&setting.failover_priority, path, findings),
    };
    setting.enabled.unwrap_or(true).then_some(by)
}

fn distribute(all: &[written::LocalityDistribute], path: &str, findings: &mut Findings) -> Vec<Distribute> {
    let mut read: Vec<Distribute> = Vec::with_capacity(all.len());
    for (index, one) in all.iter().enumerate() {
        let path = format!("{path}.distribute[{index}]");
        refuse_unknown(&one.unknown, &path, findings);
        let from = findings.take(format_args!("{path}.from"), place(&one.from));
        if from.as_ref().is_some_and(|from| read.iter().any(|known| known.from.overlaps(from))) {
            findings.error(format_args!("{path}.from"), "overlaps another of the list: make them disjoint");
        }
        let to = shares(&one.to, &format!("{path}.to"), findings);
        read.extend(from.map(|from| Distribute { from, to }));
    }
    read
}

fn shares(to: &BTreeMap<String, i64>, path: &str, findings: &mut Findings) -> Vec<(Place, u32)> {
    let mut shares: Vec<(Place, u32)> = Vec::with_capacity(to.len());
    for (text, weight) in to {
        let path = format!("{path}[{text}]");
        let place = findings.take(&path, place(text));
        let weight = u32::try_from(*weight).ok().filter(|weight| (1..=100).contains(weight));
        let weight = findings.take(&path, weight.ok_or_else(|| "is no share: 1 to 100 are".to_owned()));
        let Some((place, weight)) = place.zip(weight) else { continue };
        if shares.iter().any(|(known, _)| known.overlaps(&place)) {
            findings.error(&path, "overlaps another of the list: make them disjoint");
        }
        shares.push((place, weight));
    }
    let sum: i128 = to.values().map(|weight| i128::from(*weight)).sum();
    if sum != 100 {
        findings.error(path, format!("has shares of {sum} together: make them 100"));
    }
    shares
}

/// A place, as `distribute` writes it: what comes after a `*` is any.
fn place(text: &str) -> Result<Place, String> {
    let wrong = || {
        let quoted = name::shortened(text);
        format!("{quoted:?} is no locality: write region/zone/subzone, with * at the end for any")
    };
    let mut parts: Vec<&str> = text.split('/').collect();
    if parts.last() == Some(&"*") {
        parts.pop();
    }
    if parts.len() > 3 || text.is_empty() || parts.iter().any(|part| part.is_empty() || part.contains('*')) {
        return Err(wrong());
    }
    let mut parts = parts.into_iter().map(Arc::from);
    Ok(Place { region: parts.next(), zone: parts.next(), subzone: parts.next() })
}

fn failover(all: &[written::LocalityFailover], path: &str, findings: &mut Findings) -> BTreeMap<Arc<str>, Arc<str>> {
    let mut read = BTreeMap::new();
    for (index, one) in all.iter().enumerate() {
        let path = format!("{path}.failover[{index}]");
        refuse_unknown(&one.unknown, &path, findings);
        for (field, region) in [("from", &one.from), ("to", &one.to)] {
            if region.is_empty() || region.contains(['/', '*']) {
                findings.error(format_args!("{path}.{field}"), "is no region: write one, without zone and *");
            }
        }
        if one.from == one.to {
            findings.error(format_args!("{path}.to"), "is where it comes from: write another region");
        }
        if read.insert(Arc::from(one.from.as_str()), Arc::from(one.to.as_str())).is_some() {
            findings.error(format_args!("{path}.from"), "stands in the list already");
        }
    }
    read
}

fn failover_priority(all: &[String], path: &str, findings: &mut Findings) -> Vec<FailoverLabel> {
    let mut read: Vec<FailoverLabel> = Vec::with_capacity(all.len());
    for (index, one) in all.iter().enumerate() {
        let path = format!("{path}.failoverPriority[{index}]");
        let (key, value) = one.split_once('=').map_or((one.as_str(), None), |(key, value)| (key, Some(value)));
        findings.take(&path, name::label_key(key).and_then(|()| value.map_or(Ok(()), name::label_value)));
        if read.iter().any(|known| *known.key == *key) {
            findings.error(&path, "stands in the list already");
        }
        read.push(FailoverLabel { key: Arc::from(key), value: value.map(Arc::from) });
    }
    read
}
