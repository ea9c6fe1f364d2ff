//! What the demo prints: a table of the calls, what the capture saw, and whether it all held.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use ambit_tests::wire::Report;
use serde::Serialize;

use super::calls::{Call, Calls};
use super::cast::Cast;
use super::stage::VISITOR;
use super::{DIRECTORY, NAME};

/// Everything that the demo found out.
#[derive(Debug, Serialize)]
pub(crate) struct Shown {
    /// True if every check holds.
    pub(crate) held: bool,
    pub(crate) pages: u32,
    pub(crate) seconds: f64,
    /// How many pages each version of reviews has answered.
    pub(crate) versions: BTreeMap<String, u32>,
    pub(crate) calls: Calls,
    pub(crate) checks: Vec<Check>,
    /// What crossed the link in one request without the mesh.
    pub(crate) before: Report,
    /// What crossed the link with the mesh.
    pub(crate) wire: Report,
}

/// Something that must hold.
#[derive(Debug, Serialize)]
pub(crate) struct Check {
    pub(crate) what: &'static str,
    pub(crate) held: bool,
    pub(crate) seen: String,
}

impl Check {
    pub(crate) fn new(what: &'static str, held: bool, seen: impl FnOnce() -> String) -> Self {
        Self { what, held, seen: seen() }
    }
}

/// The table.
pub(crate) fn table(shown: &Shown) -> String {
    let mut rows = vec![["CALLER", "AS", "CALLED", "AS", "OVER", "CONNECTIONS", "SENT", "RECEIVED"].map(str::to_owned)];
    let prefix = common_prefix(&shown.calls.rows);
    for call in &shown.calls.rows {
        let short = |identity: &str| identity.strip_prefix(&prefix).unwrap_or(identity).to_owned();
        rows.push([
            call.caller.clone(),
            short(&call.caller_identity),
            call.called.clone(),
            short(&call.called_identity),
            over(call),
            call.connections.to_string(),
            size(call.bytes_sent),
            size(call.bytes_received),
        ]);
    }
    let mut text = format!("\nBookinfo on two nodes: {} pages in {:.1} s\n\n", shown.pages, shown.seconds);
    text.push_str(&columns(&rows));
    if !prefix.is_empty() {
        let _ = writeln!(text, "\n  identities begin with {prefix}");
    }
    text.push_str(&link(shown));
    text.push('\n');
    for check in &shown.checks {
        let _ = writeln!(text, "  {} {} ({})", if check.held { "ok  " } else { "FAIL" }, check.what, check.seen);
    }
    text
}

/// How a person looks at what was left running.
pub(crate) fn how_to_look(cast: &Cast) -> String {
    let page = cast.service("productpage").map_or_else(|_| String::new(), |address| address.to_string());
    let enter = |netns: &str| format!("nsenter --net=/run/netns/{NAME}-{netns}");
    format!(
        "
Left running. A pod is a network namespace and a cgroup; to be captured, a process has to be in both:
  in a pod:      {visitor} sh -c 'echo $$ > {cgroup}/cgroup.procs; exec sh'
  then there:    curl -s http://{page}/productpage     (or: {testapp} fetch --to {page} --path /productpage)
  agent's view:  {node} curl -s http://127.0.0.1:15000/config_dump     (also /connections, /pods, /certificates)
  metrics:       {node} curl -s http://127.0.0.1:15020/metrics
  access log:    tail -f {DIRECTORY}/logs/node-a.ztunnel.log
  manifests:     {DIRECTORY}/config: edit them and watch, for example the label istio.io/dataplane-mode
  remove it:     cargo xtask demo --down
",
        visitor = enter(VISITOR),
        node = enter("node-a"),
        testapp = crate::build::root().join("target/debug/testapp").display(),
        cgroup = ambit_tests::place::cgroup_root().map_or_else(
            |_| String::new(),
            |root| root.join(NAME).join("node-b/pods").join(VISITOR).display().to_string()
        ),
    )
}

fn over(call: &Call) -> String {
    if call.is_hbone {
        format!("HBONE mTLS, {} to {}", call.from_node, call.to_node)
    } else if call.from_node == call.to_node {
        format!("direct, within {}", call.from_node)
    } else {
        format!("in clear, {} to {}", call.from_node, call.to_node)
    }
}

fn link(shown: &Shown) -> String {
    let (before, wire) = (&shown.before, &shown.wire);
    let mut text = String::from("\n  captured on the link between the nodes\n");
    let ports = |report: &Report| report.ports().iter().map(u16::to_string).collect::<Vec<_>>().join(", ");
    let rows = [
        ["", "FRAMES", "BYTES", "TCP PORTS", "TLS RECORDS", "CLEAR TEXT"].map(str::to_owned),
        [
            "one request without the mesh".to_owned(),
            before.frames.to_string(),
            size(before.bytes),
            ports(before),
            before.records().to_string(),
            format!("seen {} times", before.marker_hits()),
        ],
        [
            "everything with the mesh".to_owned(),
            wire.frames.to_string(),
            size(wire.bytes),
            ports(wire),
            wire.records().to_string(),
            if wire.marker_hits() == 0 { "never".to_owned() } else { format!("seen {} times", wire.marker_hits()) },
        ],
    ];
    text.push_str(&columns(&rows));
    text
}

/// What the identities in the table have in common, up to a slash.
fn common_prefix(rows: &[Call]) -> String {
    let mut identities = rows.iter().flat_map(|call| [&call.caller_identity, &call.called_identity]);
    let Some(first) = identities.next() else { return String::new() };
    let common = identities.fold(first.as_str(), |common, identity| {
        let length = common.bytes().zip(identity.bytes()).take_while(|(a, b)| a == b).count();
        common.get(..length).unwrap_or_default()
    });
    common.rfind('/').and_then(|end| common.get(..=end)).unwrap_or_default().to_owned()
}

/// Rows as text, each column as wide as its widest cell.
pub(crate) fn columns<const N: usize>(rows: &[[String; N]]) -> String {
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<_> = (0..N).map(|column| width(column).unwrap_or_default()).collect();
    let mut text = String::new();
    for row in rows {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        let line = cells.collect::<Vec<_>>().join("  ");
        // Writing to a String cannot fail.
        let _ = writeln!(text, "  {}", line.trim_end());
    }
    text
}

/// Bytes as a person reads them.
fn size(bytes: u64) -> String {
    #[allow(clippy::cast_precision_loss, reason = "shown with one decimal")]
    let scaled = |unit: u64| bytes as f64 / unit as f64;
    match bytes {
        0..1024 => format!("{bytes} B"),
        1024..1_048_576 => format!("{:.1} KiB", scaled(1024)),
        _ => format!("{:.1} MiB", scaled(1_048_576)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_sizes_read_well() {
        let rows = [["a", "bb"], ["ccc", "d"]].map(|row| row.map(str::to_owned));
        assert_eq!(columns(&rows), "  a    bb\n  ccc  d\n");
        assert_eq!([size(1023), size(1536), size(3 << 20)], ["1023 B", "1.5 KiB", "3.0 MiB"]);
    }

    #[test]
    fn the_common_prefix_ends_at_a_slash() {
        let call = |caller: &str, called: &str| Call {
            caller_identity: caller.to_owned(),
            called_identity: called.to_owned(),
            ..Call::default()
        };
        assert_eq!(
            common_prefix(&[call("x://t/sa/ab", "x://t/sa/ac"), call("x://t/sa/b", "x://t/sa/ab")]),
            "x://t/sa/"
        );
        assert_eq!(common_prefix(&[]), "");
    }
}
