//! Rules that nothing comes to, since others stand before them that take it (Istio's `VirtualServiceUnreachableRule` and
//! `VirtualServiceIneffectiveMatch`). What is said is sure: of two expressions it is not known which takes more.

use ambit_model::route::{HttpMatch, StreamMatch, Text, VirtualService};

use crate::field::{Findings, Severity};

/// So many blocks of a list are compared with one another.
const COMPARED: usize = 512;

/// Remarks on each of the rules of `service`, and each of their matches, that is never reached.
pub(super) fn remark(service: &VirtualService, findings: &mut Findings) {
    let http: Vec<Vec<Block<'_>>> =
        service.http.iter().map(|route| route.matches.iter().map(Block::of).collect()).collect();
    of_list("http", &http, &Block::of(&HttpMatch::default()), Block::covers, findings);
    for (list, routes) in [("tls", &service.tls), ("tcp", &service.tcp)] {
        let blocks: Vec<&[StreamMatch]> = routes.iter().map(|route| &route.matches[..]).collect();
        let all = StreamMatch::default();
        of_list(list, &blocks, &all, |before, block| *before == all || before == block, findings);
    }
}

/// A block of a list: the place of its rule and its own, none for a rule that takes everything without one.
type Place = (usize, Option<usize>);

/// Those of `rules`, each by its blocks of which one is enough, where `covers` says whether the first takes all that is
/// the second's; `all` takes everything.
fn of_list<B>(
    list: &str,
    rules: &[impl AsRef<[B]>],
    all: &B,
    covers: impl Fn(&B, &B) -> bool,
    findings: &mut Findings,
) {
    let mut before: Vec<(Place, &B)> = Vec::new();
    for (rule, blocks) in rules.iter().enumerate() {
        let own: Vec<(Place, &B)> = match blocks.as_ref() {
            [] => vec![((rule, None), all)],
            blocks => blocks.iter().enumerate().map(|(place, block)| ((rule, Some(place)), block)).collect(),
        };
        let taken: Vec<(Place, Place)> = own
            .iter()
            .filter_map(|(place, block)| {
                let first = before.iter().find(|(_, known)| covers(known, block))?;
                Some((*place, first.0))
            })
            .collect();
        if let (Some((_, first)), true) = (taken.first(), taken.len() == own.len()) {
            let (_, taker) = before.iter().find(|(place, _)| place == first).copied().unwrap_or((*first, all));
            let message = if covers(taker, all) {
                format!("is never reached: spec.{list}[{}] takes everything", first.0)
            } else {
                format!("is never reached: {} takes what it is for", written(list, *first))
            };
            findings.remark(Severity::Warning, format_args!("spec.{list}[{rule}]"), message);
        } else {
            for (place, first) in taken {
                let message = format!("is never reached: {} takes what it is for", written(list, first));
                findings.remark(Severity::Warning, written(list, place), message);
            }
        }
        let room = COMPARED.saturating_sub(before.len());
        before.extend(own.into_iter().take(room));
    }
}

fn written(list: &str, (rule, block): Place) -> String {
    match block {
        Some(block) => format!("spec.{list}[{rule}].match[{block}]"),
        None => format!("spec.{list}[{rule}]"),
    }
}

/// A block of an HTTP rule as it is compared with hundreds of others.
struct Block<'a> {
    uri: Option<&'a Text>,
    ignore_uri_case: bool,
    takes_any_path: bool,
    /// What it asks besides, and whether that is nothing.
    rest: HttpMatch,
    asks_nothing_else: bool,
}

impl<'a> Block<'a> {
    fn of(block: &'a HttpMatch) -> Self {
        let takes_any_path = match &block.uri {
            None | Some(Text::Present) => true,
            Some(Text::Prefix(prefix)) => matches!(&**prefix, "" | "/"),
            _ => false,
        };
        let rest = HttpMatch { name: None, uri: None, ignore_uri_case: false, ..block.clone() };
        let asks_nothing_else = rest == HttpMatch::default();
        let (uri, ignore_uri_case) = (block.uri.as_ref(), block.ignore_uri_case);
        Self { uri, ignore_uri_case, takes_any_path, rest, asks_nothing_else }
    }

    /// True if every request that is `other`'s is this one's.
    fn covers(&self, other: &Self) -> bool {
        let paths =
            self.takes_any_path || (self.ignore_uri_case == other.ignore_uri_case && takes_path(self.uri, other.uri));
        paths && (self.asks_nothing_else || self.rest == other.rest)
    }
}

fn takes_path(before: Option<&Text>, uri: Option<&Text>) -> bool {
    match (before, uri) {
        (Some(Text::Prefix(prefix)), Some(Text::Prefix(text) | Text::Exact(text))) => text.starts_with(&**prefix),
        (before, uri) => before == uri,
    }
}
