//! Whether there are pods with the labels that Gateways select. It is counted, so that a change of a pod costs as much as there
//! are different selectors, and nothing where there is none.

use std::collections::BTreeMap;

use ambit_model::Snapshot;

use super::namespace::Labels;

/// The selectors of Gateways, and each of their labels by itself.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Selections(BTreeMap<Labels, Counts>);

#[derive(Debug, Default, PartialEq)]
struct Counts {
    /// The selectors that are this, or have it.
    asking: usize,
    /// The pods that have it.
    pods: usize,
}

impl Selections {
    /// Counts the pods of `snapshot` for `selector` from now on.
    pub(super) fn add(&mut self, selector: &Labels, snapshot: &Snapshot) {
        for part in parts(selector) {
            let counts = self.0.entry(part.clone()).or_insert_with(|| {
                let pods = snapshot.workloads().filter(|pod| has(&pod.labels, &part)).count();
                Counts { asking: 0, pods }
            });
            counts.asking += 1;
        }
    }

    /// Takes back what [`Self::add`] did once.
    pub(super) fn remove(&mut self, selector: &Labels) {
        for part in parts(selector) {
            let Some(counts) = self.0.get_mut(&part) else { continue };
            counts.asking = counts.asking.saturating_sub(1);
            if counts.asking == 0 {
                self.0.remove(&part);
            }
        }
    }

    /// Says that a pod had the labels `before`, if it was there, and has `after`, if it is. True if there are pods now for what
    /// there were none, or none any more for what there were.
    pub(super) fn change(&mut self, before: Option<&Labels>, after: Option<&Labels>) -> bool {
        let mut turned = false;
        for (part, counts) in &mut self.0 {
            let had = before.is_some_and(|labels| has(labels, part));
            let has = after.is_some_and(|labels| has(labels, part));
            let was = counts.pods;
            counts.pods = (was + usize::from(has)).saturating_sub(usize::from(had));
            turned |= (was == 0) != (counts.pods == 0);
        }
        turned
    }

    /// The labels of `selector` that no pod has, or all of them if each has its pods and no pod has all; none if one has.
    pub(super) fn missing(&self, selector: &Labels) -> Option<Labels> {
        let nobody = |part: &Labels| self.0.get(part).is_some_and(|counts| counts.pods == 0);
        if !nobody(selector) {
            return None;
        }
        let missing: Labels = singles(selector).filter(nobody).flatten().collect();
        Some(if missing.is_empty() { selector.clone() } else { missing })
    }
}

/// True if `labels` are all of `part`.
fn has(labels: &Labels, part: &Labels) -> bool {
    part.iter().all(|(key, value)| labels.get(key) == Some(value))
}

/// What is counted for `selector`; nothing for an empty one, which selects what there always is.
fn parts(selector: &Labels) -> impl Iterator<Item = Labels> {
    let whole = (selector.len() > 1).then(|| selector.clone());
    whole.into_iter().chain(singles(selector))
}

/// Each of the labels by itself.
fn singles(selector: &Labels) -> impl Iterator<Item = Labels> {
    selector.iter().map(|(key, value)| BTreeMap::from([(key.clone(), value.clone())]))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn labels(text: &str) -> Labels {
        let pair = |pair: &str| pair.split_once('=').map(|(key, value)| (Arc::from(key), Arc::from(value)));
        text.split_whitespace().filter_map(pair).collect()
    }

    #[test]
    fn pods_come_and_go_and_what_nobody_has_is_named() {
        let (mut selections, nobody) = (Selections::default(), Snapshot::default());
        let (pair, single, none) = (labels("app=gateway istio=ingress"), labels("istio=ingress"), labels(""));
        [&pair, &single, &none].into_iter().for_each(|selector| selections.add(selector, &nobody));
        let missing = |selections: &Selections| [&pair, &single, &none].map(|selector| selections.missing(selector));
        assert_eq!(missing(&selections), [Some(pair.clone()), Some(single.clone()), None]);
        for (before, after, turned, of_pair, of_single) in [
            (None, Some("app=web"), false, Some("app=gateway istio=ingress"), Some("istio=ingress")),
            (None, Some("app=gateway x=y"), true, Some("istio=ingress"), Some("istio=ingress")),
            (None, Some("istio=ingress"), true, Some("app=gateway istio=ingress"), None),
            (Some("istio=ingress"), Some("istio=ingress app=gateway"), true, None, None),
            (None, Some("istio=ingress app=gateway"), false, None, None),
            (Some("istio=ingress app=gateway"), None, false, None, None),
            (
                Some("istio=ingress app=gateway"),
                Some("app=gateway"),
                true,
                Some("istio=ingress"),
                Some("istio=ingress"),
            ),
        ] {
            let (before, after) = (before.map(labels), after.map(labels));
            assert_eq!(selections.change(before.as_ref(), after.as_ref()), turned, "{before:?} {after:?}");
            assert_eq!(
                missing(&selections),
                [of_pair.map(labels), of_single.map(labels), None],
                "{before:?} {after:?}"
            );
        }
        [&pair, &single, &none].into_iter().for_each(|selector| selections.remove(selector));
        assert_eq!(selections, Selections::default());
    }

    #[test]
    fn a_selector_that_several_have_is_counted_until_the_last_one_goes() {
        let (mut selections, nobody, one) = (Selections::default(), Snapshot::default(), labels("a=b"));
        selections.add(&one, &nobody);
        selections.add(&one, &nobody);
        selections.remove(&one);
        assert!(selections.change(None, Some(&one)) && selections.missing(&one).is_none());
        selections.remove(&one);
        assert!(!selections.change(Some(&one), None));
    }
}
