//! Which reason each way of failing is given, and what the log says of it.

use std::sync::Arc;
use std::time::Duration;

use ambit_model::policy::PolicyKey;

use super::*;

fn told(failure: impl Into<Failure>) -> (&'static str, String) {
    let (reason, text) = failure.into().told();
    (reason.code(), text)
}

#[test]
fn the_log_says_the_reason_with_its_remedy_and_what_was_seen() {
    let to = "10.0.0.7:80".parse().unwrap();
    let text = |reason: Reason| format!("{reason}: 10.0.0.7:80");
    for (error, reason) in [
        (ConnectError::Refused(to), Reason::ConnectionRefused),
        (ConnectError::TimedOut(to), Reason::ConnectTimeout),
        (ConnectError::NoRoute(to), Reason::NoRoute),
    ] {
        assert_eq!(told(error), (reason.code(), text(reason)));
    }
    let other = ConnectError::Other { target: to, error: io::Error::other("out of descriptors") };
    let (code, text) = told(other);
    assert_eq!(code, "connect-failed");
    assert!(text.ends_with("failed: cannot connect to 10.0.0.7:80: out of descriptors"), "{text}");
    assert_eq!(told(Reason::NoHealthyUpstream).1, Reason::NoHealthyUpstream.text());
}

#[test]
fn a_reset_is_the_applications_and_silence_is_the_networks() {
    let of = |kind: io::ErrorKind| Failure::of_abort(Reason::ResetByClient, &kind.into());
    for kind in [io::ErrorKind::ConnectionReset, io::ErrorKind::ConnectionAborted, io::ErrorKind::BrokenPipe] {
        assert_eq!(of(kind), Failure::from(Reason::ResetByClient), "{kind:?}");
    }
    for kind in [io::ErrorKind::TimedOut, io::ErrorKind::HostUnreachable, io::ErrorKind::NetworkUnreachable] {
        assert_eq!(of(kind).reason, Reason::PeerGone, "{kind:?}");
    }
    let inside = io::Error::new(io::ErrorKind::ConnectionAborted, hbone::Error::Drained);
    assert_eq!(Failure::of_abort(Reason::ResetByClient, &inside), Reason::Draining.into());
}

#[test]
fn a_stream_fails_for_the_reason_that_its_peer_gave() {
    let of = |error: hbone::Error| Failure::of_stream(Reason::ResetByServer, &error);
    let refused_by = |status: u16, code: Option<&str>, policy: Option<&RefusedBy>| {
        of(hbone::Error::Refused { status, reason: code.map(str::to_owned), policy: policy.cloned() })
    };
    let refused = |status, code| refused_by(status, code, None);
    assert_eq!(refused(503, Some("connection-refused")).reason, Reason::ConnectionRefused);
    let stranger = refused(418, Some("no-such-code"));
    assert_eq!((stranger.reason, stranger.detail.as_str()), (Reason::RefusedByPeer, "status 418, no-such-code"));
    assert_eq!(refused(503, None).detail, "status 503");
    // Of a policy nothing is said but where a policy can be the reason, and what is said is not handed on.
    let policy = RefusedBy::parse("AuthorizationPolicy shop/deny, rule 2");
    for (code, said) in [
        ("policy-denied", "AuthorizationPolicy shop/deny, rule 2: the peer answered with status 401"),
        ("no-policy-matched", "AuthorizationPolicy shop/deny, rule 2: the peer answered with status 401"),
        ("draining", "the peer answered with status 401"),
        ("no-such-code", "status 401, no-such-code"),
    ] {
        let failure = refused_by(401, Some(code), policy.as_ref());
        assert_eq!((failure.detail.as_str(), &failure.policy), (said, &None), "{code}");
    }
    let silence = Duration::from_secs(30);
    for (error, reason) in [
        (hbone::Error::Aborted, Reason::ResetByServer),
        (hbone::Error::PeerGone { silence }, Reason::PeerGone),
        (hbone::Error::TransportClosed, Reason::PeerGone),
        (hbone::Error::HandshakeTimeout { after: silence }, Reason::ConnectTimeout),
        (hbone::Error::Drained, Reason::Draining),
        (hbone::Error::TunnelClosed, Reason::H2Failure),
        (hbone::Error::InvalidRequest("no".into()), Reason::Internal),
    ] {
        assert_eq!(of(error.clone()).reason, reason, "{error}");
    }
}

#[test]
fn a_transport_breaks_by_its_peers_end_or_by_tls() {
    let of = |error: io::Error| Failure::from(hbone::Error::Transport(Arc::new(error))).reason;
    assert_eq!(of(io::ErrorKind::UnexpectedEof.into()), Reason::PeerGone);
    assert_eq!(of(io::ErrorKind::HostUnreachable.into()), Reason::PeerGone);
    assert_eq!(of(io::ErrorKind::InvalidData.into()), Reason::H2Failure);
    let own = Failure::new(Reason::TunnelPortBlocked, "10.0.0.7:15008");
    assert_eq!(Failure::from(hbone::Error::Connect(Arc::new(own.clone()))), own);
    assert_eq!(told(hbone::Error::Connect(Arc::new(io::Error::other("odd")))).0, "connect-failed");
}

#[test]
fn a_denial_names_its_policy_to_the_peer_without_what_is_only_for_the_log_here() {
    let denial = |name: &str, rule| Denial {
        reason: Reason::PolicyDenied,
        kind: "AuthorizationPolicy",
        policy: PolicyKey::new("shop", name),
        rule,
        partial: true,
        early: false,
    };
    let failure = Failure::from(&denial("deny", Some(1)));
    assert!(failure.detail.starts_with("AuthorizationPolicy shop/deny, rule 1, which can"), "{}", failure.detail);
    assert_eq!(failure.policy, RefusedBy::parse("AuthorizationPolicy shop/deny, rule 1"));
    assert!(failure.policy.is_some());
    assert_eq!(Failure::from(&denial("De ny", None)).policy, None);
}
