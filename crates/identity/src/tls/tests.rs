//! Who is accepted, who is refused, and that both sides give the same reason for it.

use std::net::Ipv6Addr;

use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, SanType};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{CipherSuite, HandshakeKind, NamedGroup, ProtocolVersion, SupportedProtocolVersion};
use tokio::io::{DuplexStream, duplex};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::bundle::Bundle;
use crate::clock;
use crate::fixtures::{Ca, HOUR, identity, leaf, list_of, now, self_signed, stopped_clock, trust};
use crate::revocation::Revocations;
use crate::trust::TrustStore;
use crate::verifier::{Expected, Verifier};

mod openssl;

const CLIENT: &str = "spiffe://cluster.local/ns/shop/sa/productpage";
const SERVER: &str = "spiffe://cluster.local/ns/shop/sa/reviews";
const OTHER: &str = "spiffe://cluster.local/ns/shop/sa/ratings";
const FOREIGN: &str = "spiffe://foreign.example/ns/shop/sa/reviews";
const LIMIT: Duration = Duration::from_secs(5);
const ADDRESS: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);

type Outcome<T> = Result<T, Failure>;
type Server<T> = (server::TlsStream<T>, Peer);
type Client<T> = (client::TlsStream<T>, Peer);

fn verifier(roots: &Bundle, expected: Expected) -> Verifier {
    Verifier { store: TrustStore::new(roots.clone()), trust: trust("cluster.local", &["old.example"]), expected }
}

fn server_of(certificate: Arc<CertifiedKey>, roots: &Bundle) -> Arc<ServerConfig> {
    let certificate = Arc::new(SingleCertAndKey::from(certificate));
    server_config(certificate, verifier(roots, Expected::Anyone), &stopped_clock()).unwrap()
}

fn client_of(certificate: Arc<CertifiedKey>, roots: &Bundle) -> Arc<ClientConfig> {
    let certificate = Arc::new(SingleCertAndKey::from(certificate));
    let expected = Expected::OneOf(vec![identity(SERVER)]);
    client_config(certificate, verifier(roots, expected), &stopped_clock()).unwrap()
}

/// The same configuration with one thing changed.
fn but<C: Clone>(config: &Arc<C>, change: impl FnOnce(&mut C)) -> Arc<C> {
    let mut config = C::clone(config);
    change(&mut config);
    Arc::new(config)
}

async fn shake(
    server: &Arc<ServerConfig>,
    client: &Arc<ClientConfig>,
) -> (Outcome<Server<DuplexStream>>, Outcome<Client<DuplexStream>>) {
    let (near, far) = duplex(64 * 1024);
    tokio::join!(accept(server.clone(), far, LIMIT), connect(client.clone(), near, ADDRESS, LIMIT))
}

/// What the client is told: at once if the server was refused or refused the hello, else by its first read.
async fn told<T: AsyncRead + AsyncWrite + Unpin>(client: Outcome<Client<T>>) -> Option<Reason> {
    match client {
        Err(failure) => Some(failure.reason),
        Ok((mut stream, _)) => reason_of_io_error(&stream.read_u8().await.unwrap_err()),
    }
}

/// Asserts that both sides refuse the handshake for `reason`, and returns the details that server and client gave.
async fn refused(
    case: &str,
    server: &Arc<ServerConfig>,
    client: &Arc<ClientConfig>,
    reason: Reason,
) -> (String, String) {
    let (served, connected) = shake(server, client).await;
    let served = served.map(|(_, peer)| peer).expect_err(case);
    assert_eq!(served.reason, reason, "{case}, the server: {served}");
    let detail = connected.as_ref().err().map_or(String::new(), |failure| failure.detail.clone());
    assert_eq!(told(connected).await, Some(reason), "{case}, the client: {detail}");
    (served.detail, detail)
}

#[tokio::test]
async fn two_workloads_learn_who_the_other_is_over_tls13_with_h2_and_the_preferred_algorithms() {
    let ca = Ca::new();
    let server = server_of(ca.certify(&leaf(&[SERVER])), &ca.bundle());
    let client = client_of(ca.certify_indirectly(&leaf(&[CLIENT])), &ca.bundle());
    for round in 1..=2 {
        let (served, connected) = shake(&server, &client).await;
        let ((mut served, peer), (mut connected, named)) = (served.unwrap(), connected.unwrap());
        assert_eq!((peer.identity, named.identity), (identity(CLIENT), identity(SERVER)));
        let negotiated = served.get_ref().1;
        assert_eq!(negotiated.protocol_version(), Some(ProtocolVersion::TLSv1_3));
        assert_eq!(negotiated.alpn_protocol(), Some(&b"h2"[..]));
        assert_eq!(negotiated.server_name(), None, "no SNI");
        let suite = negotiated.negotiated_cipher_suite().unwrap().suite();
        assert_eq!(suite, CipherSuite::TLS13_AES_128_GCM_SHA256);
        let group = negotiated.negotiated_key_exchange_group().unwrap().name();
        assert_eq!(group, NamedGroup::X25519MLKEM768);
        connected.write_all(b"ping").await.unwrap();
        served.write_all(b"pong").await.unwrap();
        let mut answer = [0; 4];
        connected.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"pong");
        assert_eq!(connected.get_ref().1.tls13_tickets_received(), 0);
        assert_eq!(connected.get_ref().1.handshake_kind(), Some(HandshakeKind::Full), "round {round}");
    }
}

#[tokio::test]
async fn a_peer_that_prefers_aes256_and_knows_no_mlkem_gets_aes128_and_x25519() {
    let ca = Ca::new();
    let mut upstream = default_provider();
    upstream.cipher_suites.retain(|suite| suite.suite() != CipherSuite::TLS13_CHACHA20_POLY1305_SHA256);
    upstream.cipher_suites.sort_by_key(|suite| suite.suite() != CipherSuite::TLS13_AES_256_GCM_SHA384);
    upstream.kx_groups.retain(|group| group.name() != NamedGroup::X25519MLKEM768);
    let client = raw_client(&ca, upstream, &rustls::version::TLS13);
    let server = server_of(ca.certify(&leaf(&[SERVER])), &ca.bundle());
    let (near, far) = duplex(64 * 1024);
    let connector = TlsConnector::from(client).connect(ServerName::from(ADDRESS), near);
    let (served, connected) = tokio::join!(accept(server, far, LIMIT), connector);
    connected.unwrap();
    let (served, _) = served.unwrap();
    let negotiated = served.get_ref().1;
    assert_eq!(negotiated.negotiated_cipher_suite().unwrap().suite(), CipherSuite::TLS13_AES_128_GCM_SHA256);
    assert_eq!(negotiated.negotiated_key_exchange_group().unwrap().name(), NamedGroup::X25519);
}

#[tokio::test]
async fn who_shows_a_revoked_certificate_is_refused_by_either_side_and_known_where_he_has_been_let_in() {
    let ca = Ca::new();
    let listed = Revocations::from_pem(list_of(&ca, &[&[0x0a, 0xbc]]).as_bytes()).unwrap();
    let mut unlisted = leaf(&[CLIENT]);
    unlisted.serial_number = Some(rcgen::SerialNumber::from_slice(&[0x0a, 0xbd]));
    let (revoked, good) = (ca.certify(&leaf(&[CLIENT])), ca.certify(&unlisted));
    let at_server = verifier(&ca.bundle(), Expected::Anyone);
    let (store, certificate) = (at_server.store.clone(), ca.certify(&leaf(&[SERVER])));
    let server = server_config(Arc::new(SingleCertAndKey::from(certificate)), at_server, &stopped_clock()).unwrap();
    let client = client_of(revoked, &ca.bundle());
    let (served, connected) = shake(&server, &client).await;
    let (_, peer) = served.unwrap();
    connected.unwrap();
    assert!(!store.revokes(&peer));

    store.replace_revocations(listed.clone());
    assert!(store.revokes(&peer), "open connections are found by it");
    let (detail, _) = refused("a client", &server, &client, Reason::CertificateRevoked).await;
    assert!(detail.starts_with("serial 0abc is revoked: spiffe://"), "{detail}");

    let checking = verifier(&ca.bundle(), Expected::OneOf(vec![identity(SERVER)]));
    checking.store.replace_revocations(listed);
    let good = Arc::new(SingleCertAndKey::from(good));
    let careful = client_config(good, checking, &stopped_clock()).unwrap();
    refused("a server", &server, &careful, Reason::CertificateRevoked).await;
}

/// Certificates that neither a server nor a client gets by with.
fn bad_certificates(ca: &Ca, who: &str) -> Vec<(&'static str, Arc<CertifiedKey>, Reason, &'static str)> {
    let changed = |change: &dyn Fn(&mut CertificateParams)| {
        let mut params = leaf(&[who]);
        change(&mut params);
        params
    };
    let expired = changed(&|params| params.not_after = clock::to_date(now() - HOUR / 2));
    let early = changed(&|params| params.not_before = clock::to_date(now() + HOUR / 2));
    let as_ca = changed(&|params| params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained));
    let dns = changed(&|params| params.subject_alt_names = vec![SanType::DnsName("reviews".try_into().unwrap())]);
    let codesigning = changed(&|params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::CodeSigning]);
    vec![
        ("foreign trust domain", ca.certify(&leaf(&[FOREIGN])), Reason::UntrustedDomain, "foreign.example"),
        ("expired", ca.certify(&expired), Reason::CertificateExpired, "expired 0.5 h ago"),
        ("not yet valid", ca.certify(&early), Reason::CertificateExpired, "valid only in 0.5 h"),
        ("self-signed", self_signed(&leaf(&[who])), Reason::UntrustedIssuer, "signed by none of the 1 trusted roots"),
        ("self-signed CA", self_signed(&as_ca), Reason::UntrustedIssuer, who_part(who)),
        ("CA of the same name", Ca::new().certify(&leaf(&[who])), Reason::UntrustedIssuer, "CA of the same name"),
        ("two URIs", ca.certify(&leaf(&[who, OTHER])), Reason::NoSpiffeIdentity, "2 URI SANs"),
        ("one URI twice", ca.certify(&leaf(&[who, who])), Reason::NoSpiffeIdentity, "2 URI SANs"),
        ("no SAN", ca.certify(&leaf(&[])), Reason::NoSpiffeIdentity, "no URI SAN"),
        ("a DNS name", ca.certify(&dns), Reason::NoSpiffeIdentity, "no URI SAN"),
        ("another URI", ca.certify(&leaf(&["https://a/ns/b/sa/c"])), Reason::NoSpiffeIdentity, "https://a/ns/b/sa/c"),
        ("another path", ca.certify(&leaf(&["spiffe://cluster.local/x"])), Reason::NoSpiffeIdentity, "cluster.local/x"),
        ("another purpose", ca.certify(&codesigning), Reason::TlsFailure, "chain validation"),
    ]
}

fn who_part(who: &str) -> &'static str {
    if who == CLIENT { CLIENT } else { SERVER }
}

#[tokio::test(start_paused = true)]
async fn a_server_with_a_bad_certificate_is_refused_and_both_sides_say_why() {
    let ca = Ca::new();
    let client = client_of(ca.certify(&leaf(&[CLIENT])), &ca.bundle());
    let mut cases = bad_certificates(&ca, SERVER);
    cases.push(("wrong identity", ca.certify(&leaf(&[OTHER])), Reason::PeerIdentityMismatch, OTHER));
    for (case, certificate, reason, detail) in cases {
        let (_, client_detail) = refused(case, &server_of(certificate, &ca.bundle()), &client, reason).await;
        assert!(client_detail.contains(detail), "{case}: {client_detail}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_with_a_bad_certificate_is_refused_and_both_sides_say_why() {
    let ca = Ca::new();
    let server = server_of(ca.certify(&leaf(&[SERVER])), &ca.bundle());
    for (case, certificate, reason, detail) in bad_certificates(&ca, CLIENT) {
        let (server_detail, _) = refused(case, &server, &client_of(certificate, &ca.bundle()), reason).await;
        assert!(server_detail.contains(detail), "{case}: {server_detail}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_without_a_certificate_is_refused() {
    let ca = Ca::new();
    let server = server_of(ca.certify(&leaf(&[SERVER])), &ca.bundle());
    let good = client_of(ca.certify(&leaf(&[CLIENT])), &ca.bundle());
    let bare = but(&good, |config| config.client_auth_cert_resolver = Arc::new(NoCertificate));
    refused("no client certificate", &server, &bare, Reason::NoPeerCertificate).await;
}

#[derive(Debug)]
struct NoCertificate;

impl rustls::client::ResolvesClientCert for NoCertificate {
    fn resolve(&self, _: &[&[u8]], _: &[rustls::SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        None
    }

    fn has_certs(&self) -> bool {
        false
    }
}

#[tokio::test(start_paused = true)]
async fn other_application_protocols_are_refused() {
    let ca = Ca::new();
    let server = server_of(ca.certify(&leaf(&[SERVER])), &ca.bundle());
    let client = client_of(ca.certify(&leaf(&[CLIENT])), &ca.bundle());
    let http1 = vec![b"http/1.1".to_vec()];
    let server1 = but(&server, |config| config.alpn_protocols = http1.clone());
    let client1 = but(&client, |config| config.alpn_protocols = http1);
    refused("client of http/1.1", &server, &client1, Reason::AlpnMismatch).await;
    refused("server of http/1.1", &server1, &client, Reason::AlpnMismatch).await;

    // Without ALPN the handshake itself succeeds; the side that wants it closes.
    let (served, connected) = shake(&server, &but(&client, |config| config.alpn_protocols.clear())).await;
    assert_eq!(served.unwrap_err().reason, Reason::AlpnMismatch);
    assert_eq!(connected.unwrap_err().reason, Reason::AlpnMismatch);
    let (_, connected) = shake(&but(&server, |config| config.alpn_protocols.clear()), &client).await;
    assert_eq!(connected.unwrap_err().reason, Reason::AlpnMismatch);
}

fn raw_client(
    ca: &Ca,
    provider: rustls::crypto::CryptoProvider,
    version: &'static SupportedProtocolVersion,
) -> Arc<ClientConfig> {
    let expected = Expected::OneOf(vec![identity(SERVER)]);
    let certificate = Arc::new(SingleCertAndKey::from(ca.certify(&leaf(&[CLIENT]))));
    let mut config = ClientConfig::builder_with_details(Arc::new(provider), Arc::new(stopped_clock()))
        .with_protocol_versions(&[version])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier(&ca.bundle(), expected)))
        .with_client_cert_resolver(certificate);
    config.alpn_protocols = vec![b"h2".to_vec()];
    Arc::new(config)
}

#[tokio::test(start_paused = true)]
async fn tls12_is_refused_in_both_directions() {
    let ca = Ca::new();
    let server = server_of(ca.certify(&leaf(&[SERVER])), &ca.bundle());
    let client = client_of(ca.certify(&leaf(&[CLIENT])), &ca.bundle());
    let old_client = raw_client(&ca, default_provider(), &rustls::version::TLS12);
    refused("client of TLS 1.2", &server, &old_client, Reason::TlsVersion).await;

    let certificate = Arc::new(SingleCertAndKey::from(ca.certify(&leaf(&[SERVER]))));
    let mut old_server = ServerConfig::builder_with_details(Arc::new(default_provider()), Arc::new(stopped_clock()))
        .with_protocol_versions(&[&rustls::version::TLS12])
        .unwrap()
        .with_client_cert_verifier(Arc::new(verifier(&ca.bundle(), Expected::Anyone)))
        .with_cert_resolver(certificate);
    old_server.alpn_protocols = vec![b"h2".to_vec()];
    refused("server of TLS 1.2", &Arc::new(old_server), &client, Reason::TlsVersion).await;
}

#[tokio::test]
async fn an_alias_of_the_trust_domain_is_as_good_as_the_domain() {
    let ca = Ca::new();
    let (old_client, old_server) =
        ("spiffe://old.example/ns/shop/sa/productpage", "spiffe://old.example/ns/shop/sa/reviews");
    let server = server_of(ca.certify(&leaf(&[old_server])), &ca.bundle());
    let client = client_of(ca.certify(&leaf(&[old_client])), &ca.bundle());
    let (served, connected) = shake(&server, &client).await;
    assert_eq!(served.unwrap().1.identity, identity(old_client));
    assert_eq!(connected.unwrap().1.identity, identity(old_server));
}

#[tokio::test]
async fn a_client_that_expects_nobody_talks_to_nobody() {
    let ca = Ca::new();
    let server = server_of(ca.certify(&leaf(&[SERVER])), &ca.bundle());
    let certificate = Arc::new(SingleCertAndKey::from(ca.certify(&leaf(&[CLIENT]))));
    let nobody = verifier(&ca.bundle(), Expected::OneOf(Vec::new()));
    let client = client_config(certificate, nobody, &stopped_clock()).unwrap();
    refused("expects nobody", &server, &client, Reason::PeerIdentityMismatch).await;
}

#[tokio::test]
async fn either_of_two_roots_is_trusted() {
    let (old, new) = (Ca::new(), Ca::new());
    let both = old.bundle().union(&new.bundle());
    assert_eq!(both.union(&old.bundle()).roots().count(), 2);
    let server = server_of(old.certify(&leaf(&[SERVER])), &both);
    let client = client_of(new.certify(&leaf(&[CLIENT])), &both);
    let (served, connected) = shake(&server, &client).await;
    assert!(served.is_ok() && connected.is_ok());
}

#[tokio::test]
async fn a_peer_that_speaks_no_tls_or_leaves_is_told_apart() {
    let ca = Ca::new();
    let server = server_of(ca.certify(&leaf(&[SERVER])), &ca.bundle());
    let client = client_of(ca.certify(&leaf(&[CLIENT])), &ca.bundle());

    for first in
        [&b"GET / HTTP/1.1\r\nhost: reviews\r\n\r\n"[..], b"\x00\x00\x00\x00garbage", b"PRI * HTTP/2.0\r\n\r\n"]
    {
        let (mut near, far) = duplex(1024);
        near.write_all(first).await.unwrap();
        near.shutdown().await.unwrap();
        let failure = accept(server.clone(), far, LIMIT).await.unwrap_err();
        assert_eq!(failure.reason, Reason::TlsFailure);
        assert!(failure.detail.contains("not TLS"), "{failure}");
    }

    let (mut near, far) = duplex(1024);
    near.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
    let failed = tokio::join!(connect(client.clone(), far, ADDRESS, LIMIT), async {
        near.shutdown().await.unwrap();
        tokio::io::copy(&mut near, &mut tokio::io::sink()).await.unwrap()
    });
    assert_eq!(failed.0.unwrap_err().reason, Reason::TlsFailure);

    let (near, far) = duplex(1024);
    drop(near);
    assert_eq!(accept(server.clone(), far, LIMIT).await.unwrap_err().reason, Reason::HandshakeClosed);

    let (mut near, far) = duplex(1024);
    near.write_all(&[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3]).await.unwrap();
    drop(near);
    assert_eq!(accept(server, far, LIMIT).await.unwrap_err().reason, Reason::HandshakeClosed);

    let (near, far) = duplex(1024);
    drop(near);
    assert_eq!(connect(client, far, ADDRESS, LIMIT).await.unwrap_err().reason, Reason::HandshakeClosed);
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_says_nothing_is_given_up_after_the_timeout() {
    let ca = Ca::new();
    let started = tokio::time::Instant::now();
    let (_near, far) = duplex(1024);
    let failure = accept(server_of(ca.certify(&leaf(&[SERVER])), &ca.bundle()), far, LIMIT).await.unwrap_err();
    assert_eq!(failure.reason, Reason::ConnectTimeout);
    let (_near, far) = duplex(4096);
    let failure =
        connect(client_of(ca.certify(&leaf(&[CLIENT])), &ca.bundle()), far, ADDRESS, LIMIT).await.unwrap_err();
    assert_eq!(failure.reason, Reason::ConnectTimeout);
    assert_eq!(started.elapsed(), 2 * LIMIT);
}

#[tokio::test(start_paused = true)]
async fn a_refused_peer_that_does_not_close_is_waited_for_only_briefly() {
    let ca = Ca::new();
    let (mut near, far) = duplex(1024);
    near.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let started = tokio::time::Instant::now();
    accept(server_of(ca.certify(&leaf(&[SERVER])), &ca.bundle()), far, LIMIT).await.unwrap_err();
    assert_eq!(started.elapsed(), LINGER);
}

/// Closing at once, the server would answer what the client still sends with a reset, and the client would learn of
/// that instead of the reason.
#[tokio::test]
async fn over_tcp_a_refused_client_that_goes_on_sending_still_learns_the_reason() {
    let ca = Ca::new();
    let server = server_of(ca.certify(&leaf(&[SERVER])), &ca.bundle());
    let client = client_of(ca.certify(&leaf(&[FOREIGN])), &ca.bundle());
    let listener = TcpListener::bind("[::1]:0").await.unwrap();
    for _ in 0..20 {
        let dialled = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (accepted, _) = listener.accept().await.unwrap();
        let (served, told) = tokio::join!(accept(server.clone(), accepted, LIMIT), async {
            let (mut stream, _) = connect(client.clone(), dialled, ADDRESS, LIMIT).await.unwrap();
            let alert_arrived = stream.get_mut().0.peek(&mut [0]).await.unwrap();
            assert_eq!(alert_arrived, 1);
            for _ in 0..3 {
                stream.write_all(&[0; 8192]).await.unwrap();
                stream.flush().await.unwrap();
            }
            reason_of_io_error(&stream.read_u8().await.unwrap_err())
        });
        assert_eq!(served.unwrap_err().reason, Reason::UntrustedDomain);
        assert_eq!(told, Some(Reason::UntrustedDomain));
    }
}

#[test]
fn errors_that_are_not_of_tls_have_no_reason_and_wrapped_ones_have() {
    assert_eq!(reason_of_io_error(&io::Error::from(io::ErrorKind::ConnectionReset)), None);
    assert_eq!(reason_of_io_error(&io::Error::other("text")), None);
    let alert = rustls::Error::AlertReceived(rustls::AlertDescription::AccessDenied);
    let wrapped = io::Error::other(io::Error::other(alert));
    assert_eq!(reason_of_io_error(&wrapped), Some(Reason::PeerIdentityMismatch));
}
