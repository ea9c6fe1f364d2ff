//! What a verb shows, in the form that was asked for: a table for people, JSON and YAML for programs.

use std::io::IsTerminal;

use clap::ValueEnum;
use serde_json::Value;

use crate::error::Error;
use crate::table::{Screen, Table};

/// In what form something is shown (`-o`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// A table. Istio's name for it, `short`, means the same.
    #[default]
    #[value(alias = "short")]
    Table,
    /// JSON, indented.
    Json,
    /// YAML.
    Yaml,
}

/// What a verb has found: as a table, and whole.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct View {
    /// What is printed where there are no rows.
    pub(crate) empty: &'static str,
    /// The rows; their number.
    pub(crate) table: Table,
    /// What programs are given.
    pub(crate) whole: Value,
}

impl View {
    /// As text for `screen`.
    ///
    /// # Errors
    /// Where it cannot be written in this form.
    pub(crate) fn text(&self, format: Format, screen: Screen) -> Result<String, Error> {
        match format {
            Format::Table if self.table.is_empty() => Ok(format!("{}\n", self.empty)),
            Format::Table => Ok(self.table.text(screen)),
            Format::Json | Format::Yaml => written(&self.whole, format),
        }
    }
}

/// `value` as JSON or YAML.
///
/// # Errors
/// Where it cannot be written so.
pub(crate) fn written(value: &Value, format: Format) -> Result<String, Error> {
    match format {
        Format::Yaml => serde_saphyr::to_string(value).map_err(|error| Error::Unwritable(error.to_string())),
        Format::Table | Format::Json => {
            let text = serde_json::to_string_pretty(value).map_err(|error| Error::Unwritable(error.to_string()))?;
            Ok(text + "\n")
        }
    }
}

/// What stdout can show: a terminal its own width and, unless `plain`, colours; anything else all of it.
pub(crate) fn screen(plain: bool) -> Screen {
    if !std::io::stdout().is_terminal() {
        return Screen::default();
    }
    let width = terminal_size::terminal_size().map(|(width, _)| usize::from(width.0));
    Screen { width, colours: !plain }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn text_that_yaml_would_take_for_something_else_stays_text() {
        let value = json!({
            "labels": {"enabled": "true", "number": "15", "none": "null", "empty": "", "odd": "a: b #c", "yes": "no"},
            "list": [{"port": 15008, "name": "mesh"}, "-", "~", "0x1f", "2026-11-22"],
            "lines": "one\ntwo\n",
            "on": [],
        });
        let text = written(&value, Format::Yaml).unwrap();
        assert_eq!(ambit_discovery::read_yaml(&text).as_ref(), Ok(&value), "{text}");
        assert_eq!(written(&json!([]), Format::Json).unwrap(), "[]\n");
    }

    #[test]
    fn without_rows_people_are_told_so_and_programs_are_not() {
        let view = View { empty: "There is nothing.", table: Table::new(&[]), whole: json!([]) };
        let text = |format| view.text(format, Screen::default()).unwrap();
        assert_eq!((text(Format::Table).as_str(), text(Format::Json).as_str()), ("There is nothing.\n", "[]\n"));
    }
}
