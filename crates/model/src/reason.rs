//! Why a connection was refused or closed: a stable code that is the metric label, the log field and the name of a
//! page under docs/reasons.

use std::fmt;

use serde::{Serialize, Serializer};

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $flag:ident, $status:literal, $text:literal;)+) => {
        /// Why a connection was refused or closed.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Reason { $($(#[$doc])* $name,)+ }

        impl Reason {
            /// Every reason, in the order of the documentation.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// The stable code, such as `no-healthy-upstream`.
            #[must_use]
            pub const fn code(self) -> &'static str {
                match self { $(Self::$name => $code,)+ }
            }

            /// The reason of this code, if there is one.
            #[must_use]
            pub fn from_code(code: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|reason| reason.code() == code)
            }

            /// The flag that Istio's ztunnel would put into `response_flags`.
            #[must_use]
            pub const fn flag(self) -> Flag {
                match self { $(Self::$name => Flag::$flag,)+ }
            }

            /// The status with which a CONNECT is refused for this reason (features.md E-03: 400, 401, 503).
            #[must_use]
            pub const fn status(self) -> u16 {
                match self { $(Self::$name => $status,)+ }
            }

            /// One sentence for the log, with the remedy where there is one.
            #[must_use]
            pub const fn text(self) -> &'static str {
                match self { $(Self::$name => $text,)+ }
            }
        }
    };
}

reasons! {
    /// No endpoint of the service port takes new connections.
    NoHealthyUpstream = "no-healthy-upstream", Connect, 503,
        "no healthy upstream: the service has no ready endpoint on this port";
    /// The waypoint by which the destination is reached cannot serve.
    WaypointUnavailable = "waypoint-unavailable", Connect, 503,
        "the destination is reached by a waypoint that is missing, serves other namespaces or has no ready pod: check \
         the label istio.io/use-waypoint and the Gateway that it names";
    /// The service has no such port.
    NoSuchServicePort = "no-such-service-port", Connect, 503,
        "the service has no such port: add it to spec.ports of the Service";
    /// The pod is not (yet) in the snapshot.
    UnknownWorkload = "unknown-workload", Connect, 503,
        "the pod is not known to the mesh yet";
    /// The mesh has no address for the name that a SOCKS5 request asks for.
    UnknownHost = "unknown-host", Connect, 503,
        "the mesh does not know the host: name a Service or a ServiceEntry, or resolve the name before asking";
    /// The connection would come back to the proxy itself.
    RecursiveCall = "recursive-call", Connect, 400,
        "attempted recursive call to ourselves: ports 15001, 15006, 15008, 15053 and 15080 belong to the mesh";
    /// The CONNECT's authority is neither an address of the pod nor a service that it serves.
    AuthorityMismatch = "authority-mismatch", Connect, 400,
        "ip mismatch: the authority asked for is not this pod's";
    /// The request was not a CONNECT, or its authority or headers could not be read.
    BadRequest = "bad-request", Connect, 400,
        "not a CONNECT request with an authority of the form ip:port or host:port";
    /// The peer's certificate is of a trust domain that this mesh does not accept.
    UntrustedDomain = "untrusted-domain", TlsFailure, 401,
        "the peer's trust domain is neither the mesh's nor one of its aliases";
    /// The peer's certificate is valid but not that of the workload at its address.
    PeerIdentityMismatch = "peer-identity-mismatch", TlsFailure, 401,
        "the peer's certificate names another identity than the one expected at its address";
    /// The peer sent no certificate.
    NoPeerCertificate = "no-peer-certificate", TlsFailure, 401,
        "the peer sent no client certificate";
    /// The peer's certificate is outside its validity.
    CertificateExpired = "certificate-expired", TlsFailure, 401,
        "the peer's certificate has expired or is not valid yet: check its renewal and both clocks";
    /// The peer's certificate, or one that leads to it, was revoked.
    CertificateRevoked = "certificate-revoked", TlsFailure, 401,
        "the peer's certificate has been revoked: the workload needs a new one";
    /// The peer's certificate is signed by none of the roots trusted here.
    UntrustedIssuer = "untrusted-issuer", TlsFailure, 401,
        "the peer's certificate is signed by none of the trusted roots";
    /// The peer's certificate carries no SPIFFE identity.
    NoSpiffeIdentity = "no-spiffe-identity", TlsFailure, 401,
        "the peer's certificate does not carry exactly one SPIFFE URI";
    /// The peer speaks no TLS 1.3.
    TlsVersion = "tls-version", TlsFailure, 401,
        "the peer offers no TLS 1.3";
    /// The peer offered another ALPN protocol than h2.
    AlpnMismatch = "alpn-mismatch", TlsFailure, 401,
        "the peer does not offer the ALPN protocol h2";
    /// A gateway serves nobody by the name that a TLS client asks for.
    UnknownServerName = "unknown-server-name", TlsFailure, 503,
        "no server of a Gateway is for the name that the TLS client asks for: add it to the server's hosts";
    /// A gateway has nothing to show a TLS client.
    CredentialUnavailable = "credential-unavailable", TlsFailure, 503,
        "the certificate that a Gateway's server names cannot be used";
    /// The TLS handshake failed for another reason.
    TlsFailure = "tls-failure", TlsFailure, 401,
        "the TLS handshake failed";
    /// The peer closed or reset the connection during the TLS handshake.
    HandshakeClosed = "handshake-closed", TlsFailure, 401,
        "the peer closed the connection during the TLS handshake: its log says why";
    /// The HTTP/2 connection to the peer could not be set up or broke.
    H2Failure = "h2-failure", H2HandshakeFailure, 503,
        "the HTTP/2 connection to the peer failed";
    /// A DENY policy of the destination refuses the connection.
    PolicyDenied = "policy-denied", Deny, 401,
        "a DENY policy of the destination refuses the connection";
    /// The destination has ALLOW policies and no rule of them admits the connection.
    NoPolicyMatched = "no-policy-matched", Deny, 401,
        "no ALLOW policy of the destination admits the connection: add a rule that does";
    /// The destination is reached by a waypoint alone, and the connection has not passed it.
    WaypointRequired = "waypoint-required", Deny, 401,
        "the destination is reached by its waypoint alone: dial the Service's address, from within the mesh";
    /// The destination takes no connections in clear.
    MtlsRequired = "mtls-required", Deny, 401,
        "the destination takes mutual TLS only: enrol the client, or make its PeerAuthentication PERMISSIVE";
    /// A change of policy refuses what it admitted before.
    PolicyChanged = "policy-changed", Deny, 401,
        "connection closed due to policy change";
    /// No certificate could be had for the workload.
    IdentityUnavailable = "identity-unavailable", IdentityError, 503,
        "no certificate could be obtained for the workload's identity";
    /// The connection to the upstream was refused.
    ConnectionRefused = "connection-refused", Connect, 503,
        "connection refused by the destination";
    /// The connection to the upstream was not answered in time.
    ConnectTimeout = "connect-timeout", Connect, 503,
        "the destination did not answer in time";
    /// Port 15008 of the upstream was not answered in time.
    TunnelPortBlocked = "tunnel-port-blocked", NetworkPolicy, 503,
        "connection timed out, maybe a NetworkPolicy is blocking HBONE port 15008";
    /// A VirtualService has routes for the service, and none is for the connection.
    NoRouteMatched = "no-route-matched", Connect, 503,
        "no route matches: add a match to the VirtualService that admits the client, or a route without one";
    /// As many connections are open as a DestinationRule allows.
    TooManyConnections = "too-many-connections", Connect, 503,
        "as many connections as the DestinationRule allows: raise connectionPool.tcp.maxConnections";
    /// There is no route to the upstream.
    NoRoute = "no-route", Connect, 503,
        "no route to the destination";
    /// The connection to the upstream failed for another reason.
    ConnectFailed = "connect-failed", Connect, 503,
        "the connection to the destination failed";
    /// The peer's ztunnel refused the CONNECT.
    RefusedByPeer = "refused-by-peer", Connect, 503,
        "the destination's ztunnel refused the connection: its log says why";
    /// The original destination of a captured connection is not known.
    NoOriginalDestination = "no-original-destination", Connect, 503,
        "the connection reached the capture port without having been captured";
    /// The application reset the connection.
    ResetByClient = "reset-by-client", None, 503,
        "the client reset the connection";
    /// The destination reset the connection.
    ResetByServer = "reset-by-server", None, 503,
        "the destination reset the connection";
    /// The network namespace of one end is gone.
    PeerGone = "peer-gone", None, 503,
        "the other end is gone: its keepalives or its tunnel's pings were not answered";
    /// The proxy is stopping and its deadline has passed.
    Draining = "draining", None, 503,
        "the proxy is stopping and the connection outlived the drain deadline";
    /// A defect of the proxy.
    Internal = "internal", Connect, 503,
        "internal error: please report it with the log";
}

impl Reason {
    /// True if it says that an endpoint is not there, or is on its way out, and nothing of the mesh itself: another endpoint of
    /// the same service may well be.
    #[must_use]
    pub const fn is_of_endpoint(self) -> bool {
        matches!(
            self,
            Self::ConnectionRefused
                | Self::ConnectTimeout
                | Self::ConnectFailed
                | Self::NoRoute
                | Self::TunnelPortBlocked
                | Self::HandshakeClosed
                | Self::H2Failure
                | Self::PeerGone
                | Self::Draining
                | Self::UnknownWorkload
                | Self::AuthorityMismatch
        )
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

impl Serialize for Reason {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.code())
    }
}

/// A value of the metric label `response_flags`, as Istio's ztunnel writes them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Flag {
    /// `-`: nothing went wrong on the way.
    #[default]
    None,
    /// `DENY`: refused by policy.
    Deny,
    /// `CONNECT`: the upstream could not be reached.
    Connect,
    /// `TLS_FAILURE`.
    TlsFailure,
    /// `H2_HANDSHAKE_FAILURE`.
    H2HandshakeFailure,
    /// `NETWORK_POLICY`: port 15008 seems to be blocked.
    NetworkPolicy,
    /// `IDENTITY_ERROR`: no certificate of our own.
    IdentityError,
    /// `CERT_REVOKED`.
    CertRevoked,
}

impl Flag {
    /// The label's value.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "-",
            Self::Deny => "DENY",
            Self::Connect => "CONNECT",
            Self::TlsFailure => "TLS_FAILURE",
            Self::H2HandshakeFailure => "H2_HANDSHAKE_FAILURE",
            Self::NetworkPolicy => "NETWORK_POLICY",
            Self::IdentityError => "IDENTITY_ERROR",
            Self::CertRevoked => "CERT_REVOKED",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_a_page_that_tells_its_flag_and_status() {
        for reason in Reason::ALL {
            let page = format!("{}/../../docs/reasons/{}.md", env!("CARGO_MANIFEST_DIR"), reason.code());
            let text = std::fs::read_to_string(&page).unwrap_or_default();
            assert!(text.starts_with(&format!("# {}\n", reason.code())), "{page}");
            assert!(
                text.contains(&format!("| Metric label `response_flags` | `{}` |", reason.flag().as_str())),
                "{page}"
            );
            let status = |answer: &str| text.contains(&format!("| HTTP status of the CONNECT | {answer}"));
            assert!(status(&reason.status().to_string()) || status("never sent"), "{page}");
        }
    }

    #[test]
    fn every_page_and_every_code_belongs_to_one_reason() {
        let codes: std::collections::BTreeSet<_> = Reason::ALL.iter().map(|reason| reason.code().to_owned()).collect();
        assert_eq!(codes.len(), Reason::ALL.len());
        let pages = std::fs::read_dir(format!("{}/../../docs/reasons", env!("CARGO_MANIFEST_DIR"))).unwrap();
        let names = pages.map(|page| page.unwrap().file_name().into_string().unwrap());
        let documented: std::collections::BTreeSet<_> = names
            .filter_map(|name| name.strip_suffix(".md").filter(|code| *code != "README").map(str::to_owned))
            .collect();
        assert_eq!(documented, codes);
    }
}
