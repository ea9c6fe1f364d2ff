//! Who called whom, from the access logs of both agents, held against their metrics.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use ambit_tests::{AccessLog, Mesh};
use anyhow::ensure;
use serde::Serialize;

const OPENED: &str = "istio_tcp_connections_opened_total";
const SOURCE: [(&str, &str); 1] = [("reporter", "source")];

/// Every call, as the agents of the callers saw it.
#[derive(Debug, Serialize)]
pub(crate) struct Calls {
    /// A row for each pair of pods and each way between them.
    pub(crate) rows: Vec<Call>,
    /// Connections in the access logs.
    pub(crate) logged: u64,
    /// Connections in the metrics.
    pub(crate) metered: u64,
    /// Connections that ended with an error.
    pub(crate) failed: u64,
}

/// The connections of one pod to another.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Call {
    pub(crate) caller: String,
    pub(crate) caller_identity: String,
    pub(crate) from_node: String,
    pub(crate) called: String,
    pub(crate) called_identity: String,
    pub(crate) to_node: String,
    pub(crate) service: String,
    /// True if the connections were carried by HBONE; false if one agent stood at both ends.
    pub(crate) is_hbone: bool,
    pub(crate) connections: u64,
    pub(crate) bytes_sent: u64,
    pub(crate) bytes_received: u64,
}

impl Calls {
    /// How many connections there are in the rows that `which` holds for.
    pub(crate) fn connections(&self, which: impl Fn(&Call) -> bool) -> u64 {
        self.rows.iter().filter(|call| which(call)).map(|call| call.connections).sum()
    }
}

/// Gathers the calls once every connection that was opened has been logged.
pub(crate) fn gather(mesh: &Mesh) -> anyhow::Result<Calls> {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let metered = count_metered(mesh)?;
        let lines: Vec<_> = mesh.agents().map(|agent| (agent.node().to_owned(), agent.access_log())).collect();
        let outbound = |line: &&AccessLog| line.field("direction") == "outbound";
        let logged: usize = lines.iter().map(|(_, lines)| lines.iter().filter(outbound).count()).sum();
        let logged = u64::try_from(logged)?;
        if logged >= metered {
            let failed = lines.iter().flat_map(|(_, lines)| lines).filter(|line| line.level == "error").count();
            return Ok(Calls { rows: rows(&lines), logged, metered, failed: u64::try_from(failed)? });
        }
        ensure!(Instant::now() < deadline, "{metered} connections were opened, {logged} are in the access logs");
        // The log is written off the hot path, shortly after the connection.
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "counts of a demo, as metrics carry them")]
fn count_metered(mesh: &Mesh) -> anyhow::Result<u64> {
    let mut opened = 0.0;
    for agent in mesh.agents() {
        opened += agent.metrics()?.sum(OPENED, &SOURCE);
    }
    Ok(opened as u64)
}

fn rows(logs: &[(String, Vec<AccessLog>)]) -> Vec<Call> {
    // The agent that reports a connection as inbound is that of the pod called.
    let inbound = |line: &&AccessLog| line.field("direction") == "inbound";
    let to_node: BTreeMap<_, _> = logs
        .iter()
        .flat_map(|(node, lines)| lines.iter().filter(inbound).map(move |line| (line.field("dst.workload"), node)))
        .collect();
    let mut rows = BTreeMap::new();
    for (node, line) in logs.iter().flat_map(|(node, lines)| lines.iter().map(move |line| (node, line))) {
        if line.field("direction") != "outbound" {
            continue;
        }
        let field = |name: &str| line.field(name).to_owned();
        let is_hbone = !line.field("dst.hbone_addr").is_empty();
        let key = (field("src.workload"), field("dst.workload"), field("dst.service"), is_hbone);
        let call: &mut Call = rows.entry(key).or_default();
        call.caller = field("src.workload");
        call.caller_identity = field("src.identity");
        call.from_node.clone_from(node);
        call.called = field("dst.workload");
        call.called_identity = field("dst.identity");
        call.to_node = to_node.get(line.field("dst.workload")).map_or_else(String::new, |node| (*node).clone());
        call.service = field("dst.service");
        call.is_hbone = is_hbone;
        call.connections += 1;
        call.bytes_sent += line.bytes_sent();
        call.bytes_received += line.bytes_received();
    }
    rows.into_values().collect()
}
