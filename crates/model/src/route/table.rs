//! The routes of one VirtualService, arranged so that a request is compared with few of them: the first that matches is
//! found by path (of an expression by what it begins with), and then by one exact value, before conditions are looked
//! at. Says the same as a walk from the first to the last; what shares all of that is walked.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use super::Fields;
use super::request::Request;
use super::text::Text;
use super::virtual_service::{Gateway, HttpMatch, HttpRoute};

/// Routes in order, to be looked up.
#[derive(Clone, Debug, Default)]
pub(super) struct Table {
    gateways: Vec<Gateway>,
    routes: Vec<Arc<HttpRoute>>,
    blocks: Vec<Block>,
    as_written: Paths,
    any_case: Paths,
    pathless: Bucket,
}

/// A block of `match`, or a route that has none. Blocks are numbered in the order in which they count.
#[derive(Clone, Copy, Debug)]
struct Block {
    route: usize,
    block: Option<usize>,
}

impl Table {
    /// The table of `routes`, which apply at `gateways` but for what a match says.
    pub(super) fn new(gateways: &[Gateway], routes: Vec<Arc<HttpRoute>>) -> Self {
        let mut table = Self { gateways: gateways.to_vec(), ..Self::default() };
        for (route, rule) in routes.iter().enumerate() {
            if rule.matches.is_empty() {
                table.file(None, Block { route, block: None });
            }
            for (block, matched) in rule.matches.iter().enumerate() {
                table.file(Some(matched), Block { route, block: Some(block) });
            }
        }
        table.routes = routes;
        table.as_written.arrange();
        table.any_case.arrange();
        table
    }

    /// The first route that `request` matches, and by which of its blocks.
    pub(super) fn find<F: Fields + ?Sized>(
        &self,
        request: &Request<'_, F>,
    ) -> Option<(&Arc<HttpRoute>, Option<&HttpMatch>)> {
        let mut first = Search { table: self, request, best: usize::MAX };
        let path = request.bare_path();
        self.pathless.visit(&mut first);
        self.as_written.visit(path, &mut first);
        if !self.any_case.is_empty() {
            self.any_case.visit(&path.to_ascii_lowercase(), &mut first);
        }
        self.block(first.best)
    }

    fn block(&self, number: usize) -> Option<(&Arc<HttpRoute>, Option<&HttpMatch>)> {
        let block = self.blocks.get(number)?;
        let route = self.routes.get(block.route)?;
        Some((route, block.block.and_then(|block| route.matches.get(block))))
    }

    fn file(&mut self, matched: Option<&HttpMatch>, block: Block) {
        let number = self.blocks.len();
        self.blocks.push(block);
        let uri = matched.and_then(|matched| matched.uri.as_ref());
        let any_case = matched.is_some_and(|matched| matched.ignore_uri_case);
        let fold = |text: &Arc<str>| if any_case { Arc::from(text.to_ascii_lowercase()) } else { text.clone() };
        let paths = if any_case { &mut self.any_case } else { &mut self.as_written };
        let bucket = match uri {
            Some(Text::Exact(path)) => paths.exact.entry(fold(path)).or_default(),
            Some(Text::Prefix(prefix)) => paths.prefixes.entry(fold(prefix)).or_default(),
            // The case of these, and of what an expression begins with, is never ignored.
            Some(Text::Elements(prefix)) => self.as_written.prefixes.entry(prefix.clone()).or_default(),
            Some(Text::Regex(regex)) => self.as_written.prefixes.entry(Arc::from(regex.prefix())).or_default(),
            None | Some(Text::Present) => &mut self.pathless,
        };
        bucket.file(matched, number);
    }
}

/// The search for the first block that matches.
struct Search<'a, 'r, F: ?Sized> {
    table: &'a Table,
    request: &'a Request<'r, F>,
    best: usize,
}

impl<F: Fields + ?Sized> Search<'_, '_, F> {
    /// Looks through `numbers`, ascending, as far as they come before what is found already.
    fn among(&mut self, numbers: &[usize]) {
        for number in numbers.iter().copied().take_while(|number| *number < self.best) {
            let Some((_, matched)) = self.table.block(number) else { return };
            let gateways = &self.table.gateways;
            let holds = match matched {
                Some(matched) => matched.matches(gateways, self.request),
                None => gateways.contains(self.request.arrival.gateway),
            };
            if holds {
                self.best = number;
                return;
            }
        }
    }
}

/// Blocks by their path.
#[derive(Clone, Debug, Default)]
struct Paths {
    exact: HashMap<Arc<str>, Bucket>,
    prefixes: HashMap<Arc<str>, Bucket>,
    /// The prefixes, ascending, each with the longest other one that it begins with.
    order: Vec<(Arc<str>, Option<usize>)>,
}

impl Paths {
    fn is_empty(&self) -> bool {
        self.exact.is_empty() && self.prefixes.is_empty()
    }

    fn arrange(&mut self) {
        let mut sorted: Vec<Arc<str>> = self.prefixes.keys().cloned().collect();
        sorted.sort_unstable();
        let mut open: Vec<usize> = Vec::new();
        self.order = Vec::with_capacity(sorted.len());
        for prefix in sorted {
            let begins = |order: &[(Arc<str>, Option<usize>)], place: usize| {
                order.get(place).is_some_and(|(shorter, _)| prefix.starts_with(&**shorter))
            };
            while open.last().is_some_and(|place| !begins(&self.order, *place)) {
                open.pop();
            }
            self.order.push((prefix, open.last().copied()));
            open.push(self.order.len().saturating_sub(1));
        }
    }

    fn visit<F: Fields + ?Sized>(&self, path: &str, search: &mut Search<'_, '_, F>) {
        if let Some(bucket) = self.exact.get(path) {
            bucket.visit(search);
        }
        // Whatever `path` begins with is the last prefix that does not sort behind it, or one that this begins with.
        let mut place = self.order.partition_point(|(prefix, _)| **prefix <= *path).checked_sub(1);
        while let Some((prefix, shorter)) = place.and_then(|place| self.order.get(place)) {
            if let Some(bucket) = self.prefixes.get(prefix).filter(|_| path.starts_with(&**prefix)) {
                bucket.visit(search);
            }
            place = *shorter;
        }
    }
}

/// Blocks by a value that a request must have exactly.
type ByValue = HashMap<Arc<str>, Vec<usize>>;

/// Blocks that share their path, by one value that must be just so.
#[derive(Clone, Debug, Default)]
struct Bucket {
    /// Those that ask for no such value.
    others: Vec<usize>,
    by_value: Vec<(Subject, ByValue)>,
}

/// What a request can be asked to have exactly.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Subject {
    Header(Arc<str>),
    Parameter(Arc<str>),
    Authority,
    Method,
}

impl Bucket {
    fn file(&mut self, matched: Option<&HttpMatch>, number: usize) {
        let Some((subject, value)) = matched.and_then(exact_value) else { return self.others.push(number) };
        let place = self.by_value.iter().position(|(known, _)| *known == subject).unwrap_or(self.by_value.len());
        if place == self.by_value.len() {
            self.by_value.push((subject, ByValue::new()));
        }
        if let Some((_, numbers)) = self.by_value.get_mut(place) {
            numbers.entry(value).or_default().push(number);
        }
    }

    fn visit<F: Fields + ?Sized>(&self, search: &mut Search<'_, '_, F>) {
        search.among(&self.others);
        for (subject, numbers) in &self.by_value {
            let request = *search.request;
            let value = match subject {
                Subject::Header(name) => super::request::field(request.fields, name),
                Subject::Parameter(name) => request.parameter(name).map(|value| Cow::Borrowed(value.as_bytes())),
                Subject::Authority => Some(Cow::Borrowed(request.authority.as_bytes())),
                Subject::Method => Some(Cow::Borrowed(request.method.as_bytes())),
            };
            let value = value.as_deref().and_then(|value| std::str::from_utf8(value).ok());
            if let Some(numbers) = value.and_then(|value| numbers.get(value)) {
                search.among(numbers);
            }
        }
    }
}

/// A value that `matched` asks for exactly: of several the one that tells most requests apart, as a rule.
fn exact_value(matched: &HttpMatch) -> Option<(Subject, Arc<str>)> {
    let header =
        || matched.headers.iter().find_map(|(name, text)| Some((Subject::Header(name.clone()), text.exact()?)));
    let parameter =
        || matched.parameters.iter().find_map(|(name, text)| Some((Subject::Parameter(name.clone()), text.exact()?)));
    let authority = || Some((Subject::Authority, matched.authority.as_ref()?.exact()?));
    let method = || Some((Subject::Method, matched.method.as_ref()?.exact()?));
    let (subject, value) = header().or_else(parameter).or_else(authority).or_else(method)?;
    Some((subject, value.clone()))
}
