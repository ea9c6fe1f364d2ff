//! Access log lines of the agent, plain or JSON, as Istio's ztunnel writes them.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::metrics::quoted;

/// One line of the access log: one connection that has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessLog {
    /// `info` or `error`, in lower case.
    pub level: String,
    /// The message, such as `connection complete`.
    pub message: String,
    /// The fields, such as `src.workload`.
    pub fields: BTreeMap<String, String>,
}

impl AccessLog {
    /// Reads a line; `None` if it is not of the access log.
    #[must_use]
    pub fn parse(line: &str) -> Option<Self> {
        if line.starts_with('{') { json(line) } else { plain(line) }
    }

    /// A field's value; empty if it is absent.
    #[must_use]
    pub fn field(&self, name: &str) -> &str {
        self.fields.get(name).map_or("", String::as_str)
    }

    /// True if every one of `fields` has the value given.
    #[must_use]
    pub fn has(&self, fields: &[(&str, &str)]) -> bool {
        fields.iter().all(|(name, value)| self.field(name) == *value)
    }

    /// Bytes sent by the client, as `bytes_sent`; 0 if absent.
    #[must_use]
    pub fn bytes_sent(&self) -> u64 {
        self.field("bytes_sent").parse().unwrap_or_default()
    }

    /// Bytes sent by the server, as `bytes_recv`; 0 if absent.
    #[must_use]
    pub fn bytes_received(&self) -> u64 {
        self.field("bytes_recv").parse().unwrap_or_default()
    }
}

/// `<time>\t<level>\taccess\t<message>\t<name>=<value> ...`
fn plain(line: &str) -> Option<AccessLog> {
    let mut columns = line.splitn(5, '\t');
    let (_, level, target, message) = (columns.next()?, columns.next()?, columns.next()?, columns.next()?);
    if target != "access" {
        return None;
    }
    let mut fields = BTreeMap::new();
    let mut rest = columns.next().unwrap_or_default().trim();
    while !rest.is_empty() {
        let (name, after) = rest.split_once('=')?;
        let (value, after) = match after.strip_prefix('"') {
            Some(after) => quoted(after)?,
            None => {
                let end = after.find(' ').unwrap_or(after.len());
                (after.get(..end)?.to_owned(), after.get(end..)?)
            }
        };
        fields.insert(name.to_owned(), value);
        rest = after.trim_start();
    }
    Some(AccessLog { level: level.trim().to_lowercase(), message: message.to_owned(), fields })
}

fn json(line: &str) -> Option<AccessLog> {
    let Value::Object(object) = serde_json::from_str(line).ok()? else { return None };
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let mut fields: BTreeMap<_, _> = object.iter().map(|(name, value)| (name.clone(), text(value))).collect();
    if fields.remove("scope")? != "access" {
        return None;
    }
    fields.remove("time");
    Some(AccessLog { level: fields.remove("level")?.to_lowercase(), message: fields.remove("message")?, fields })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_read_alike() {
        let plain = "2026-01-02T03:04:05.678901Z\tinfo\taccess\tconnection complete\tsrc.addr=10.244.1.10:5 \
                     src.workload=\"a b\" bytes_sent=12 error=\"x \\\"y\\\"\"";
        let json = r#"{"level":"info","time":"2026","scope":"access","message":"connection complete",
            "src.addr":"10.244.1.10:5","src.workload":"a b","bytes_sent":12,"error":"x \"y\""}"#
            .replace('\n', "");
        let line = AccessLog::parse(plain).unwrap();
        assert_eq!(Some(&line), AccessLog::parse(&json).as_ref());
        assert!(line.has(&[("src.workload", "a b"), ("error", "x \"y\"")]));
        assert_eq!((line.bytes_sent(), line.bytes_received(), line.level.as_str()), (12, 0, "info"));
        assert_eq!(AccessLog::parse("2026\tinfo\tapp\tready\t"), None);
    }
}
