//! What a capture showed, and whether it is what a mesh may show.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use anyhow::ensure;
use serde::Serialize;

/// What a capture showed.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Frames captured.
    pub frames: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Each direction of each TCP connection.
    pub flows: Vec<Flow>,
    /// Each marker, with how often it was seen in clear.
    pub markers: Vec<MarkerHits>,
    /// Frames that are not TCP, by protocol.
    pub other: BTreeMap<String, u64>,
}

/// One direction of a TCP connection.
#[derive(Clone, Debug, Serialize)]
pub struct Flow {
    /// Who sent.
    pub from: SocketAddr,
    /// To whom.
    pub to: SocketAddr,
    /// The port that was dialled when the connection was made.
    pub server_port: u16,
    /// Bytes of payload, each counted once.
    pub bytes: u64,
    /// Bytes that the capture missed.
    pub missing: u64,
    /// True if the capture saw the connection begin.
    pub from_start: bool,
    /// TLS records (port 15008 only).
    pub records: u64,
    /// TLS records of application data (port 15008 only).
    pub application_data: u64,
    /// What was no TLS record (port 15008 only).
    pub violation: Option<String>,
}

/// How often a marker was seen in clear, and where.
#[derive(Clone, Debug, Serialize)]
pub struct MarkerHits {
    /// The marker.
    pub marker: String,
    /// How often.
    pub hits: u64,
    /// In which directions of which connections, or in which protocol.
    pub seen: Vec<String>,
}

impl Report {
    /// The ports dialled by connections that carried payload.
    #[must_use]
    pub fn ports(&self) -> BTreeSet<u16> {
        self.flows.iter().filter(|flow| flow.bytes > 0).map(|flow| flow.server_port).collect()
    }

    /// How often any marker was seen.
    #[must_use]
    pub fn marker_hits(&self) -> u64 {
        self.markers.iter().map(|marker| marker.hits).sum()
    }

    /// Connections dialled to port 15008.
    #[must_use]
    pub fn tunnels(&self) -> usize {
        self.flows.iter().filter(|flow| flow.server_port == 15008 && flow.to.port() == 15008).count()
    }

    /// TLS records seen.
    #[must_use]
    pub fn records(&self) -> u64 {
        self.flows.iter().map(|flow| flow.records).sum()
    }

    /// Holds if TLS on port 15008 is all that crossed the link: no marker, no other port, no byte that is not in a TLS
    /// record, and the capture missed nothing and saw something.
    ///
    /// # Errors
    /// When that is not so; the message says what crossed it.
    pub fn only_hbone(&self) -> anyhow::Result<()> {
        self.no_clear_text()?;
        let application_data: u64 = self.flows.iter().map(|flow| flow.application_data).sum();
        ensure!(application_data > 0, "no TLS application data was captured: nothing is proved by that");
        Ok(())
    }

    /// As [`Report::only_hbone`], but a link on which nothing moved will do.
    ///
    /// # Errors
    /// As [`Report::only_hbone`].
    pub fn no_clear_text(&self) -> anyhow::Result<()> {
        for marker in &self.markers {
            ensure!(marker.hits == 0, "{:?} crossed the link in clear: {:?}", marker.marker, marker.seen);
        }
        for flow in self.flows.iter().filter(|flow| flow.bytes > 0 || flow.missing > 0) {
            let name = format!("{} -> {}", flow.from, flow.to);
            ensure!(flow.server_port == 15008, "{name} carried {} bytes outside HBONE", flow.bytes);
            ensure!(flow.missing == 0, "{name}: the capture missed {} bytes and proves nothing", flow.missing);
            ensure!(flow.from_start, "{name} was open before the capture, which cannot follow its records");
            ensure!(flow.violation.is_none(), "{name}: {}", flow.violation.as_deref().unwrap_or_default());
        }
        for protocol in self.other.keys() {
            ensure!(matches!(protocol.as_str(), "ARP" | "ICMP"), "{protocol} crossed the link");
        }
        Ok(())
    }
}
