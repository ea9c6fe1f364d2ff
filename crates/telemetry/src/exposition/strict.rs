//! A strict reader of the page: what OpenMetrics demands, and `promtool check metrics`. Answers every fault it finds.

use std::collections::{BTreeMap, BTreeSet};

type Labels = Vec<(String, String)>;

/// A histogram of which some lines were read.
struct Read {
    /// The last bucket's upper bound and count.
    bound: f64,
    below: f64,
    /// What `_count` says.
    count: Option<f64>,
}

impl Default for Read {
    fn default() -> Self {
        Self { bound: f64::NEG_INFINITY, below: 0.0, count: None }
    }
}

struct Sample<'a> {
    /// What follows the family's name.
    ending: &'a str,
    labels: Labels,
    value: f64,
}

/// The faults of `page`.
pub(crate) fn faults(page: &str) -> Vec<String> {
    let mut faults = Vec::new();
    let Some(lines) = page.strip_suffix("# EOF\n") else { return vec!["no # EOF at its end".to_owned()] };
    let mut known = BTreeSet::new();
    let mut family: Option<Family<'_>> = None;
    let mut help: Option<(&str, &str)> = None;
    for line in lines.lines() {
        let fault = if let Some(rest) = line.strip_prefix("# HELP ") {
            faults.extend(family.take().and_then(Family::end));
            help = rest.split_once(' ');
            help.is_none().then_some("HELP without a text")
        } else if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' ')) {
            family = Some(Family::new(name, kind));
            let helped = help.take().is_some_and(|(of, text)| of == name && text.ends_with('.') && text.len() > 8);
            match () {
                () if !helped => Some("TYPE without a HELP that tells something before it"),
                () if !known.insert(name) => Some("a family twice"),
                () if !is_name(name) => Some("not a name"),
                () if name.ends_with("_total") => Some("a name with the ending of a sample"),
                () => None,
            }
        } else if let Some(family) = &mut family {
            family.sample(line)
        } else {
            Some("a sample of no family")
        };
        faults.extend(fault.map(|fault| format!("{fault}: {line}")));
    }
    faults.extend(family.and_then(Family::end));
    faults
}

fn is_name(name: &str) -> bool {
    let first = name.starts_with(|c: char| c.is_ascii_lowercase());
    first && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}

struct Family<'a> {
    name: &'a str,
    kind: &'a str,
    seen: BTreeSet<(String, Labels)>,
    /// By the labels but `le`.
    histograms: BTreeMap<Labels, Read>,
}

impl<'a> Family<'a> {
    fn new(name: &'a str, kind: &'a str) -> Self {
        Self { name, kind, seen: BTreeSet::new(), histograms: BTreeMap::new() }
    }

    fn sample(&mut self, line: &str) -> Option<&'static str> {
        let Some(Sample { ending, mut labels, value }) = parts(line, self.name) else {
            return Some("not a sample of its family");
        };
        let names: BTreeSet<_> = labels.iter().map(|(name, _)| name).collect();
        if names.len() < labels.len() || !names.iter().all(|name| is_name(name)) {
            return Some("labels twice or badly named");
        }
        let sound = match (self.kind, ending) {
            ("counter", "_total") | ("histogram", "_sum") => value >= 0.0,
            ("gauge", "") => true,
            ("histogram", "_count") => {
                self.histograms.entry(labels.clone()).or_default().count = Some(value);
                true
            }
            ("histogram", "_bucket") => self.bucket(&labels, value),
            _ => return Some("an ending that its type has not"),
        };
        labels.sort();
        match sound {
            false => Some("a value that cannot be"),
            true if !self.seen.insert((ending.to_owned(), labels)) => Some("a sample twice"),
            true => None,
        }
    }

    fn bucket(&mut self, labels: &[(String, String)], value: f64) -> bool {
        let (bounds, others): (Vec<_>, Vec<_>) = labels.iter().cloned().partition(|(name, _)| name == "le");
        let Some(bound) = bounds.first().and_then(|(_, bound)| bound.parse::<f64>().ok()) else { return false };
        let read = self.histograms.entry(others).or_default();
        let grows = bound > read.bound && value >= read.below;
        (read.bound, read.below) = (bound, value);
        grows
    }

    fn end(self) -> Option<String> {
        let whole = |read: &Read| read.bound == f64::INFINITY && Some(read.below) == read.count;
        let fault = match () {
            () if self.seen.is_empty() => "no samples",
            () if !self.histograms.values().all(whole) => "buckets without their end or their count",
            () => return None,
        };
        Some(format!("{fault}: {}", self.name))
    }
}

fn parts<'a>(line: &'a str, family: &str) -> Option<Sample<'a>> {
    let rest = line.strip_prefix(family)?;
    let (ending, mut rest) = rest.split_at(rest.find(['{', ' '])?);
    let mut labels = Vec::new();
    while let Some(inner) = rest.strip_prefix(['{', ',']) {
        let (name, quoted) = inner.split_once("=\"")?;
        let mut value = String::new();
        let mut chars = quoted.char_indices();
        let end = loop {
            match chars.next()? {
                (_, '\\') => match chars.next()?.1 {
                    'n' => value.push('\n'),
                    c @ ('"' | '\\') => value.push(c),
                    _ => return None,
                },
                (at, '"') => break at,
                (_, c) => value.push(c),
            }
        };
        labels.push((name.to_owned(), value));
        rest = quoted.get(end + 1..)?;
    }
    let rest = if labels.is_empty() { rest } else { rest.strip_prefix('}')? };
    Some(Sample { ending, labels, value: rest.strip_prefix(' ')?.parse().ok()? })
}

#[test]
fn every_kind_of_fault_is_found() {
    let head = "# HELP a Things counted.\n# TYPE a";
    let found = |lines: &str| faults(&format!("{head} {lines}\n# EOF\n"));
    let histogram = |counts: [u32; 3]| {
        let [one, all, count] = counts;
        format!("histogram\na_sum 1.5\na_count {count}\na_bucket{{le=\"1.0\"}} {one}\na_bucket{{le=\"+Inf\"}} {all}")
    };
    assert_eq!(found("counter\na_total 1\na_total{b=\"\\\"}\\n\",c=\"\"} 2"), Vec::<String>::new());
    assert_eq!(found(&histogram([1, 2, 2])), Vec::<String>::new());
    let (ending, foreign, twice) = ("an ending that its type has not", "not a sample of its family", "a sample twice");
    for (fault, bad) in [
        (ending, "counter\na 1"),
        (ending, "gauge\na_total 1"),
        (foreign, "counter\nb_total 1"),
        (foreign, "counter\na_total x"),
        (foreign, "counter\na_total{b=\"1\"2\"} 1"),
        (foreign, "counter\na_total{b=\"1\""),
        ("a value that cannot be", "counter\na_total -1"),
        ("a value that cannot be", &histogram([3, 2, 2])),
        (twice, "counter\na_total 1\na_total 2"),
        (twice, "counter\na_total{b=\"1\",c=\"\"} 1\na_total{c=\"\",b=\"1\"} 1"),
        ("labels twice or badly named", "counter\na_total{b=\"1\",b=\"2\"} 1"),
        ("labels twice or badly named", "counter\na_total{B=\"1\"} 1"),
        ("no samples", "gauge"),
        ("TYPE without a HELP", "gauge\na 1\n# TYPE b gauge\nb 1"),
        ("TYPE without a HELP", "gauge\na 1\n# HELP c Things counted.\n# TYPE b gauge\nb 1"),
        ("a family twice", "gauge\na 1\n# HELP a Things counted.\n# TYPE a gauge\na 1"),
        ("not a name", "gauge\na 1\n# HELP B Things counted.\n# TYPE B gauge\nB 1"),
        ("a name with the ending", "gauge\na 1\n# HELP b_total Things counted.\n# TYPE b_total gauge\nb_total 1"),
        ("buckets without", "histogram\na_sum 1.0\na_count 1\na_bucket{le=\"1.0\"} 1"),
        ("buckets without", &histogram([1, 2, 3])),
    ] {
        let found = found(bad);
        assert!(found.first().is_some_and(|found| found.starts_with(fault)), "{fault} in {bad}: {found:?}");
    }
    assert_eq!(faults("a_total 1\n"), ["no # EOF at its end"]);
    assert_eq!(faults("a_total 1\n# EOF\n"), ["a sample of no family: a_total 1"]);
}
