//! Builds a document's tree from the parser's events, and bounds what it may grow to: nesting, nodes, and what aliases
//! copy.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use granit_parser::{Event, Options, Parser, ScalarStyle, Tag};

use super::Fault;
use super::node::{Node, Value};
use super::scalar::resolve;

/// How deep lists and maps may nest; Kubernetes' own kinds need about fifteen.
const MAX_DEPTH: usize = 64;
/// How many values a document may have: a List of ten thousand pods fits.
const MAX_NODES: usize = 4_000_000;
/// How much anchors and aliases may copy, by [`Node::weight`].
const MAX_COPIED: usize = 100_000;

/// The tree of the document `text`, whose first line is `first_line` of its file. An empty one is `Null`.
pub(crate) fn parse(text: &str, first_line: u32) -> Result<Node<'_>, Fault> {
    let mut builder = Builder::new(first_line);
    let mut options = Options::default();
    // Whether comments are events, and too many of them a mistake, would otherwise depend on what else is linked.
    options.set_emit_comments(false);
    for event in Parser::new_from_str_with_options(text, options) {
        match event {
            Ok((event, span)) => builder.event(event, builder.line(span.start.line()))?,
            Err(error) => return Err(Fault { line: builder.line(error.marker().line()), message: error.info() }),
        }
    }
    Ok(builder.root.unwrap_or(Node::new(first_line, Value::Null)))
}

struct Builder<'a> {
    first_line: u32,
    documents: usize,
    root: Option<Node<'a>>,
    open: Vec<Open<'a>>,
    anchors: BTreeMap<usize, Node<'a>>,
    nodes: usize,
    copied: usize,
}

/// A list or map that is not complete yet.
struct Open<'a> {
    line: u32,
    anchor: usize,
    collection: Collection<'a>,
}

enum Collection<'a> {
    List(Vec<Node<'a>>),
    Map { entries: Vec<(Cow<'a, str>, Node<'a>)>, merged: Vec<Node<'a>>, key: Option<Key<'a>> },
}

/// A map's key that waits for its value.
struct Key<'a> {
    text: Cow<'a, str>,
    line: u32,
    /// `<<` without quotes: the value's entries are taken over where the map has none of its own.
    merges: bool,
}

impl<'a> Builder<'a> {
    fn new(first_line: u32) -> Self {
        let (anchors, open) = (BTreeMap::new(), Vec::new());
        Self { first_line, documents: 0, root: None, open, anchors, nodes: 0, copied: 0 }
    }

    /// The line of the file that is `line` of the document, both from 1.
    fn line(&self, line: usize) -> u32 {
        let before = u32::try_from(line.saturating_sub(1)).unwrap_or(u32::MAX);
        self.first_line.saturating_add(before)
    }

    fn event(&mut self, event: Event<'a>, line: u32) -> Result<(), Fault> {
        match event {
            Event::DocumentStart(..) => {
                self.documents += 1;
                match self.documents {
                    1 => Ok(()),
                    _ => fault(line, "another document begins here: its --- has to begin a line of its own"),
                }
            }
            Event::Scalar(text, style, anchor, tag) => self.scalar(text, (style, tag), anchor, line),
            Event::SequenceStart(_, anchor, tag) => {
                collection_tag(tag, "seq", line)?;
                self.begin(Open { line, anchor, collection: Collection::List(Vec::new()) })
            }
            Event::MappingStart(_, anchor, tag) => {
                collection_tag(tag, "map", line)?;
                let collection = Collection::Map { entries: Vec::new(), merged: Vec::new(), key: None };
                self.begin(Open { line, anchor, collection })
            }
            Event::SequenceEnd | Event::MappingEnd => self.end(line),
            Event::Alias(anchor) => match self.anchors.get(&anchor).cloned() {
                Some(node) if self.open.len() + node.depth() > MAX_DEPTH => too_deep(line),
                Some(node) => self.copy(&node, line).and_then(|()| self.place(Node { line, ..node })),
                None => fault(line, "the alias refers to a key, or to something that contains it"),
            },
            _ => Ok(()),
        }
    }

    fn scalar(
        &mut self,
        text: Cow<'a, str>,
        (style, tag): (ScalarStyle, Option<Cow<'_, Tag>>),
        anchor: usize,
        line: u32,
    ) -> Result<(), Fault> {
        let plain = style == ScalarStyle::Plain;
        if let Some(Open { collection: Collection::Map { key: key @ None, .. }, .. }) = self.open.last_mut() {
            let merges = plain && text == "<<";
            *key = Some(Key { text, line, merges });
            return Ok(());
        }
        let value = match tag.as_deref().map(|tag| (tag, tag.core_suffix())) {
            None if plain => resolve(text),
            None | Some((_, Some("str"))) => Value::Text(text),
            Some((_, Some("int" | "float" | "bool" | "null"))) => resolve(text),
            Some((tag, _)) if tag.original() == "!" => Value::Text(text),
            Some((tag, _)) => return fault(line, format!("the tag {} is not accepted: write text", shown(tag))),
        };
        self.finish(Node::new(line, value), anchor)
    }

    fn begin(&mut self, open: Open<'a>) -> Result<(), Fault> {
        if let Some(Open { collection: Collection::Map { key: None, .. }, .. }) = self.open.last() {
            return fault(open.line, "a key has to be text, not a list or map");
        }
        if self.open.len() >= MAX_DEPTH {
            return too_deep(open.line);
        }
        self.open.push(open);
        Ok(())
    }

    fn end(&mut self, line: u32) -> Result<(), Fault> {
        let Some(Open { line, anchor, collection }) = self.open.pop() else {
            return fault(line, "a list or map ends that never began");
        };
        let value = match collection {
            Collection::List(items) => Value::List(items),
            Collection::Map { entries, merged, .. } => Value::Map(Self::complete(entries, merged)?),
        };
        self.finish(Node::new(line, value), anchor)
    }

    /// Refuses a key that stands twice, and adds what the map takes over from others.
    fn complete(
        mut entries: Vec<(Cow<'a, str>, Node<'a>)>,
        merged: Vec<Node<'a>>,
    ) -> Result<Vec<(Cow<'a, str>, Node<'a>)>, Fault> {
        let mut keys = BTreeSet::new();
        for (key, node) in &entries {
            if !keys.insert(&**key) {
                let key: String = key.chars().take(80).collect();
                return fault(node.line, format!("the key {key:?} stands here a second time"));
            }
        }
        let mut taken_over = Vec::new();
        for source in &merged {
            let Value::Map(others) = &source.value else {
                return fault(source.line, "<< takes over a map or a list of maps");
            };
            taken_over.extend(others.iter().filter(|(key, _)| keys.insert(&**key)).cloned());
        }
        entries.extend(taken_over);
        Ok(entries)
    }

    /// A node is complete: remembers it where it has an anchor, and puts it where it belongs.
    fn finish(&mut self, node: Node<'a>, anchor: usize) -> Result<(), Fault> {
        if anchor != 0 {
            self.copy(&node, node.line)?;
            self.anchors.insert(anchor, node.clone());
        }
        self.place(node)
    }

    fn copy(&mut self, node: &Node<'_>, line: u32) -> Result<(), Fault> {
        self.copied += node.weight();
        if self.copied > MAX_COPIED {
            return fault(line, "aliases copy too much: write it out");
        }
        Ok(())
    }

    fn place(&mut self, mut node: Node<'a>) -> Result<(), Fault> {
        self.nodes += 1;
        if self.nodes > MAX_NODES {
            return fault(node.line, format!("the document has more than {MAX_NODES} values: split it"));
        }
        let Some(open) = self.open.last_mut() else {
            self.root = Some(node);
            return Ok(());
        };
        match &mut open.collection {
            Collection::List(items) => items.push(node),
            Collection::Map { entries, merged, key } => {
                let Some(key) = key.take() else { return fault(node.line, "a key has to be text, not an alias") };
                node.line = key.line;
                match (key.merges, node.value) {
                    (true, Value::List(sources)) => merged.extend(sources),
                    (true, value) => merged.push(Node::new(key.line, value)),
                    (false, value) => entries.push((key.text, Node::new(key.line, value))),
                }
            }
        }
        Ok(())
    }
}

fn collection_tag(tag: Option<Cow<'_, Tag>>, kind: &str, line: u32) -> Result<(), Fault> {
    match tag {
        Some(tag) if tag.core_suffix() != Some(kind) && tag.original() != "!" => {
            fault(line, format!("the tag {} is not accepted: leave it out", shown(&tag)))
        }
        _ => Ok(()),
    }
}

fn too_deep<T>(line: u32) -> Result<T, Fault> {
    fault(line, format!("lists and maps nest deeper than {MAX_DEPTH}"))
}

fn shown(tag: &Tag) -> String {
    tag.original().chars().take(80).collect()
}

fn fault<T>(line: u32, message: impl Into<String>) -> Result<T, Fault> {
    Err(Fault { line, message: message.into() })
}

#[cfg(test)]
mod tests;
