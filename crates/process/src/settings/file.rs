//! Reads a settings file into names and values. Pure; knows no setting.

use std::path::Path;

use granit_parser::{Event, Options, Parser, ScalarStyle, Span};

use crate::error::Error;

/// One setting of the file.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// Its name.
    pub(super) key: String,
    /// Its value, or its values where it is a list, as they are written.
    pub(super) values: Vec<String>,
    /// The line of its name, from 1.
    pub(super) line: usize,
}

/// The entries of the file's `text`, in its order.
pub(super) fn read(file: &Path, text: &str) -> Result<Vec<Entry>, Error> {
    let mut reading = Reading { place: Place::Outside, entries: Vec::new() };
    let wrong = |line, problem| Error::SettingsSyntax { file: file.to_owned(), line, problem };
    let mut options = Options::default();
    // Whether comments are events would otherwise depend on what else is linked.
    options.set_emit_comments(false);
    for event in Parser::new_from_str_with_options(text, options) {
        let (event, span) = event.map_err(|error| wrong(error.marker().line(), error.to_string()))?;
        reading = reading.after(&event, span).map_err(|(line, problem)| wrong(line, problem))?;
    }
    Ok(reading.entries)
}

/// What has been read so far.
struct Reading {
    place: Place,
    entries: Vec<Entry>,
}

/// Where in the file the next event belongs.
enum Place {
    /// Before the mapping.
    Outside,
    /// In the mapping, before a name.
    Name,
    /// After a name.
    Value(Entry),
    /// In a setting's list.
    List(Entry),
    /// After the mapping.
    Done,
}

impl Reading {
    fn after(mut self, event: &Event<'_>, span: Span) -> Result<Self, (usize, String)> {
        let line = span.start.line();
        let wrong = |problem: &str| Err((line, problem.to_owned()));
        self.place = match (self.place, event) {
            (place, Event::StreamStart | Event::StreamEnd | Event::DocumentEnd) => place,
            (Place::Done, Event::DocumentStart(..)) => return wrong("there is more than one document"),
            (place, Event::DocumentStart(..)) => place,
            (Place::Outside, Event::MappingStart(..)) => Place::Name,
            // A file of comments alone holds one empty document.
            (Place::Outside, Event::Scalar(text, ScalarStyle::Plain, ..)) if is_nothing(text) => Place::Done,
            (Place::Outside, _) => return wrong("this is no list of settings"),
            (Place::Name, Event::MappingEnd) => Place::Done,
            (Place::Name, Event::Scalar(name, ..)) if self.entries.iter().any(|entry| entry.key == **name) => {
                return Err((line, format!("setting `{name}` is given twice")));
            }
            (Place::Name, Event::Scalar(name, ..)) => {
                Place::Value(Entry { key: name.to_string(), values: Vec::new(), line })
            }
            (Place::Name, _) => return wrong("this is no setting's name"),
            (Place::Value(entry), Event::SequenceStart(..)) => Place::List(entry),
            (Place::List(entry), Event::SequenceEnd) => {
                self.entries.push(entry);
                Place::Name
            }
            (Place::Value(mut entry), event) => {
                entry.values.push(scalar(&entry.key, event).map_err(|problem| (line, problem))?);
                self.entries.push(entry);
                Place::Name
            }
            (Place::List(mut entry), event) => {
                entry.values.push(scalar(&entry.key, event).map_err(|problem| (line, problem))?);
                Place::List(entry)
            }
            (Place::Done, _) => return wrong("something follows the settings"),
        };
        Ok(self)
    }
}

/// A value as it is written: `1.10` stays `1.10`.
fn scalar(key: &str, event: &Event<'_>) -> Result<String, String> {
    match event {
        Event::Scalar(text, ScalarStyle::Plain, ..) if is_nothing(text) => Err(format!("setting `{key}` has no value")),
        Event::Scalar(text, ..) => Ok(text.to_string()),
        _ => Err(format!("setting `{key}` has a value that is no text, number or list of them")),
    }
}

fn is_nothing(text: &str) -> bool {
    matches!(text, "" | "~" | "null" | "Null" | "NULL")
}
