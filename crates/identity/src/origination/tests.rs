use rcgen::{CertificateParams, KeyPair, SanType};
use rustls::server::WebPkiClientVerifier;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::fixtures::{Ca, HOUR, leaf, list_of, now, self_signed, stopped_clock};

const LIMIT: Duration = Duration::from_secs(5);

/// The certificate of a server that goes by these names.
fn params(names: &[&str]) -> CertificateParams {
    let mut params = leaf(&[]);
    let name = |name: &&str| match name.parse() {
        Ok(address) => SanType::IpAddress(address),
        Err(_) if name.contains("://") => SanType::URI((*name).try_into().unwrap()),
        Err(_) => SanType::DnsName((*name).try_into().unwrap()),
    };
    params.subject_alt_names = names.iter().map(name).collect();
    params
}

/// A server, and its versions, protocols and whose clients it takes (anybody without a certificate, if nobody's).
struct Server<'a> {
    certificate: Arc<CertifiedKey>,
    versions: &'a [&'static SupportedProtocolVersion],
    protocols: &'a [&'a str],
    clients: Option<&'a Ca>,
}

impl Server<'_> {
    fn of(ca: &Ca, names: &[&str]) -> Self {
        Self { certificate: ca.certify(&params(names)), versions: rustls::ALL_VERSIONS, protocols: &[], clients: None }
    }

    fn config(&self) -> Arc<ServerConfig> {
        let builder = ServerConfig::builder_with_details(foreign_provider().clone(), Arc::new(stopped_clock()));
        let builder = builder.with_protocol_versions(self.versions).unwrap();
        let builder = match self.clients {
            Some(ca) => {
                let mut roots = RootCertStore::empty();
                roots.add(ca.bundle().roots().next().unwrap().clone()).unwrap();
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), foreign_provider().clone());
                builder.with_client_cert_verifier(verifier.build().unwrap())
            }
            None => builder.with_no_client_auth(),
        };
        let mut config = builder.with_cert_resolver(Arc::new(SingleCertAndKey::from(self.certificate.clone())));
        config.alpn_protocols = self.protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        Arc::new(config)
    }

    /// What the client that keeps to `terms` and asks for `name` has of it: the greeting and the protocol, or why not.
    async fn greets(
        &self,
        terms: &Terms<'_>,
        name: &str,
        protocol: Option<&'static str>,
    ) -> Result<(String, Option<String>), Failure> {
        let (here, there) = duplex(16 << 10);
        let server = TlsAcceptor::from(self.config());
        let served = async move {
            if let Ok(mut stream) = server.accept(there).await {
                // Whoever has refused its certificate does not read it.
                let _ = stream.write_all(b"hello").await;
                let _ = stream.shutdown().await;
            }
        };
        let originator = Originator::new(terms, &stopped_clock()).expect("usable terms");
        let (asked, ()) = tokio::join!(ask(&originator, here, name, protocol), served);
        asked
    }
}

async fn ask(
    originator: &Originator,
    transport: DuplexStream,
    name: &str,
    protocol: Option<&'static str>,
) -> Result<(String, Option<String>), Failure> {
    let mut stream = originator.connect(transport, name, protocol, LIMIT).await?;
    let mut greeting = String::new();
    // With TLS 1.3 a server refuses a client's certificate after the client's own handshake is over.
    let read = stream.read_to_string(&mut greeting).await;
    read.map_err(|error| Failure::of_handshake(&error, None))?;
    let agreed = stream.get_ref().1.alpn_protocol().map(|agreed| String::from_utf8_lossy(agreed).into_owned());
    Ok((greeting, agreed))
}

fn pem(ca: &Ca) -> Vec<u8> {
    let roots: Vec<_> = ca.bundle().roots().map(|root| pem::Pem::new("CERTIFICATE", root.to_vec())).collect();
    pem::encode_many(&roots).into_bytes()
}

#[tokio::test]
async fn a_server_proves_the_name_that_it_is_dialled_by_or_one_that_is_asked_for() {
    let ca = Ca::new();
    let authorities = pem(&ca);
    let server =
        Server::of(&ca, &["ratings.example", "*.wild.example", "10.0.0.7", "spiffe://cluster.local/ns/a/sa/b"]);
    let asked: [(&[&str], &str, bool); 11] = [
        (&[], "ratings.example", true),
        (&[], "a.wild.example", true),
        (&[], "10.0.0.7", true),
        (&[], "reviews.example", false),
        (&[], "10.0.0.8", false),
        (&["ratings.example"], "reviews.example", true),
        (&["reviews.example", "spiffe://cluster.local/ns/a/sa/b"], "reviews.example", true),
        (&["10.0.0.7"], "reviews.example", true),
        (&["reviews.example"], "ratings.example", false),
        (&["spiffe://cluster.local/ns/a/sa/c"], "ratings.example", false),
        (&["spiffe://cluster.local/ns/a/sa"], "ratings.example", false),
    ];
    for (names, dialled, expected) in asked {
        let names: Vec<Arc<str>> = names.iter().map(|name| Arc::from(*name)).collect();
        let terms = Terms { authorities: Some(&authorities), names: &names, ..Terms::default() };
        match server.greets(&terms, dialled, None).await {
            Ok((greeting, _)) => assert!(expected && greeting == "hello", "{names:?} {dialled}"),
            Err(why) => {
                assert!(!expected, "{names:?} {dialled}: {why}");
                assert_eq!(why.reason, Reason::PeerIdentityMismatch, "{why}");
                assert!(why.detail.contains("the server's certificate is for [ratings.example"), "{why}");
            }
        }
    }
}

#[tokio::test]
async fn authorities_validity_and_revocation_count_unless_anybody_will_do() {
    let (ca, other) = (Ca::new(), Ca::new());
    let (authorities, others) = (pem(&ca), pem(&other));
    let server = Server::of(&ca, &["ratings.example"]);
    let revoked = list_of(&ca, &[&[0x0a, 0xbc]]);
    let mut late = params(&["ratings.example"]);
    late.not_after = crate::clock::to_date(now() - HOUR / 2);
    let late = Server { certificate: ca.certify(&late), ..Server::of(&ca, &[]) };
    let own = Server { certificate: self_signed(&params(&["other.example"])), ..Server::of(&ca, &[]) };
    let strict = Terms { authorities: Some(&authorities), ..Terms::default() };
    let cases = [
        (&server, Terms { authorities: Some(&others), ..strict }, Some(Reason::UntrustedIssuer)),
        (&server, Terms { revoked: Some(revoked.as_bytes()), ..strict }, Some(Reason::CertificateRevoked)),
        (&late, strict, Some(Reason::CertificateExpired)),
        (&own, strict, Some(Reason::UntrustedIssuer)),
        (&own, Terms { skip_verify: true, ..Terms::default() }, None),
        (&server, strict, None),
    ];
    for (case, (server, terms, expected)) in cases.into_iter().enumerate() {
        let outcome = server.greets(&terms, "ratings.example", None).await;
        assert_eq!(outcome.as_ref().err().map(|why| why.reason), expected, "{case}: {outcome:?}");
    }
}

#[tokio::test]
async fn a_client_shows_its_certificate_where_it_has_one() {
    let ca = Ca::new();
    let authorities = pem(&ca);
    let server = Server { clients: Some(&ca), ..Server::of(&ca, &["ratings.example"]) };
    let (certificate, key) = ca.certify_pem(&params(&["client.example"]));
    let bare = Terms { authorities: Some(&authorities), ..Terms::default() };
    let shown = Terms { client: Some((certificate.as_bytes(), key.as_bytes())), ..bare };
    let greeting = server.greets(&shown, "ratings.example", None).await.unwrap().0;
    assert_eq!(greeting, "hello");
    let refused = server.greets(&bare, "ratings.example", None).await.unwrap_err();
    assert_eq!(refused.reason, Reason::NoPeerCertificate, "{refused}");
}

#[tokio::test]
async fn old_servers_are_spoken_to_and_a_protocol_is_agreed_on() {
    let ca = Ca::new();
    let authorities = pem(&ca);
    let terms = Terms { authorities: Some(&authorities), ..Terms::default() };
    let old = Server { versions: &[&rustls::version::TLS12], ..Server::of(&ca, &["ratings.example"]) };
    assert_eq!(old.greets(&terms, "ratings.example", Some("h2")).await.unwrap(), ("hello".to_owned(), None));
    let both = Server { protocols: &["http/1.1", "h2"], ..Server::of(&ca, &["ratings.example"]) };
    let agreed = both.greets(&terms, "ratings.example", Some("h2")).await.unwrap().1;
    assert_eq!(agreed.as_deref(), Some("h2"));
    let older = Server { protocols: &["http/1.1"], ..Server::of(&ca, &["ratings.example"]) };
    let refused = older.greets(&terms, "ratings.example", Some("h2")).await.unwrap_err();
    assert_eq!(refused.reason, Reason::AlpnMismatch, "{refused}");
    let refused = both.greets(&terms, "not a name", None).await.unwrap_err();
    assert!(refused.detail.contains("is no name of a server"), "{refused}");
}

#[test]
fn files_that_cannot_be_used_are_refused_with_the_reason() {
    let ca = Ca::new();
    let (certificate, key) = ca.certify_pem(&params(&["client.example"]));
    let other = KeyPair::generate().unwrap().serialize_pem();
    let (certificate, key, other) = (certificate.as_bytes(), key.as_bytes(), other.as_bytes());
    let names = [Arc::from("no name")];
    let authorities = pem(&ca);
    let good = Terms { authorities: Some(&authorities), client: Some((certificate, key)), ..Terms::default() };
    assert!(Originator::new(&good, &stopped_clock()).is_ok());
    let cases: [(Terms<'_>, &str); 6] = [
        (Terms { authorities: Some(b"nothing"), ..good }, "the root bundle cannot be used: it holds no certificate"),
        (Terms { revoked: Some(b""), ..good }, "certificate revocation list 1 cannot be used"),
        (Terms { client: Some((b"", key)), ..good }, "there is no certificate in it"),
        (Terms { client: Some((certificate, b"")), ..good }, "its private key"),
        (Terms { client: Some((certificate, other)), ..good }, "the client certificate cannot be used"),
        (Terms { names: &names, ..good }, "\"no name\" is no DNS name, address or URI"),
    ];
    for (terms, expected) in cases {
        let error = Originator::new(&terms, &stopped_clock()).err().map(|error| error.to_string());
        assert!(error.as_deref().is_some_and(|error| error.contains(expected)), "{expected}: {error:?}");
    }
}
