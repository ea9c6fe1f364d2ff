//! What was missing of pods' captures when the kernel was compared with what is wanted: somebody else had taken it out. Pure.

use std::collections::BTreeMap;

use ambit_ebpf_loader::Operation;
use ambit_model::WorkloadUid;

use super::status::Mended;

/// Notes in `mended` what `operations` have put back; `of` says whose network namespace has a cookie.
pub(super) fn note<'a>(
    mended: &mut BTreeMap<WorkloadUid, Mended>,
    operations: &[Operation],
    of: impl Fn(u64) -> Option<&'a WorkloadUid>,
) {
    let mut parts: BTreeMap<&WorkloadUid, Vec<String>> = BTreeMap::new();
    for operation in operations {
        if let Some((part, uid)) = part(operation).zip(of(operation.cookie())) {
            parts.entry(uid).or_default().push(part);
        }
    }
    for (uid, parts) in parts {
        let one = mended.entry(uid.clone()).or_default();
        *one = Mended { times: one.times.saturating_add(1), what: parts.join(", ") };
    }
}

/// What `operation` puts back; none if it only tidies.
fn part(operation: &Operation) -> Option<String> {
    match operation {
        Operation::Capture(..) => Some("what captures the connections that it opens".to_owned()),
        Operation::Steer(_) => Some("what steers connections to it".to_owned()),
        Operation::PutListener(_) => Some("where they are steered to".to_owned()),
        Operation::PutAddress(_, address) => Some(format!("its address {address}")),
        Operation::Release(_) | Operation::Unsteer(_) | Operation::RemoveAddress(..) | Operation::RemoveListener(_) => {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use ambit_ebpf_loader::Own;

    use super::*;

    #[test]
    fn what_is_put_back_is_told_of_its_pod_and_what_is_tidied_is_not() {
        let pods = [1, 2].map(|number| WorkloadUid::pod("Kubernetes", "shop", &format!("web-{number}")));
        let of = |cookie| match cookie {
            1 => Some(&pods[0]),
            2 => Some(&pods[1]),
            _ => None,
        };
        let mut mended = BTreeMap::new();
        let operations = [
            Operation::Capture(1, Own::default()),
            Operation::PutAddress(1, [10, 0, 0, 1].into()),
            Operation::RemoveAddress(2, [10, 0, 0, 9].into()),
            Operation::Release(3),
            Operation::Capture(3, Own::default()),
        ];
        note(&mut mended, &operations, of);
        let what = "what captures the connections that it opens, its address 10.0.0.1".to_owned();
        assert_eq!(mended, BTreeMap::from([(pods[0].clone(), Mended { times: 1, what })]));
        note(&mut mended, &[Operation::Steer(1)], of);
        assert_eq!((mended[&pods[0]].times, mended[&pods[0]].what.as_str()), (2, "what steers connections to it"));
    }
}
