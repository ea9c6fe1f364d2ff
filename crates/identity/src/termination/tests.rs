//! Who is let in by which version, suite and certificate, what both sides make of the rest, and what is refused beforehand.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use ambit_model::Reason;
use rcgen::{CertificateParams, KeyPair, PKCS_RSA_SHA256, SanType};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{verify_tls12_signature, verify_tls13_signature};
use rustls::{
    CipherSuite as Suite, ClientConfig, ClientConnection, DigitallySignedStruct, ProtocolVersion, SignatureScheme,
};
use rustls_pki_types::{ServerName, UnixTime};
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
use tokio_rustls::TlsConnector;

use super::*;
use crate::authority::Authority;
use crate::client::LocalIssuer;
use crate::fixtures::{Ca, HOUR, identity, leaf, list_of, now, stopped_clock, trust};
use crate::store::Certificates;
use crate::trust::TrustStore;

const LIMIT: Duration = Duration::from_secs(5);
const HTTP: &[&str] = &["h2", "http/1.1"];
const ANY: (TlsVersion, TlsVersion) = (TlsVersion::V1_2, TlsVersion::V1_3);

/// The certificate of who goes by `name`: a DNS name or a URI.
fn params(name: &str) -> CertificateParams {
    let mut params = leaf(&[]);
    params.subject_alt_names = vec![match name.contains("://") {
        true => SanType::URI(name.try_into().unwrap()),
        false => SanType::DnsName(name.try_into().unwrap()),
    }];
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    params
}

/// A certificate and its key, in PEM.
type Pair = (String, String);

fn pair(ca: &Ca, name: &str) -> Pair {
    ca.certify_pem(&params(name))
}

fn rsa_pair(ca: &Ca, name: &str) -> Pair {
    let key = KeyPair::generate_for(&PKCS_RSA_SHA256).unwrap();
    (ca.certify_key(&params(name), &key), key.serialize_pem())
}

fn shown(pair: &Pair) -> Shown<'_> {
    Shown { name: "Secret shop/web", certificate: pair.0.as_bytes(), key: pair.1.as_bytes(), staple: None }
}

/// What all that is not said otherwise is.
fn terms<'a>(shown: &'a [Shown<'a>]) -> Terms<'a> {
    let (min, max) = ANY;
    Terms { shown, clients: Clients::Anybody, min, max, cipher_suites: &[] }
}

fn terminator(terms: &Terms<'_>) -> Terminator {
    Terminator::new(terms, &stopped_clock()).expect("usable terms")
}

fn der(pem: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()
}

/// Takes any server, and says that it checks these signatures.
#[derive(Debug)]
struct Credulous {
    schemes: Vec<SignatureScheme>,
    staple: Staple,
}

/// What the issuer of the last server's certificate says of its standing.
type Staple = Arc<Mutex<Vec<u8>>>;

impl ServerCertVerifier for Credulous {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        staple: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        *self.staple.lock().unwrap() = staple.to_vec();
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &foreign_provider().signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &foreign_provider().signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.schemes.clone()
    }
}

/// A client, and what it shows.
struct Visitor {
    provider: CryptoProvider,
    versions: (TlsVersion, TlsVersion),
    schemes: Vec<SignatureScheme>,
    protocols: &'static [&'static str],
    shows: Option<Pair>,
    staple: Staple,
}

impl Default for Visitor {
    fn default() -> Self {
        let provider = CryptoProvider::clone(foreign_provider());
        let schemes = provider.signature_verification_algorithms.supported_schemes();
        Self { provider, versions: ANY, schemes, protocols: &[], shows: None, staple: Staple::default() }
    }
}

impl Visitor {
    fn showing(pair: &Pair) -> Self {
        Self { shows: Some(pair.clone()), ..Self::default() }
    }

    fn config(&self) -> Arc<ClientConfig> {
        let (min, max) = self.versions;
        let verifier = Credulous { schemes: self.schemes.clone(), staple: self.staple.clone() };
        let time = Arc::new(stopped_clock());
        let config = ClientConfig::builder_with_details(Arc::new(self.provider.clone()), time)
            .with_protocol_versions(&versions(min, max))
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier));
        let mut config = match &self.shows {
            Some((certificate, key)) => {
                let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
                config.with_client_auth_cert(vec![der(certificate)], key).unwrap()
            }
            None => config.with_no_client_auth(),
        };
        config.alpn_protocols = self.protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        Arc::new(config)
    }
}

/// What a client sees of a handshake that both sides have been content with.
struct Seen {
    version: ProtocolVersion,
    suite: Suite,
    certificate: CertificateDer<'static>,
    protocol: Option<String>,
    kind: HandshakeKind,
}

impl Seen {
    fn of(connection: &ClientConnection) -> Self {
        let protocol = connection.alpn_protocol().map(|agreed| String::from_utf8_lossy(agreed).into_owned());
        Self {
            version: connection.protocol_version().unwrap(),
            suite: connection.negotiated_cipher_suite().unwrap().suite(),
            certificate: connection.peer_certificates().unwrap()[0].clone(),
            protocol,
            kind: connection.handshake_kind().unwrap(),
        }
    }
}

/// What both sides make of a handshake; what the server has to say is heard.
async fn meet(
    terminator: &Terminator,
    protocols: &[&str],
    client: &Arc<ClientConfig>,
) -> Result<(Seen, Option<Client>), Failure> {
    let (near, far) = duplex(64 << 10);
    let served = async {
        let (mut stream, client) = terminator.accept(far, protocols, LIMIT).await?;
        stream.write_all(b"hello").await.unwrap();
        stream.shutdown().await.unwrap();
        Ok(client)
    };
    let name = ServerName::try_from("web.example").unwrap();
    let visited = async {
        let mut stream = TlsConnector::from(client.clone()).connect(name, near).await?;
        let mut greeting = String::new();
        // Also what a server of TLS 1.3 says of a client's certificate, and its tickets, come with the first read.
        stream.read_to_string(&mut greeting).await?;
        std::io::Result::Ok((greeting, Seen::of(stream.get_ref().1)))
    };
    let (served, visited) = tokio::join!(served, visited);
    match served {
        Ok(client) => {
            let (greeting, seen) = visited.expect("the client is content");
            assert_eq!(greeting, "hello");
            Ok((seen, client))
        }
        Err(failure) => {
            assert!(visited.is_err(), "the client is told: {failure}");
            Err(failure)
        }
    }
}

async fn refusal(terminator: &Terminator, visitor: &Visitor) -> Failure {
    meet(terminator, HTTP, &visitor.config()).await.err().expect("a refusal")
}

#[tokio::test]
async fn the_newest_version_is_spoken_that_both_sides_have() {
    use TlsVersion::{V1_2, V1_3};
    let pair = pair(&Ca::new(), "web.example");
    let shown = [shown(&pair)];
    for (server, client, expected) in [
        ((V1_2, V1_3), (V1_2, V1_3), Some(ProtocolVersion::TLSv1_3)),
        ((V1_2, V1_3), (V1_2, V1_2), Some(ProtocolVersion::TLSv1_2)),
        ((V1_2, V1_3), (V1_3, V1_3), Some(ProtocolVersion::TLSv1_3)),
        ((V1_2, V1_2), (V1_2, V1_3), Some(ProtocolVersion::TLSv1_2)),
        ((V1_2, V1_2), (V1_3, V1_3), None),
        ((V1_3, V1_3), (V1_2, V1_3), Some(ProtocolVersion::TLSv1_3)),
        ((V1_3, V1_3), (V1_2, V1_2), None),
    ] {
        let (min, max) = server;
        let terminator = terminator(&Terms { min, max, ..terms(&shown) });
        let visitor = Visitor { versions: client, ..Visitor::default() };
        match meet(&terminator, HTTP, &visitor.config()).await {
            Ok((seen, _)) => assert_eq!(Some(seen.version), expected, "{server:?} {client:?}"),
            Err(failure) => assert_eq!((failure.reason, expected), (Reason::TlsVersion, None), "{failure}"),
        }
    }
}

#[tokio::test]
async fn of_tls12_those_suites_are_spoken_that_are_named() {
    use TlsVersion::{V1_2, V1_3};
    let ca = Ca::new();
    let (rsa, ecdsa) = (rsa_pair(&ca, "web.example"), pair(&ca, "web.example"));
    for suite in CipherSuite::ALL.iter().copied() {
        let shown = [shown(if suite.as_str().starts_with("ECDHE-RSA-") { &rsa } else { &ecdsa })];
        let named = [suite];
        let terminator = terminator(&Terms { cipher_suites: &named, ..terms(&shown) });
        let visitor = Visitor { versions: (V1_2, V1_2), ..Visitor::default() };
        let (seen, _) = meet(&terminator, HTTP, &visitor.config()).await.unwrap();
        assert_eq!(seen.suite, of_rustls(suite));
        let mut others = visitor;
        others.provider.cipher_suites.retain(|known| known.suite() != of_rustls(suite));
        let failure = refusal(&terminator, &others).await;
        assert_eq!(failure.reason, Reason::TlsFailure, "{suite:?}: {failure}");
        others.versions = (V1_2, V1_3);
        let (seen, _) = meet(&terminator, HTTP, &others.config()).await.unwrap();
        assert_eq!(seen.version, ProtocolVersion::TLSv1_3, "{suite:?} says nothing of TLS 1.3");
    }
}

#[tokio::test]
async fn of_two_kinds_of_certificates_a_client_is_shown_the_one_that_it_can_check() {
    use TlsVersion::V1_2;
    let ca = Ca::new();
    let (rsa, ecdsa) = (rsa_pair(&ca, "web.example"), pair(&ca, "web.example"));
    let only_rsa = vec![SignatureScheme::RSA_PSS_SHA256, SignatureScheme::RSA_PKCS1_SHA256];
    let only_ecdsa = vec![SignatureScheme::ECDSA_NISTP256_SHA256];
    for (first, second) in [(&rsa, &ecdsa), (&ecdsa, &rsa)] {
        let both = [shown(first), shown(second)];
        let terminator = terminator(&terms(&both));
        for versions in [ANY, (V1_2, V1_2)] {
            for (schemes, expected) in
                [(Visitor::default().schemes, first), (only_rsa.clone(), &rsa), (only_ecdsa.clone(), &ecdsa)]
            {
                let visitor = Visitor { schemes, versions, ..Visitor::default() };
                let (seen, _) = meet(&terminator, HTTP, &visitor.config()).await.unwrap();
                assert_eq!(seen.certificate, der(&expected.0), "{versions:?} {:?}", visitor.schemes);
            }
        }
    }
    let alone = [shown(&rsa)];
    let failure = refusal(&terminator(&terms(&alone)), &Visitor { schemes: only_ecdsa, ..Visitor::default() }).await;
    assert_eq!(failure.reason, Reason::TlsFailure, "{failure}");
}

#[tokio::test]
async fn what_the_issuer_says_of_a_certificate_comes_with_it() {
    let pair = pair(&Ca::new(), "web.example");
    for staple in [None, Some(&b"good"[..])] {
        let (shown, visitor) = ([Shown { staple, ..shown(&pair) }], Visitor::default());
        meet(&terminator(&terms(&shown)), HTTP, &visitor.config()).await.unwrap();
        assert_eq!(*visitor.staple.lock().unwrap(), staple.unwrap_or_default());
    }
}

#[tokio::test]
async fn a_protocol_is_agreed_on_where_both_sides_name_some() {
    let pair = pair(&Ca::new(), "web.example");
    let shown = [shown(&pair)];
    let terminator = terminator(&terms(&shown));
    let cases: [(&[&str], &'static [&'static str], Option<&str>); 6] = [
        (HTTP, &["h2", "http/1.1"], Some("h2")),
        (HTTP, &["http/1.1", "h2"], Some("h2")),
        (HTTP, &["istio", "http/1.1"], Some("http/1.1")),
        (HTTP, &[], None),
        (&[], &["h2"], None),
        (&[], &[], None),
    ];
    for (server, client, expected) in cases {
        let visitor = Visitor { protocols: client, ..Visitor::default() };
        let (seen, _) = meet(&terminator, server, &visitor.config()).await.unwrap();
        assert_eq!(seen.protocol.as_deref(), expected, "{server:?} {client:?}");
    }
    let failure = refusal(&terminator, &Visitor { protocols: &["http/1.0"], ..Visitor::default() }).await;
    assert_eq!(failure.reason, Reason::AlpnMismatch, "{failure}");
}

#[tokio::test]
async fn clients_are_anybody_or_whom_the_authorities_vouch_for() {
    let (ca, other) = (Ca::new(), Ca::new());
    let (pair, good, foreign) = (pair(&ca, "web.example"), pair(&ca, "client.example"), pair(&other, "client.example"));
    let (shown, authorities) = ([shown(&pair)], ca.pem());
    let proof = Proof { authorities: authorities.as_bytes(), ..Proof::default() };
    let mut late = params("late.example");
    late.not_after = clock::to_date(now() - HOUR / 2);
    let late = ca.certify_pem(&late);
    let bare = Visitor::default();
    let [good, foreign, late] = [&good, &foreign, &late].map(Visitor::showing);
    for (clients, visitor, expected) in [
        (Clients::Anybody, &bare, Ok(false)),
        (Clients::Anybody, &foreign, Ok(false)),
        (Clients::Perhaps(proof), &bare, Ok(false)),
        (Clients::Perhaps(proof), &good, Ok(true)),
        (Clients::Perhaps(proof), &foreign, Err(Reason::UntrustedIssuer)),
        (Clients::Proven(proof), &bare, Err(Reason::NoPeerCertificate)),
        (Clients::Proven(proof), &good, Ok(true)),
        (Clients::Proven(proof), &foreign, Err(Reason::UntrustedIssuer)),
        (Clients::Proven(proof), &late, Err(Reason::CertificateExpired)),
    ] {
        for versions in [ANY, (TlsVersion::V1_2, TlsVersion::V1_2)] {
            let (min, max) = versions;
            let terminator = terminator(&Terms { clients, min, max, ..terms(&shown) });
            let outcome = meet(&terminator, HTTP, &visitor.config()).await;
            let outcome = outcome.map(|(_, client)| client.is_some()).map_err(|failure| failure.reason);
            assert_eq!(outcome, expected, "{versions:?}");
        }
    }
}

#[tokio::test]
async fn a_client_is_held_to_names_pins_and_lists_and_what_it_has_shown_is_known() {
    let ca = Ca::new();
    let (pair, client) = (pair(&ca, "web.example"), pair(&ca, "spiffe://outside.example/client"));
    let (shown, authorities) = ([shown(&pair)], ca.pem());
    let visitor = Visitor::showing(&client);
    let certificate = der(&client.0);
    let hash = |bytes: &[u8]| -> [u8; 32] { digest(&SHA256, bytes).as_ref().try_into().unwrap() };
    let key = webpki::EndEntityCert::try_from(&certificate).unwrap().subject_public_key_info();
    let (whole, key, wrong) = ([hash(&certificate)], [hash(&key)], [[7; 32]]);
    let (own, others) = ([Arc::from("spiffe://outside.example/client")], [Arc::from("client.example")]);
    let (revoked, unrelated) = (list_of(&ca, &[&[0x0a, 0xbc]]), list_of(&ca, &[&[1]]));
    let proof = Proof { authorities: authorities.as_bytes(), ..Proof::default() };
    let cases: [(Proof<'_>, Option<Reason>); 9] = [
        (Proof { names: &own, ..proof }, None),
        (Proof { names: &others, ..proof }, Some(Reason::PeerIdentityMismatch)),
        (Proof { spki: &key, ..proof }, None),
        (Proof { spki: &wrong, ..proof }, Some(Reason::PeerIdentityMismatch)),
        (Proof { hashes: &whole, ..proof }, None),
        (Proof { hashes: &wrong, spki: &key, ..proof }, None),
        (Proof { hashes: &wrong, ..proof }, Some(Reason::PeerIdentityMismatch)),
        (Proof { revoked: Some(revoked.as_bytes()), ..proof }, Some(Reason::CertificateRevoked)),
        (Proof { revoked: Some(unrelated.as_bytes()), ..proof }, None),
    ];
    for (case, (proof, expected)) in cases.into_iter().enumerate() {
        let terminator = terminator(&Terms { clients: Clients::Proven(proof), ..terms(&shown) });
        match meet(&terminator, HTTP, &visitor.config()).await {
            Ok((_, seen)) => {
                assert_eq!(expected, None, "{case}");
                let Client { hash, subject, uris } = seen.unwrap();
                let known: String = whole[0].iter().map(|byte| format!("{byte:02x}")).collect();
                assert_eq!((hash, &*subject), (known, "CN=spiffe://outside.example/client"));
                assert_eq!(uris, ["spiffe://outside.example/client"]);
            }
            Err(failure) => assert_eq!(Some(failure.reason), expected, "{case}: {failure}"),
        }
    }
}

#[tokio::test]
async fn a_session_is_taken_up_again_by_the_same_end_and_by_no_other() {
    for versions in [ANY, (TlsVersion::V1_2, TlsVersion::V1_2)] {
        let ca = Ca::new();
        let (pair, client) = (pair(&ca, "web.example"), pair(&ca, "client.example"));
        let (shown, authorities) = ([shown(&pair)], ca.pem());
        let proof = Proof { authorities: authorities.as_bytes(), ..Proof::default() };
        let (open, closed) = (terms(&shown), Terms { clients: Clients::Proven(proof), ..terms(&shown) });
        let (open, closed) = (terminator(&open), terminator(&closed));
        let bare = Visitor { versions, ..Visitor::default() }.config();
        let known = Visitor { versions, ..Visitor::showing(&client) }.config();
        for expected in [HandshakeKind::Full, HandshakeKind::Resumed] {
            assert_eq!(meet(&open, HTTP, &bare).await.unwrap().0.kind, expected);
            let (seen, client) = meet(&closed, HTTP, &known).await.unwrap();
            assert_eq!((seen.kind, client.is_some()), (expected, true), "it is known as well as at first");
        }
        let failure = meet(&closed, HTTP, &bare).await.err().unwrap();
        assert_eq!(failure.reason, Reason::NoPeerCertificate, "a session with one end is none with another: {failure}");
    }
}

#[tokio::test]
async fn a_session_does_not_outlive_the_clients_certificate() {
    let ca = Ca::new();
    let (pair, client) = (pair(&ca, "web.example"), pair(&ca, "client.example"));
    let (shown, authorities) = ([shown(&pair)], ca.pem());
    let proof = Proof { authorities: authorities.as_bytes(), ..Proof::default() };
    let later = Arc::new(AtomicU64::new(0));
    let clock = Clock::new({
        let later = later.clone();
        move || now() + Duration::from_secs(later.load(Ordering::SeqCst))
    });
    let closed = Terminator::new(&Terms { clients: Clients::Proven(proof), ..terms(&shown) }, &clock).unwrap();
    let config = Visitor::showing(&client).config();
    meet(&closed, HTTP, &config).await.unwrap();
    later.store(HOUR.as_secs() + 60, Ordering::SeqCst);
    let (near, far) = duplex(64 << 10);
    let name = ServerName::try_from("web.example").unwrap();
    let connector = TlsConnector::from(config);
    let (served, _) = tokio::join!(closed.accept(far, HTTP, LIMIT), connector.connect(name, near));
    assert_eq!(served.unwrap_err().reason, Reason::CertificateExpired);
}

#[test]
fn what_cannot_be_shown_or_asked_for_is_refused_with_the_reason() {
    let ca = Ca::new();
    let (certificate, key) = pair(&ca, "web.example");
    let other = pair(&ca, "other.example").1;
    let dated = |from: Duration, to: Duration| {
        let mut params = params("web.example");
        params.not_before = clock::to_date(now() - 2 * HOUR + from);
        params.not_after = clock::to_date(now() - 2 * HOUR + to);
        ca.certify_pem(&params)
    };
    let (late, early) = (dated(Duration::ZERO, HOUR), dated(3 * HOUR, 4 * HOUR));
    let joined = key.replace('\n', "");
    let encrypted = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
    let no_key = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
    for (certificate, key, expected) in [
        ("", &*key, "Secret shop/web: its certificate cannot be used: there is no certificate in it"),
        (&*key, &*key, "there is no certificate in it"),
        ("-----BEGIN CERTIFICATE-----\nAAAA\n", &*key, "-----END ...----- is missing"),
        (&*no_key.replace("PRIVATE KEY", "CERTIFICATE"), &*key, "its certificate cannot be used"),
        (&*certificate, "", "Secret shop/web: its private key cannot be used: there is no private key in it"),
        (&*certificate, &*certificate, "there is no private key in it"),
        (&*certificate, encrypted, "it is encrypted"),
        (&*certificate, no_key, "its private key cannot be used"),
        (&*certificate, &*joined, "is not a line of its own"),
        (&*certificate, &*other, "Secret shop/web: its private key does not fit its certificate"),
        (&*late.0, &*late.1, "is valid from 2027-01-15T06:00:00Z to 2027-01-15T07:00:00Z only"),
        (&*early.0, &*early.1, "Secret shop/web: its certificate is valid from 2027-01-15T09:00:00Z"),
    ] {
        let pair = (certificate.to_owned(), key.to_owned());
        let shown = [shown(&pair)];
        let error = Terminator::new(&terms(&shown), &stopped_clock()).unwrap_err().to_string();
        assert!(error.contains(expected), "{expected}: {error}");
        assert!(!error.contains(joined.get(27..60).unwrap()), "{error}");
    }
    let pair = (certificate, key);
    let shown = [shown(&pair)];
    let (authorities, names) = (ca.pem(), [Arc::from("no name")]);
    let proof = Proof { authorities: authorities.as_bytes(), ..Proof::default() };
    for (proof, expected) in [
        (Proof { authorities: b"nothing", ..proof }, "the root bundle cannot be used: it holds no certificate"),
        (Proof { revoked: Some(b""), ..proof }, "certificate revocation list 1 cannot be used"),
        (Proof { names: &names, ..proof }, "\"no name\" is no DNS name, address or URI"),
    ] {
        let terms = Terms { clients: Clients::Perhaps(proof), ..terms(&shown) };
        let error = Terminator::new(&terms, &stopped_clock()).unwrap_err().to_string();
        assert!(error.contains(expected), "{expected}: {error}");
    }
    let terminator = terminator(&terms(&shown));
    assert_eq!(terminator.valid_until(), Some(now() + HOUR));
}

#[tokio::test]
async fn a_gateway_takes_clients_of_the_mesh_by_its_own_certificate_of_the_mesh() {
    let gateway = identity("spiffe://cluster.local/ns/edge/sa/gateway");
    let client = "spiffe://cluster.local/ns/shop/sa/client";
    let authority = Authority::generate(&"cluster.local".parse().unwrap(), now()).unwrap();
    let (roots, trust) = (TrustStore::new(authority.roots()), trust("cluster.local", &[]));
    let issuer = LocalIssuer::new(authority, HOUR, stopped_clock());
    let store = Certificates::new(issuer, roots, stopped_clock());
    assert!(store.terminator(&gateway, &[], &trust).is_err(), "there is no certificate yet");
    store.ensure(&gateway).await.unwrap();
    store.ensure(&identity(client)).await.unwrap();
    let config = store.tls_client(&identity(client), std::slice::from_ref(&gateway), &trust).unwrap();
    let (own, other) = ([Arc::from("client.example"), Arc::from(client)], [Arc::from("client.example")]);
    let cases: [(&[Arc<str>], bool); 3] = [(&[], true), (&own, true), (&other, false)];
    for (names, expected) in cases {
        let terminator = store.terminator(&gateway, names, &trust).unwrap();
        match meet(&terminator, HTTP, &config).await {
            Ok((seen, shown)) => {
                assert_eq!((shown.unwrap().uris, seen.protocol.as_deref()), (vec![client.to_owned()], Some("h2")));
                assert!(expected && seen.kind == HandshakeKind::Full, "{names:?}");
            }
            Err(failure) => {
                assert!(!expected, "{names:?}: {failure}");
                assert_eq!(failure.reason, Reason::PeerIdentityMismatch);
            }
        }
        assert_eq!(terminator.valid_until(), None);
    }
    let mut older = ClientConfig::clone(&config);
    older.alpn_protocols = vec![b"http/1.1".to_vec()];
    let terminator = store.terminator(&gateway, &[], &trust).unwrap();
    let (seen, _) = meet(&terminator, HTTP, &Arc::new(older)).await.unwrap();
    assert_eq!(seen.protocol.as_deref(), Some("http/1.1"));
}
