//! The process's own log: turns a tracing event into a line and hands it to the queue. Knows no filter and no file.

use std::fmt::Debug;
use std::time::SystemTime;

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Subscriber};
use tracing_log::NormalizeEvent;
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

use crate::line::{Form, Line};
use crate::queue::{Item, Queue};

/// Writes events, with the spans around them, as lines.
pub(crate) struct Lines {
    pub(crate) queue: Queue,
    pub(crate) form: Form,
}

/// A span's fields, formatted when the span opened.
struct SpanFields(String);

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Lines {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        let mut text = String::new();
        let mut fields = Fields { line: Line::fields(&mut text, self.form) };
        attributes.record(&mut fields);
        fields.line.end_fields();
        span.extensions_mut().insert(SpanFields(text));
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        // Values recorded late replace the others: the two lists cannot be joined without parsing the first.
        let Some(span) = context.span(id) else { return };
        let mut text = String::new();
        let mut fields = Fields { line: Line::fields(&mut text, self.form) };
        values.record(&mut fields);
        fields.line.end_fields();
        span.extensions_mut().replace(SpanFields(text));
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        // Events that came through the `log` crate carry their true target in their fields.
        let normalized = event.normalized_metadata();
        let metadata = normalized.as_ref().unwrap_or_else(|| event.metadata());
        let mut text = String::with_capacity(256);
        let line = Line::begin(&mut text, self.form, SystemTime::now(), *metadata.level(), metadata.target());
        let mut fields = Fields { line };
        let spans = |line: &mut Line<'_>| {
            for span in context.event_scope(event).into_iter().flat_map(|scope| scope.from_root()) {
                let extensions = span.extensions();
                line.span(span.name(), extensions.get::<SpanFields>().map_or("", |fields| &fields.0));
            }
        };
        if self.form == Form::Text {
            spans(&mut fields.line);
        }
        fields.line.body();
        event.record(&mut fields);
        if self.form == Form::Json {
            spans(&mut fields.line);
        }
        fields.line.end();
        self.queue.offer(Item::Line(text));
    }
}

struct Fields<'a> {
    line: Line<'a>,
}

impl Visit for Fields<'_> {
    fn record_bool(&mut self, field: &Field, value: bool) {
        self.line.bare(field.name(), &value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.line.bare(field.name(), &value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.line.bare(field.name(), &value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        // JSON has no infinities.
        if value.is_finite() { self.line.bare(field.name(), &value) } else { self.line.shown(field.name(), &value) }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "message" => self.line.message(&value),
            name if name.starts_with("log.") => {}
            name => self.line.text(name, value),
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        match field.name() {
            "message" => self.line.message(&format_args!("{value:?}")),
            name if name.starts_with("log.") => {}
            name => self.line.shown(name, &format_args!("{value:?}")),
        }
    }
}
