//! The access log's line of a request: Istio's default format, text or JSON, and behind it what this mesh adds. Pure.
//!
//! In text the additions follow as `key=value`, so that whoever reads Istio's line reads this one; in JSON they are
//! further keys, named as in the line of a connection. Whatever a client sends, it stays within its own field.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::time::SystemTime;

use super::{SCOPE, write_client, write_server};
use crate::line::{Form, Line, Precision, name, write_time};
use crate::request::{Refusal, RequestRecord};

/// A request's record on its way to the log.
#[derive(Clone, Debug)]
pub(crate) struct Logged {
    /// When the request ended.
    pub(crate) at: SystemTime,
    /// The request.
    pub(crate) record: RequestRecord,
}

impl Logged {
    /// Appends the line to `out`.
    pub(crate) fn write(&self, out: &mut String, form: Form) {
        let fields = self.fields();
        let mut line = match form {
            Form::Text => {
                for field in fields {
                    field.write_text(out);
                    out.push(' ');
                }
                Line::fields(out, form)
            }
            Form::Json => {
                let mut line = Line::fields(out, form);
                fields.iter().for_each(|field| field.write_json(&mut line));
                line
            }
        };
        self.write_additions(&mut line);
        line.end();
    }

    /// Istio's default fields in their order (`EnvoyTextLogFormat`), with the names of its JSON.
    fn fields(&self) -> [Field<'_>; 24] {
        let RequestRecord { answer, downstream, upstream, .. } = &self.record;
        let head = self.record.head.head();
        [
            Field { name: "start_time", around: ("[", "]"), value: Value::Text(self.start().into()) },
            Field { name: "method", around: ("\"", ""), value: word(head.method) },
            Field { name: "path", around: ("", ""), value: word(head.path) },
            Field { name: "protocol", around: ("", "\""), value: text(head.protocol) },
            bare("response_code", Value::Number(answer.code.into())),
            bare("response_flags", Value::Text(answer.flags.to_string().into())),
            bare("response_code_details", text(&answer.details)),
            bare("connection_termination_details", text(&answer.termination)),
            quoted("upstream_transport_failure_reason", text(&upstream.failure)),
            bare("bytes_received", Value::Number(self.record.received)),
            bare("bytes_sent", Value::Number(self.record.sent)),
            bare("duration", Value::Number(millis(self.record.duration()))),
            // A header's value, which Istio's JSON shows as a string.
            bare("upstream_service_time", shown(upstream.took.map(|took| millis(took).to_string()))),
            quoted("x_forwarded_for", word(head.forwarded_for)),
            quoted("user_agent", word(head.user_agent)),
            quoted("request_id", word(head.request_id)),
            quoted("authority", word(head.authority)),
            quoted("upstream_host", address(upstream.host)),
            bare("upstream_cluster", text(upstream.cluster.as_deref().unwrap_or_default())),
            bare("upstream_local_address", address(upstream.local)),
            bare("downstream_local_address", address(downstream.local)),
            bare("downstream_remote_address", address(downstream.remote)),
            bare("requested_server_name", text(downstream.server_name.as_deref().unwrap_or_default())),
            bare("route_name", text(self.record.route.as_deref().unwrap_or_default())),
        ]
    }

    fn start(&self) -> String {
        let mut start = String::new();
        let at = self.at.checked_sub(self.record.duration()).unwrap_or(self.at);
        write_time(&mut start, at, Precision::Millis);
        start
    }

    fn write_additions(&self, line: &mut Line<'_>) {
        line.shown("level", &name(self.record.level()));
        line.shown("scope", &SCOPE);
        write_client(line, &self.record.ends);
        write_server(line, &self.record.ends);
        if let Some(Refusal { reason, policy }) = &self.record.answer.refusal {
            line.shown("reason", &reason.code());
            if let Some(policy) = policy {
                line.text("policy", &format!("{}/{}", policy.namespace, policy.name));
            }
        }
    }
}

/// A field of Istio's line.
struct Field<'a> {
    name: &'static str,
    /// What stands before and behind it in text.
    around: (&'static str, &'static str),
    value: Value<'a>,
}

enum Value<'a> {
    /// `-` in text, null in JSON.
    Absent,
    Number(u64),
    Text(Cow<'a, str>),
}

fn bare<'a>(name: &'static str, value: Value<'a>) -> Field<'a> {
    Field { name, around: ("", ""), value }
}

fn quoted<'a>(name: &'static str, value: Value<'a>) -> Field<'a> {
    Field { name, around: ("\"", "\""), value }
}

fn shown<'a>(text: Option<String>) -> Value<'a> {
    text.map_or(Value::Absent, |text| Value::Text(text.into()))
}

fn address<'a>(address: Option<SocketAddr>) -> Value<'a> {
    shown(address.map(|address| address.to_string()))
}

fn word(bytes: &[u8]) -> Value<'_> {
    if bytes.is_empty() { Value::Absent } else { Value::Text(String::from_utf8_lossy(bytes)) }
}

fn text(text: &str) -> Value<'_> {
    word(text.as_bytes())
}

fn millis(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl Field<'_> {
    fn write_text(&self, out: &mut String) {
        let (before, behind) = self.around;
        out.push_str(before);
        match &self.value {
            Value::Absent => out.push('-'),
            Value::Number(number) => out.push_str(&number.to_string()),
            Value::Text(text) => {
                let alone = before == "\"" && behind == "\"";
                let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._:/|?=&;,%+".contains(&b) || (b == b' ' && alone);
                if text.bytes().all(plain) {
                    out.push_str(text);
                } else {
                    text.chars().for_each(|c| escape(out, c, alone));
                }
            }
        }
        out.push_str(behind);
    }

    fn write_json(&self, line: &mut Line<'_>) {
        match &self.value {
            Value::Absent => line.absent(self.name),
            Value::Number(number) => line.bare(self.name, number),
            Value::Text(text) => line.shown(self.name, text),
        }
    }
}

/// Writes `c` so that it ends neither the line nor the field. A space stays one where quotes stand around the field
/// alone, and else becomes `_`, as Envoy writes it in `response_code_details`.
fn escape(out: &mut String, c: char, alone: bool) {
    match c {
        ' ' if alone => out.push(c),
        c if c.is_whitespace() && !alone => out.push('_'),
        '\'' => out.push(c),
        c => out.extend(c.escape_debug()),
    }
}

#[cfg(test)]
mod tests;
