//! What a connection must show for a rule to match it, as keys to look rules up by: of ten thousand rules about as many
//! clients only the few about this one are evaluated. An anchor is necessary and never sufficient.

use std::net::IpAddr;
use std::sync::Arc;

use imbl::OrdMap;

use crate::cidr::Cidr;
use crate::policy::Scope;
use crate::policy::path::PathPattern;
use crate::policy::pattern::Pattern;
use crate::policy::rule::{Attribute, Rule, Term};
use crate::policy::seen::{Seen, Told};

/// Something that a connection or request shows.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Anchor {
    /// Nothing in particular: the rule must be evaluated for all.
    Nothing,
    /// This port of what is reached.
    Port(u16),
    /// An address within this range.
    Source(Cidr),
    /// A text that is or begins so, or ends so, which is then written backwards. Stands last, with the attributes of
    /// requests and then labels last within it: see [`Shown::among`].
    Text(Attribute, Form, Arc<str>),
}

/// How a text is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Form {
    Exact,
    Prefix,
    Suffix,
}

/// The anchors of `rule`, of a policy for `scope`: it does not match who shows none of them.
pub(super) fn of(rule: &Rule, scope: &Scope) -> Vec<Anchor> {
    // Policies for pods never meet the head of a request.
    let http = matches!(scope, Scope::Targets(_));
    let conditions = rule.when.iter().filter_map(|term| of_term(term, http));
    let clauses = [&rule.from, &rule.to].into_iter().filter_map(|clauses| of_clauses(clauses, http));
    let narrowest = conditions.chain(clauses).min_by_key(|anchors| breadth(anchors));
    narrowest.unwrap_or_else(|| vec![Anchor::Nothing])
}

/// One of several clauses must hold, so that each must have an anchor.
fn of_clauses(clauses: &[Vec<Term>], http: bool) -> Option<Vec<Anchor>> {
    let of_terms = |terms: &Vec<Term>| {
        let anchors = terms.iter().filter_map(|term| of_term(term, http));
        anchors.min_by_key(|anchors| breadth(anchors))
    };
    let all: Option<Vec<_>> = clauses.iter().map(of_terms).collect();
    all.filter(|all| !all.is_empty()).map(|all| all.concat())
}

/// The values that a term asks for, if it asks for some and all of them can be looked up.
fn of_term(term: &Term, http: bool) -> Option<Vec<Anchor>> {
    let anchors: Vec<Anchor> = match term {
        Term::DestinationPort(values) => values.any.iter().copied().map(Anchor::Port).collect(),
        Term::SourceIp(values) => values.any.iter().copied().map(Anchor::Source).collect(),
        Term::Text(Attribute::Host | Attribute::Method | Attribute::Header(_), _) | Term::Path(_) if !http => {
            return None;
        }
        Term::Text(Attribute::Sni | Attribute::Token(_), _) => return None,
        Term::Text(attribute, values) => {
            values.any.iter().map(|pattern| of_pattern(attribute, pattern)).collect::<Option<_>>()?
        }
        Term::Path(values) => {
            let written = |pattern: &PathPattern| match pattern {
                PathPattern::Text(pattern) => of_pattern(&Attribute::Path, pattern),
                PathPattern::Template(template) => {
                    Some(Anchor::Text(Attribute::Path, Form::Prefix, template.beginning().into()))
                }
            };
            values.any.iter().map(written).collect::<Option<_>>()?
        }
        Term::RemoteIp(_) | Term::DestinationIp(_) | Term::Beyond(_) => return None,
    };
    (!anchors.is_empty()).then_some(anchors)
}

fn of_pattern(attribute: &Attribute, pattern: &Pattern) -> Option<Anchor> {
    let (form, text) = match pattern {
        Pattern::Exact(text) => (Form::Exact, text.clone()),
        Pattern::Prefix(text) => (Form::Prefix, text.clone()),
        Pattern::Suffix(text) => (Form::Suffix, backwards(text)),
        Pattern::Present => return None,
    };
    Some(Anchor::Text(attribute.clone(), form, text))
}

fn backwards(text: &str) -> Arc<str> {
    text.chars().rev().collect::<String>().into()
}

/// How many connections or requests are likely to show one of `anchors`, as a rank.
fn breadth(anchors: &[Anchor]) -> u8 {
    let rank = |anchor: &Anchor| match anchor {
        Anchor::Text(Attribute::Principal | Attribute::ServiceAccount, Form::Exact, _) => 0,
        Anchor::Source(range) if range.single().is_some() => 0,
        Anchor::Text(Attribute::Label(_), ..) | Anchor::Text(Attribute::Path, Form::Exact, _) => 1,
        // Every path begins with a slash.
        Anchor::Text(Attribute::Path, _, text) if &**text == "/" => 5,
        Anchor::Source(_) => 2,
        Anchor::Text(Attribute::Principal | Attribute::ServiceAccount | Attribute::Path, ..) => 2,
        Anchor::Text(Attribute::Header(_), ..) => 3,
        Anchor::Port(_) => 3,
        Anchor::Text(Attribute::Namespace | Attribute::Host, ..) => 4,
        Anchor::Text(Attribute::TrustDomain | Attribute::Method, ..) => 5,
        Anchor::Text(Attribute::Sni | Attribute::Token(_), ..) | Anchor::Nothing => 6,
    };
    anchors.iter().map(rank).max().unwrap_or_default()
}

/// What a connection or request shows.
pub(crate) struct Shown {
    anchors: Vec<Anchor>,
    /// None where it cannot be told.
    source: Option<IpAddr>,
    labels_known: bool,
    head_known: bool,
}

impl Shown {
    /// What of `seen` rules are looked up by.
    pub(crate) fn new(seen: &Seen<'_>) -> Self {
        let mut anchors = vec![Anchor::Nothing, Anchor::Port(seen.destination.port())];
        let own = [Attribute::Principal, Attribute::Namespace, Attribute::ServiceAccount, Attribute::TrustDomain];
        let head = [Attribute::Host, Attribute::Method, Attribute::Path];
        let head = head.into_iter().filter(|_| seen.has_head());
        let labels = seen.labels().map(|key| Attribute::Label(key.clone()));
        for attribute in own.into_iter().chain(head).chain(labels) {
            let Told::Texts(texts) = seen.texts(&attribute) else { continue };
            anchors.extend(texts.iter().map(|text| Anchor::Text(attribute.clone(), Form::Exact, text.clone())));
        }
        let source = seen.source.map(|address| address.to_canonical());
        Self { anchors, source, labels_known: !seen.is_unknown(), head_known: seen.has_head() }
    }

    /// The `rules` whose anchor this shows, or might if all of it could be told.
    pub(super) fn among<'a, T>(&self, rules: &'a Anchored<T>, seen: &Seen<'_>) -> Vec<&'a T> {
        let by = &rules.by_anchor;
        let mut found: Vec<&T> = self.anchors.iter().filter_map(|anchor| by.get(anchor)).collect();
        let texts = self.anchors.iter().filter_map(|anchor| match anchor {
            Anchor::Text(attribute, _, text) => Some((attribute, text)),
            Anchor::Nothing | Anchor::Port(_) | Anchor::Source(_) => None,
        });
        for (attribute, text) in texts {
            rules.parts(attribute, text, &mut found);
        }
        // Of a request's many fields only those are looked at that some rule asks for.
        for attribute in rules.fields() {
            let Told::List(list) = seen.texts(attribute) else { continue };
            for text in list.texts() {
                found.extend(by.get(&Anchor::Text(attribute.clone(), Form::Exact, text.clone())));
                rules.parts(attribute, &text, &mut found);
            }
        }
        // Labels are the last of the texts, what requests have stands before them, and texts are the last of all.
        let first = |attribute| Anchor::Text(attribute, Form::Exact, Arc::default());
        let label = first(Attribute::Label(Arc::default()));
        if !self.head_known {
            found.extend(by.range(first(Attribute::Host)..label.clone()).map(|(_, found)| found));
        }
        if !self.labels_known {
            found.extend(by.range(label..).map(|(_, found)| found));
        }
        rules.around(self.source, &mut found);
        found
    }
}

/// What stands at anchors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Anchored<T> {
    by_anchor: OrdMap<Anchor, T>,
    /// How many texts of each form there are.
    forms: OrdMap<(Attribute, Form), usize>,
}

impl<T> Default for Anchored<T> {
    fn default() -> Self {
        Self { by_anchor: OrdMap::new(), forms: OrdMap::new() }
    }
}

impl<T: Clone + Default> Anchored<T> {
    /// What stands at `anchor`, at first its default.
    pub(super) fn at(&mut self, anchor: Anchor) -> &mut T {
        if let Anchor::Text(attribute, form, _) = &anchor
            && !self.by_anchor.contains_key(&anchor)
        {
            *self.forms.entry((attribute.clone(), *form)).or_default() += 1;
        }
        self.by_anchor.entry(anchor).or_default()
    }

    /// Has what stands at `anchor` changed by `change`, which says whether it stays.
    pub(super) fn change(&mut self, anchor: &Anchor, change: impl FnOnce(&mut T) -> bool) {
        let Some(held) = self.by_anchor.get_mut(anchor) else { return };
        if change(held) {
            return;
        }
        self.by_anchor.remove(anchor);
        let Anchor::Text(attribute, form, _) = anchor else { return };
        let of = (attribute.clone(), *form);
        let Some(count) = self.forms.get_mut(&of) else { return };
        *count -= 1;
        if *count == 0 {
            self.forms.remove(&of);
        }
    }
}

impl<T> Anchored<T> {
    /// The fields that something stands at.
    fn fields(&self) -> impl Iterator<Item = &Attribute> {
        let first = (Attribute::Header(Arc::default()), Form::Exact);
        let from = self.forms.range(first..).map(|((attribute, _), _)| attribute);
        let mut last = None;
        let each = from.take_while(|attribute| matches!(attribute, Attribute::Header(_)));
        each.filter(move |attribute| last.replace(*attribute) != Some(*attribute))
    }

    /// Adds what stands at a beginning or an end of `text`.
    fn parts<'a>(&'a self, attribute: &Attribute, text: &Arc<str>, found: &mut Vec<&'a T>) {
        for form in [Form::Prefix, Form::Suffix] {
            if self.forms.contains_key(&(attribute.clone(), form)) {
                let text = if form == Form::Prefix { text.clone() } else { backwards(text) };
                beginnings(&self.by_anchor, (attribute, form), &text, found);
            }
        }
    }

    /// Adds what stands at a range around `source`, found by its length; at any, if that cannot be told.
    fn around<'a>(&'a self, source: Option<IpAddr>, found: &mut Vec<&'a T>) {
        let ranges = self.by_anchor.range(Anchor::Source(Cidr::around(IpAddr::from([0, 0, 0, 0]), 0))..);
        let mut all = ranges.map_while(|(anchor, found)| matches!(anchor, Anchor::Source(_)).then_some(found));
        match source {
            None => found.extend(all),
            Some(source) if all.next().is_some() => {
                let ranges = (0..=Cidr::host(source).length()).map(|length| Cidr::around(source, length));
                found.extend(ranges.filter_map(|range| self.by_anchor.get(&Anchor::Source(range))));
            }
            Some(_) => {}
        }
    }
}

/// Adds the `rules` that stand at a text of this form with which `text` begins, from the longest to the shortest. What is
/// looked at is bounded by what is found and where that branches off, and not by how long the text is.
fn beginnings<'a, T>(
    rules: &'a OrdMap<Anchor, T>,
    (attribute, form): (&Attribute, Form),
    text: &str,
    found: &mut Vec<&'a T>,
) {
    let mut longest = Some(text.len());
    while let Some(beginning) = longest.and_then(|longest| text.get(..longest)) {
        let probe = Anchor::Text(attribute.clone(), form, beginning.into());
        let Some((Anchor::Text(of, as_, held), rules)) = rules.get_prev(&probe) else { return };
        if of != attribute || *as_ != form {
            return;
        }
        // Whatever is shorter and still found has no more than this in common with the text.
        let shared = held.bytes().zip(beginning.bytes()).take_while(|(one, other)| one == other).count();
        let is_beginning = shared == held.len();
        if is_beginning {
            found.push(rules);
        }
        let below = if is_beginning { shared.checked_sub(1) } else { Some(shared) };
        longest = below.and_then(|below| (0..=below).rev().find(|length| text.is_char_boundary(*length)));
    }
}
