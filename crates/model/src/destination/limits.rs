//! How many connections and requests there may be, and how long they may last (Istio `ConnectionPoolSettings`).

use std::time::Duration;

use serde::Serialize;

/// The limits of what goes to one host. None is no limit, or what the system has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ConnectionPool {
    /// `tcp.maxConnections`: how many connections at once.
    pub max_connections: Option<u32>,
    /// `tcp.connectTimeout`
    pub connect_timeout: Duration,
    /// `tcp.tcpKeepalive`
    pub keepalive: Option<Keepalive>,
    /// `tcp.maxConnectionDuration`
    pub max_connection_duration: Option<Duration>,
    /// `tcp.idleTimeout`: how long a connection may carry nothing.
    pub tcp_idle_timeout: Option<Duration>,
    /// `http.http1MaxPendingRequests`: how many requests may wait for a connection.
    pub max_pending_requests: Option<u32>,
    /// `http.http2MaxRequests`: how many requests at once.
    pub max_requests: Option<u32>,
    /// `http.maxRequestsPerConnection`: after how many a connection is not used again.
    pub max_requests_per_connection: Option<u32>,
    /// `http.maxRetries`: how many retries at once.
    pub max_retries: Option<u32>,
    /// `http.idleTimeout`: how long a connection is kept without a request.
    pub http_idle_timeout: Duration,
    /// `http.h2UpgradePolicy` and `http.useClientProtocol`.
    pub upgrade: HttpUpgrade,
    /// `http.maxConcurrentStreams`: how many requests at once on one HTTP/2 connection.
    pub max_concurrent_streams: Option<u32>,
    /// `http.http2KeepAlive`
    pub ping: Option<Ping>,
}

/// An hour: how long what is idle is kept where nothing else is said.
const IDLE: Duration = Duration::from_secs(3600);

impl Default for ConnectionPool {
    fn default() -> Self {
        Self {
            max_connections: None,
            connect_timeout: Duration::from_secs(10),
            keepalive: None,
            max_connection_duration: None,
            tcp_idle_timeout: Some(IDLE),
            max_pending_requests: None,
            max_requests: None,
            max_requests_per_connection: None,
            max_retries: None,
            http_idle_timeout: IDLE,
            upgrade: HttpUpgrade::default(),
            max_concurrent_streams: None,
            ping: None,
        }
    }
}

/// Which version of HTTP endpoints are spoken to in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub enum HttpUpgrade {
    /// `DEFAULT`: what the mesh says.
    #[default]
    Mesh,
    /// `DO_NOT_UPGRADE`: what the service's port says.
    Never,
    /// `UPGRADE`: HTTP/2.
    Always,
    /// `useClientProtocol`: what the client speaks.
    AsClient,
}

/// TCP's keep-alive probes. What is not said is the system's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Keepalive {
    /// `probes`: after how many without an answer a connection is dead.
    pub probes: Option<u32>,
    /// `time`: how long a connection is idle before the first.
    pub time: Option<Duration>,
    /// `interval`: how long from one to the next.
    pub interval: Option<Duration>,
}

/// HTTP/2's PING frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Ping {
    /// `interval`: how long from one to the next.
    pub interval: Duration,
    /// `timeout`: after how long without an answer a connection is closed.
    pub timeout: Duration,
}
