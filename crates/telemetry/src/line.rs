//! One line of a log, in Istio's text form or in JSON. Pure: knows how a line looks, not what is in it or where it goes.
//!
//! Text is `time TAB level TAB scope TAB message TAB key=value key="value" ...`; JSON has `level`, `time`, `scope`,
//! `message` and then the fields (Istio ztunnel, `telemetry.rs`). Whatever the values hold, a line is one line.

use std::fmt::{self, Debug, Display, Write};
use std::time::SystemTime;

use tracing::Level;

/// How logs are written (`LOG_FORMAT`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Form {
    /// Tabs between the parts, then `key=value`.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// How exactly a time is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Precision {
    Millis,
    Micros,
}

/// A line that is being written.
pub(crate) struct Line<'a> {
    out: &'a mut String,
    form: Form,
    first: bool,
}

impl<'a> Line<'a> {
    /// Begins a line of `level` in `scope` (what tracing calls a target).
    pub(crate) fn begin(out: &'a mut String, form: Form, at: SystemTime, level: Level, scope: &str) -> Self {
        let level = name(level);
        let mut line = Self { out, form, first: true };
        match form {
            Form::Text => {
                write_time(line.out, at, Precision::Micros);
                let scope = scope.strip_prefix("ztunnel::").unwrap_or(scope);
                put(line.out, format_args!("\t{level}\t{scope}"));
            }
            Form::Json => {
                put(line.out, format_args!("{{\"level\":\"{level}\",\"time\":\""));
                write_time(line.out, at, Precision::Micros);
                line.out.push('"');
                line.first = false;
                line.quoted("scope", &scope);
            }
        }
        line
    }

    /// Begins a bare list of fields, such as a span's.
    pub(crate) fn fields(out: &'a mut String, form: Form) -> Self {
        if form == Form::Json {
            out.push('{');
        }
        Self { out, form, first: true }
    }

    /// The span `name` with its `fields` as [`Line::fields`] wrote them. In text it belongs before the message, in JSON
    /// behind the fields.
    pub(crate) fn span(&mut self, name: &str, fields: &str) {
        match self.form {
            Form::Text if fields.is_empty() => put(self.out, format_args!(":{name}")),
            Form::Text => put(self.out, format_args!(":{name}{{{fields}}}")),
            Form::Json => {
                self.key(name);
                self.out.push_str(fields);
            }
        }
    }

    /// Separates what went before from the message and the fields.
    pub(crate) fn body(&mut self) {
        if self.form == Form::Text {
            self.out.push('\t');
        }
    }

    /// The message.
    pub(crate) fn message(&mut self, message: &dyn Display) {
        match self.form {
            Form::Text => {
                put(&mut OneLine(self.out), format_args!("{message}"));
                self.out.push('\t');
            }
            Form::Json => self.quoted("message", message),
        }
    }

    /// A field whose value is quoted in both forms.
    pub(crate) fn text(&mut self, name: &str, value: &str) {
        match self.form {
            Form::Text => {
                self.key(name);
                put(self.out, format_args!("{value:?}"));
            }
            Form::Json => self.quoted(name, &value),
        }
    }

    /// A field whose value is bare in text and a string in JSON.
    pub(crate) fn shown(&mut self, name: &str, value: &dyn Display) {
        match self.form {
            Form::Text => {
                self.key(name);
                put(&mut OneLine(self.out), format_args!("{value}"));
            }
            Form::Json => self.quoted(name, value),
        }
    }

    /// A field whose value is bare in both forms: a number or a truth value.
    pub(crate) fn bare(&mut self, name: &str, value: &dyn Debug) {
        self.key(name);
        put(self.out, format_args!("{value:?}"));
    }

    /// A field that has no value: `-` in text, null in JSON.
    pub(crate) fn absent(&mut self, name: &str) {
        self.key(name);
        self.out.push_str(match self.form {
            Form::Text => "-",
            Form::Json => "null",
        });
    }

    /// Ends a line.
    pub(crate) fn end(self) {
        self.end_fields().push('\n');
    }

    /// Ends a bare list of fields.
    pub(crate) fn end_fields(self) -> &'a mut String {
        if self.form == Form::Json {
            self.out.push('}');
        }
        self.out
    }

    fn quoted(&mut self, name: &str, value: &dyn Display) {
        self.key(name);
        self.out.push('"');
        put(&mut JsonText(self.out), format_args!("{value}"));
        self.out.push('"');
    }

    fn key(&mut self, name: &str) {
        let first = std::mem::replace(&mut self.first, false);
        match self.form {
            Form::Text if first => put(self.out, format_args!("{name}=")),
            Form::Text => put(self.out, format_args!(" {name}=")),
            Form::Json if first => put(self.out, format_args!("\"{name}\":")),
            Form::Json => put(self.out, format_args!(",\"{name}\":")),
        }
    }
}

/// Writing to a String cannot fail; a `Display` that fails has said what it could.
fn put(out: &mut dyn Write, arguments: fmt::Arguments<'_>) {
    let _ = out.write_fmt(arguments);
}

/// The name of `level`.
pub(crate) fn name(level: Level) -> &'static str {
    match level {
        Level::ERROR => "error",
        Level::WARN => "warn",
        Level::INFO => "info",
        Level::DEBUG => "debug",
        Level::TRACE => "trace",
    }
}

/// RFC 3339 in UTC: `2024-04-11T15:38:42.182974Z`, or as much of it as `precision` says.
pub(crate) fn write_time(out: &mut String, at: SystemTime, precision: Precision) {
    let at = time::OffsetDateTime::from(at);
    let (year, month, day) = (at.year(), u8::from(at.month()), at.day());
    let (hour, minute, second) = (at.hour(), at.minute(), at.second());
    put(out, format_args!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}."));
    match precision {
        Precision::Millis => put(out, format_args!("{:03}Z", at.millisecond())),
        Precision::Micros => put(out, format_args!("{:06}Z", at.microsecond())),
    }
}

/// Text in which control characters are escaped, so that no value can forge a second line or field.
struct OneLine<'a>(&'a mut String);

impl Write for OneLine<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for c in text.chars() {
            if c.is_control() { self.0.extend(c.escape_default()) } else { self.0.push(c) }
        }
        Ok(())
    }
}

/// The inside of a JSON string (RFC 8259 section 7).
struct JsonText<'a>(&'a mut String);

impl Write for JsonText<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for c in text.chars() {
            match c {
                '"' => self.0.push_str("\\\""),
                '\\' => self.0.push_str("\\\\"),
                '\n' => self.0.push_str("\\n"),
                '\r' => self.0.push_str("\\r"),
                '\t' => self.0.push_str("\\t"),
                c if c < ' ' => write!(self.0, "\\u{:04x}", u32::from(c))?,
                c => self.0.push(c),
            }
        }
        Ok(())
    }
}
