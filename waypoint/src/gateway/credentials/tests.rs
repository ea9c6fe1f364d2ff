//! What becomes of Secrets and files as they come, change and are damaged: whom clients meet, and what is told.

use std::fs;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::SystemTime;

use ambit_discovery::{Publisher, publish};
use ambit_model::gateway::{Authorities, Certificate, Clients, Proof, TlsVersion};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, KeyUsagePurpose};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
use tokio_rustls::TlsConnector;

use super::*;

const LIMIT: Duration = Duration::from_secs(5);

/// An authority.
struct Issuer(CertifiedIssuer<'static, KeyPair>);

impl Issuer {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn pem(&self) -> String {
        self.0.pem()
    }

    fn pair(&self) -> Pair {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(["web.example".to_owned()]).unwrap().signed_by(&key, &self.0).unwrap();
        Pair { certificate: certificate.pem(), der: certificate.der().clone(), key }
    }
}

/// A certificate and its key.
struct Pair {
    certificate: String,
    der: CertificateDer<'static>,
    key: KeyPair,
}

impl Pair {
    fn key(&self) -> String {
        self.key.serialize_pem()
    }

    fn secret(&self) -> Secret {
        secret(&[("tls.crt", &self.certificate), ("tls.key", &self.key())])
    }
}

fn secret(data: &[(&str, &str)]) -> Secret {
    Secret::new(data.iter().map(|(key, value)| (*key, value.as_bytes())))
}

/// A gateway in the namespace `edge`, and the Secrets there.
struct Edge {
    issuer: Issuer,
    publisher: Publisher<Secrets>,
    credentials: Credentials,
    /// The names that were asked for of clients of the mesh.
    asked: Arc<Mutex<Vec<Vec<Arc<str>>>>>,
    files: TempDir,
}

impl Edge {
    /// One without Secrets.
    fn new() -> Self {
        let edge = Self::unread();
        edge.publish([]);
        edge
    }

    /// One whose Secrets nobody has read yet.
    fn unread() -> Self {
        let (publisher, secrets) = publish(Secrets::default());
        let asked = Arc::<Mutex<Vec<Vec<Arc<str>>>>>::default();
        let mesh = {
            let asked = asked.clone();
            move |names: &[Arc<str>]| {
                asked.lock().unwrap().push(names.to_vec());
                Err(Error::Crypto("no mesh here".to_owned()))
            }
        };
        let credentials = Credentials::new(secrets, "edge", mesh, Clock::system());
        Self { issuer: Issuer::new(), publisher, credentials, asked, files: tempfile::tempdir().unwrap() }
    }

    /// There are these Secrets, and no others.
    fn publish<'a>(&self, secrets: impl IntoIterator<Item = (&'a str, Secret)>) {
        let secrets = secrets.into_iter().map(|(name, secret)| (Arc::from(name), secret));
        self.publisher.publish(secrets.collect());
    }

    async fn why_not(&self, tls: &Arc<Tls>) -> String {
        self.credentials.terminator(tls).await.expect_err("a refusal").to_string()
    }

    /// The certificate that a client is shown, which believes the issuer and shows `pair` if asked; none if it is refused.
    async fn meets(&self, tls: &Arc<Tls>, pair: Option<&Pair>) -> Option<CertificateDer<'static>> {
        let terminator = self.credentials.terminator(tls).await.expect("TLS is ended");
        let mut roots = RootCertStore::empty();
        roots.add(self.issuer.0.der().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let config = config.with_root_certificates(roots);
        let config = match pair {
            Some(pair) => {
                let key = PrivatePkcs8KeyDer::from(pair.key.serialize_der());
                config.with_client_auth_cert(vec![pair.der.clone()], key.into()).unwrap()
            }
            None => config.with_no_client_auth(),
        };
        let (near, far) = duplex(64 << 10);
        let served = async {
            let (mut stream, _) = terminator.accept(far, &[], LIMIT).await.ok()?;
            stream.write_all(b"hello").await.unwrap();
            stream.shutdown().await.ok()
        };
        let visited = async {
            let name = ServerName::try_from("web.example").unwrap();
            let mut stream = TlsConnector::from(Arc::new(config)).connect(name, near).await.ok()?;
            stream.read_to_string(&mut String::new()).await.ok()?;
            Some(stream.get_ref().1.peer_certificates()?[0].clone())
        };
        tokio::join!(served, visited).1
    }

    async fn shows(&self, tls: &Arc<Tls>, pair: &Pair) -> bool {
        self.meets(tls, None).await.as_ref() == Some(&pair.der)
    }

    fn faults(&self) -> Vec<String> {
        self.credentials.faults().into_iter().map(|(what, why)| format!("{what} | {why}")).collect()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.files.path().join(name)
    }

    /// Writes a file, and returns its path as a Gateway names it.
    fn write(&self, name: &str, content: &str) -> Arc<str> {
        fs::write(self.path(name), content).unwrap();
        Arc::from(self.path(name).to_str().unwrap())
    }
}

fn tls(certificates: Vec<Certificate>, clients: Clients) -> Arc<Tls> {
    let (min, max) = (TlsVersion::V1_2, TlsVersion::V1_3);
    Arc::new(Tls { certificates, clients, min, max, cipher_suites: Vec::new() })
}

/// TLS by the Secret that is called so, for anybody.
fn simple(name: &str) -> Arc<Tls> {
    tls(vec![Certificate::Secret(Arc::from(name))], Clients::Anybody)
}

fn proof(authorities: Authorities) -> Proof {
    Proof { authorities, revoked: None, subject_alt_names: Vec::new(), spki: Vec::new(), hashes: Vec::new() }
}

/// TLS by the Secret `web`, for whom these vouch for.
fn mutual(authorities: Authorities) -> Arc<Tls> {
    tls(vec![Certificate::Secret(Arc::from("web"))], Clients::Proven(proof(authorities)))
}

#[tokio::test]
async fn a_secret_goes_by_its_name_and_is_of_the_gateways_own_namespace() {
    let edge = Edge::unread();
    let pair = edge.issuer.pair();
    assert_eq!(edge.why_not(&simple("web")).await, "the Secrets of namespace edge are not known yet");
    assert_eq!(edge.faults(), [""; 0], "which is no fault of theirs");
    let generic = secret(&[("cert", &pair.certificate), ("key", &pair.key())]);
    edge.publish([("web", pair.secret()), ("generic", generic), ("half", secret(&[("tls.crt", "c")]))]);
    for name in
        ["web", "generic", "edge/web", "kubernetes://web", "kubernetes://edge/web", "kubernetes-gateway://edge/web"]
    {
        assert!(edge.shows(&simple(name), &pair).await, "{name}");
    }
    for (name, expected) in [
        ("nobody", "there is no Secret edge/nobody of type kubernetes.io/tls or Opaque: make it"),
        ("half", "Secret edge/half: it has tls.crt but not tls.key"),
        ("kubernetes://shop/web", "it is in namespace shop, and a gateway reads Secrets of its own alone"),
        ("shop/web", "it is in namespace shop"),
        ("builtin://", "credentialName builtin://: nothing is read from builtin://; name a Secret of namespace edge"),
        ("sds://web", "nothing is read from sds://"),
    ] {
        let why = edge.why_not(&simple(name)).await;
        assert!(why.contains(expected), "{name}: {why}");
    }
    assert_eq!(edge.faults().len(), 6);
    assert!(edge.faults().is_sorted());
}

#[tokio::test]
async fn a_secret_that_changes_is_shown_at_once_and_one_that_is_damaged_is_not() {
    let edge = Edge::new();
    let [first, second, third] = [(); 3].map(|()| edge.issuer.pair());
    let web = simple("web");
    assert!(edge.why_not(&web).await.contains("there is no Secret edge/web"));
    edge.publish([("web", first.secret())]);
    assert!(edge.shows(&web, &first).await);
    assert_eq!(edge.faults(), [""; 0]);
    let kept = edge.credentials.terminator(&web).await.unwrap();
    edge.publish([("web", second.secret()), ("other", third.secret())]);
    assert!(edge.shows(&web, &second).await);
    assert!(!Arc::ptr_eq(&kept, &edge.credentials.terminator(&web).await.unwrap()));
    let mismatched = secret(&[("tls.crt", &first.certificate), ("tls.key", &third.key())]);
    for (damaged, expected) in [
        (Some(mismatched), "Secret edge/web | Secret edge/web: its private key does not fit its certificate"),
        (Some(secret(&[("tls.crt", "none"), ("tls.key", "none")])), "there is no certificate in it"),
        (None, "there is no Secret edge/web"),
    ] {
        edge.publish(damaged.map(|damaged| ("web", damaged)));
        assert!(edge.shows(&web, &second).await, "the last good one stays in force: {expected}");
        let faults = edge.faults();
        assert!(faults.len() == 1 && faults[0].contains(expected), "{faults:?}");
        // Who comes to another listener meets with nothing of this.
        assert!(edge.why_not(&simple("other")).await.contains("there is no Secret edge/other"));
        edge.credentials.known.lock().unwrap().retain(|known, _| *known == web);
    }
    edge.publish([("web", third.secret())]);
    assert!(edge.shows(&web, &third).await);
    assert_eq!(edge.faults(), [""; 0]);
}

#[tokio::test]
async fn a_certificate_that_runs_out_is_shown_on_and_that_is_told() {
    let edge = Edge::unread();
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(["web.example".to_owned()]).unwrap();
    let soon = SystemTime::now() + Duration::from_secs(2);
    params.not_after = soon.into();
    let certificate = params.signed_by(&key, &edge.issuer.0).unwrap();
    edge.publish([("web", secret(&[("tls.crt", &certificate.pem()), ("tls.key", &key.serialize_pem())]))]);
    let web = simple("web");
    let shown = edge.credentials.terminator(&web).await.unwrap();
    assert_eq!(edge.faults(), [""; 0]);
    tokio::time::sleep(Duration::from_millis(2500)).await;
    assert!(Arc::ptr_eq(&shown, &edge.credentials.terminator(&web).await.unwrap()));
    let faults = edge.faults();
    assert!(faults.len() == 1 && faults[0].contains("renew it"), "{faults:?}");
}

#[tokio::test]
async fn files_are_read_again_when_they_change_and_those_that_are_damaged_change_nothing() {
    let edge = Edge::new();
    let [first, second] = [(); 2].map(|()| edge.issuer.pair());
    let (certificate, key) = (edge.write("crt", &first.certificate), edge.write("key", &first.key()));
    let files = tls(vec![Certificate::Files { certificate, key }], Clients::Anybody);
    assert!(edge.shows(&files, &first).await);
    edge.write("crt", &second.certificate);
    tokio::time::sleep(FRESH).await;
    assert!(edge.shows(&files, &first).await);
    assert!(edge.faults()[0].contains("its private key does not fit its certificate"), "{:?}", edge.faults());
    edge.write("key", &second.key());
    tokio::time::sleep(FRESH).await;
    assert!(edge.shows(&files, &second).await);
    assert_eq!(edge.faults(), [""; 0]);
    fs::remove_file(edge.path("key")).unwrap();
    tokio::time::sleep(FRESH).await;
    assert!(edge.shows(&files, &second).await);
    assert!(edge.faults()[0].contains("privateKey"), "{:?}", edge.faults());
}

#[tokio::test]
async fn clients_are_held_to_authorities_wherever_those_are() {
    let edge = Edge::new();
    let other = Issuer::new();
    let [web, good, bad] = [edge.issuer.pair(), edge.issuer.pair(), other.pair()];
    let (own, foreign) = (edge.issuer.pem(), other.pem());
    let with =
        |key, authorities: &str| secret(&[("tls.crt", &web.certificate), ("tls.key", &web.key()), (key, authorities)]);
    let name = || Arc::from("web");
    let apart = |authorities: &str| secret(&[("cacert", authorities)]);
    let file = edge.write("ca", &own);
    let cases = [
        (mutual(Authorities::WithCertificate(name())), vec![("web", with("ca.crt", &own))]),
        (mutual(Authorities::WithCertificate(name())), vec![("web", with("cacert", &own))]),
        (mutual(Authorities::WithCertificate(name())), vec![("web", web.secret()), ("web-cacert", apart(&own))]),
        (
            mutual(Authorities::WithCertificate(name())),
            vec![("web", with("ca.crt", &foreign)), ("web-cacert", apart(&own))],
        ),
        (mutual(Authorities::Secret(Arc::from("clients"))), vec![("web", web.secret()), ("clients", apart(&own))]),
        (mutual(Authorities::File(file)), vec![("web", web.secret())]),
    ];
    for (case, (tls, secrets)) in cases.into_iter().enumerate() {
        edge.publish(secrets);
        assert!(edge.meets(&tls, Some(&good)).await.is_some(), "{case}");
        assert!(edge.meets(&tls, Some(&bad)).await.is_none(), "{case}");
        assert!(edge.meets(&tls, None).await.is_none(), "{case}");
    }
    edge.credentials.known.lock().unwrap().clear();
    edge.publish([("web", web.secret())]);
    let why = edge.why_not(&mutual(Authorities::WithCertificate(name()))).await;
    assert!(why.starts_with("Secret edge/web: it has neither the key ca.crt nor cacert"), "{why}");
    edge.publish([("web", with("ca.crt", "none"))]);
    let why = edge.why_not(&mutual(Authorities::WithCertificate(name()))).await;
    assert!(why.starts_with("Secret edge/web: the root bundle cannot be used"), "{why}");
}

#[tokio::test]
async fn clients_of_the_mesh_meet_the_gateways_own_certificate_of_the_mesh() {
    let edge = Edge::new();
    let client: Arc<str> = Arc::from("spiffe://cluster.local/ns/shop/sa/client");
    let named = Proof { subject_alt_names: vec![client.clone()], ..proof(Authorities::Mesh) };
    for proof in [proof(Authorities::Mesh), named] {
        let why = edge.why_not(&tls(vec![Certificate::Mesh], Clients::Proven(proof))).await;
        assert_eq!(why, "cryptography: no mesh here");
    }
    assert_eq!(*edge.asked.lock().unwrap(), [vec![], vec![client]]);
    let pinned = Proof { hashes: vec![[0; 32]], ..proof(Authorities::Mesh) };
    for (certificates, clients, expected) in [
        (vec![Certificate::Mesh], Clients::Anybody, "does not go with anybody as a client"),
        (vec![Certificate::Mesh], Clients::Perhaps(proof(Authorities::Mesh)), "or clients without one"),
        (vec![Certificate::Mesh], Clients::Proven(pinned), "does not go with verifyCertificateHash"),
    ] {
        let why = edge.why_not(&tls(certificates, clients)).await;
        assert!(why.contains(expected), "{expected}: {why}");
    }
    assert_eq!(edge.asked.lock().unwrap().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn what_is_served_is_looked_at_before_anybody_comes_and_forgotten_after() {
    let edge = Edge::new();
    let served = Mutex::new(vec![simple("web"), simple("other")]);
    let watch = async {
        for (publish, serve, expected) in [(false, 2, 2), (true, 2, 1), (true, 1, 0)] {
            let pair = edge.issuer.pair();
            if publish {
                edge.publish([("web", pair.secret())]);
            }
            served.lock().unwrap().truncate(serve);
            let reached = async {
                while edge.faults().len() != expected {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            };
            tokio::time::timeout(Duration::from_secs(60), reached).await.expect("it is looked at");
        }
    };
    tokio::select! {
        () = edge.credentials.follow(|| served.lock().unwrap().clone()) => {}
        () = watch => {}
    }
    assert_eq!(edge.credentials.known.lock().unwrap().len(), 1);
}
