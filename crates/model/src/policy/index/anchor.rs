//! What a connection must show for a rule to match it, as keys to look rules up by: of ten thousand rules about as many
//! clients only the few about this one are evaluated. An anchor is necessary and never sufficient.

use std::net::IpAddr;
use std::sync::Arc;

use imbl::OrdMap;

use crate::cidr::Cidr;
use crate::policy::access::Seen;
use crate::policy::pattern::Pattern;
use crate::policy::rule::{Attribute, Rule, Term};

/// Something that a connection shows.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Anchor {
    /// Nothing in particular: the rule must be evaluated for all.
    Nothing,
    /// This port of the pod.
    Port(u16),
    /// An address within this range.
    Source(Cidr),
    /// A text that is, begins or ends so. Stands last, and labels last within it: see [`Shown::among`].
    Text(Attribute, Form, Arc<str>),
}

/// How a text is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Form {
    Exact,
    Prefix,
    Suffix,
}

/// The anchors of `rule`: it does not match who shows none of them.
pub(super) fn of(rule: &Rule) -> Vec<Anchor> {
    let conditions = rule.when.iter().filter_map(of_term);
    let clauses = [&rule.from, &rule.to].into_iter().filter_map(|clauses| of_clauses(clauses));
    let narrowest = conditions.chain(clauses).min_by_key(|anchors| breadth(anchors));
    narrowest.unwrap_or_else(|| vec![Anchor::Nothing])
}

/// One of several clauses must hold, so that each must have an anchor.
fn of_clauses(clauses: &[Vec<Term>]) -> Option<Vec<Anchor>> {
    let narrowest = |terms: &Vec<Term>| terms.iter().filter_map(of_term).min_by_key(|anchors| breadth(anchors));
    let all: Option<Vec<_>> = clauses.iter().map(narrowest).collect();
    all.filter(|all| !all.is_empty()).map(|all| all.concat())
}

/// The values that a term asks for, if it asks for some and all of them can be looked up.
fn of_term(term: &Term) -> Option<Vec<Anchor>> {
    let anchors: Vec<Anchor> = match term {
        Term::DestinationPort(values) => values.any.iter().copied().map(Anchor::Port).collect(),
        Term::SourceIp(values) => values.any.iter().copied().map(Anchor::Source).collect(),
        Term::Text(attribute, values) => {
            let written = |pattern: &Pattern| {
                let (form, text) = match pattern {
                    Pattern::Exact(text) => (Form::Exact, text),
                    Pattern::Prefix(text) => (Form::Prefix, text),
                    Pattern::Suffix(text) => (Form::Suffix, text),
                    Pattern::Present => return None,
                };
                Some(Anchor::Text(attribute.clone(), form, text.clone()))
            };
            values.any.iter().map(written).collect::<Option<_>>()?
        }
        Term::DestinationIp(_) | Term::BeyondLayer4(_) => return None,
    };
    (!anchors.is_empty()).then_some(anchors)
}

/// How many connections are likely to show one of `anchors`, as a rank.
fn breadth(anchors: &[Anchor]) -> u8 {
    let rank = |anchor: &Anchor| match anchor {
        Anchor::Text(Attribute::Principal | Attribute::ServiceAccount, Form::Exact, _) => 0,
        Anchor::Source(range) if range.single().is_some() => 0,
        Anchor::Text(Attribute::Label(_), ..) => 1,
        Anchor::Source(_) | Anchor::Text(Attribute::Principal | Attribute::ServiceAccount, ..) => 2,
        Anchor::Port(_) => 3,
        Anchor::Text(Attribute::Namespace, ..) => 4,
        Anchor::Text(Attribute::TrustDomain, ..) => 5,
        Anchor::Nothing => 6,
    };
    anchors.iter().map(rank).max().unwrap_or_default()
}

/// What a connection shows.
pub(crate) struct Shown {
    anchors: Vec<Anchor>,
    /// None where it cannot be told.
    source: Option<IpAddr>,
    labels_known: bool,
}

impl Shown {
    /// What of `seen` rules are looked up by.
    pub(crate) fn new(seen: &Seen<'_>) -> Self {
        let mut anchors = vec![Anchor::Nothing, Anchor::Port(seen.destination.port())];
        let own = [Attribute::Principal, Attribute::Namespace, Attribute::ServiceAccount, Attribute::TrustDomain];
        let labels = seen.labels().map(|key| Attribute::Label(key.clone()));
        for attribute in own.into_iter().chain(labels) {
            let texts = seen.texts(&attribute).unwrap_or_default();
            anchors.extend(texts.iter().map(|text| Anchor::Text(attribute.clone(), Form::Exact, text.clone())));
        }
        let source = seen.source.map(|address| address.to_canonical());
        Self { anchors, source, labels_known: !seen.is_unknown() }
    }

    /// The `rules` whose anchor this shows, or might if all of it could be told.
    pub(super) fn among<'a, T>(&'a self, rules: &'a OrdMap<Anchor, T>) -> impl Iterator<Item = &'a T> {
        let shown = self.anchors.iter().filter_map(|anchor| rules.get(anchor));
        // Labels are the last of the texts, and texts the last of all.
        let labels = Anchor::Text(Attribute::Label(Arc::default()), Form::Exact, Arc::default());
        let labels = (!self.labels_known).then(|| rules.range(labels..)).into_iter().flatten().map(|(_, found)| found);
        shown.chain(self.parts(rules)).chain(labels).chain(self.sources(rules))
    }

    /// Those of a beginning or an end of a text, where there are any.
    fn parts<'a, T>(&'a self, rules: &'a OrdMap<Anchor, T>) -> impl Iterator<Item = &'a T> {
        let texts = self.anchors.iter().filter_map(|anchor| match anchor {
            Anchor::Text(attribute, _, text) => Some((attribute, text)),
            Anchor::Nothing | Anchor::Port(_) | Anchor::Source(_) => None,
        });
        let forms =
            texts.flat_map(|(attribute, text)| [Form::Prefix, Form::Suffix].map(|form| (attribute, form, text)));
        let there = forms.filter(|(attribute, form, _)| {
            let first = rules.range(Anchor::Text((*attribute).clone(), *form, Arc::default())..).next();
            matches!(first, Some((Anchor::Text(of, as_, _), _)) if of == *attribute && as_ == form)
        });
        there.flat_map(move |(attribute, form, text)| {
            let cuts = text.char_indices().map(|(at, _)| at).chain([text.len()]);
            cuts.filter_map(move |at| {
                let (before, after) = text.split_at_checked(at)?;
                let part = if form == Form::Prefix { before } else { after };
                rules.get(&Anchor::Text(attribute.clone(), form, part.into()))
            })
        })
    }

    /// Those of a range around the address, found by its length.
    fn sources<'a, T>(&'a self, rules: &'a OrdMap<Anchor, T>) -> impl Iterator<Item = &'a T> {
        let all = || {
            let ranges = rules.range(Anchor::Source(Cidr::around(IpAddr::from([0, 0, 0, 0]), 0))..);
            ranges.map_while(|(anchor, found)| matches!(anchor, Anchor::Source(_)).then_some(found))
        };
        let source = self.source.filter(|_| all().next().is_some());
        let around = source.into_iter().flat_map(move |source| {
            let ranges = (0..=Cidr::host(source).length()).map(move |length| Cidr::around(source, length));
            ranges.filter_map(|range| rules.get(&Anchor::Source(range)))
        });
        around.chain(self.source.is_none().then(all).into_iter().flatten())
    }
}
