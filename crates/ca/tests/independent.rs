//! Our client with a CA that is not ours (`independent/ca.py`): certificates, their renewal, and refusals.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may panic"
)]

use std::io::{BufRead as _, BufReader};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use ambit_ca::RemoteIssuer;
use ambit_ca::client::Settings;
use ambit_identity::{Bundle, Certificates, Clock, Issuer, TrustStore, channel, csr, tls};
use ambit_model::{Identity, Mesh};
use ambit_tests::python;
use tempfile::TempDir;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::timeout;

/// What PyPI calls what the CA is made of, in the versions that the tests are written against.
const REQUIREMENTS: [&str; 3] = ["grpcio==1.85.*", "protobuf==6.33.*", "cryptography==46.*"];
const SOON: Duration = Duration::from_secs(60);
const HANDSHAKE: Duration = Duration::from_secs(5);

/// A running CA with what it prints. It is killed when this is dropped.
struct Ca {
    process: Child,
    said: UnboundedReceiver<String>,
    directory: TempDir,
    port: String,
}

impl Ca {
    async fn start() -> Self {
        let python = python::ensure_installed("independent-ca", &REQUIREMENTS).unwrap();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/independent/ca.py");
        let directory = tempfile::tempdir().unwrap();
        let mut command = Command::new(python);
        command.arg(script).arg(directory.path()).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = command.spawn().unwrap();
        let (say, said) = unbounded_channel();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                // An error means that the test has ended.
                let _ = say.send(line);
            }
        });
        let mut ca = Self { process, said, directory, port: String::new() };
        ca.port = ca.says("listening ").await;
        ca
    }

    /// Waits for the next line, which begins with `what`: the rest of it.
    async fn says(&mut self, what: &str) -> String {
        let line = timeout(SOON, self.said.recv()).await.unwrap().expect("the CA has ended");
        line.strip_prefix(what).unwrap_or_else(|| panic!("{line:?} instead of {what:?}")).to_owned()
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn trust(&self) -> TrustStore {
        TrustStore::new(Bundle::from_pem(&std::fs::read(self.file("root.pem")).unwrap()).unwrap())
    }

    fn issuer(&self, ttl: Duration) -> RemoteIssuer {
        let settings = Settings {
            address: format!("https://127.0.0.1:{}", self.port),
            name: Some("istiod.istio-system.svc".to_owned()),
            token: self.file("token"),
            cluster: "Kubernetes".to_owned(),
            ttl,
        };
        RemoteIssuer::new(&settings, channel::Client::new(self.trust(), Clock::system())).unwrap()
    }

    fn store(&self, ttl: Duration) -> Certificates<RemoteIssuer> {
        Certificates::new(self.issuer(ttl), self.trust(), Clock::system())
    }
}

impl Drop for Ca {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn identity(account: &str) -> Identity {
    format!("spiffe://cluster.local/ns/shop/sa/{account}").parse().unwrap()
}

#[tokio::test]
async fn two_workloads_prove_themselves_by_certificates_of_a_ca_that_is_not_ours() {
    let mut ca = Ca::start().await;
    let store = ca.store(Duration::from_secs(600));
    let (client, server) = (identity("client"), identity("server"));
    for who in [&client, &server] {
        store.ensure(who).await.unwrap();
        assert_eq!(ca.says("certified ").await, format!("{who} 600"));
    }
    let trust = Mesh::default().trust_domains;
    let accepting = store.tls_server(&server, &trust).unwrap();
    let connecting = store.tls_client(&client, std::slice::from_ref(&server), &trust).unwrap();
    let (near, far) = tokio::io::duplex(64 << 10);
    let ip = IpAddr::from([127, 0, 0, 1]);
    let (seen, proven) =
        tokio::join!(tls::connect(connecting, near, ip, HANDSHAKE), tls::accept(accepting, far, HANDSHAKE));
    assert_eq!((seen.unwrap().1.identity, proven.unwrap().1.identity), (server, client));
}

#[tokio::test]
async fn certificates_of_a_ca_that_is_not_ours_are_renewed() {
    let mut ca = Ca::start().await;
    let store = ca.store(Duration::from_secs(4));
    let who = identity("client");
    store.ensure(&who).await.unwrap();
    let first = store.list();
    // The third is asked for at half of the life of the second, which has thus been taken.
    let renewed = async {
        for _ in 0..3 {
            assert_eq!(ca.says("certified ").await, format!("{who} 4"));
        }
    };
    tokio::select! {
        () = renewed => {}
        () = store.renew_loop(std::future::pending()) => unreachable!("it has no end"),
    }
    assert_ne!(first[0].certificate, store.list()[0].certificate);
}

#[tokio::test]
async fn the_refusals_of_a_ca_that_is_not_ours_are_told_and_end() {
    let mut ca = Ca::start().await;
    let issuer = ca.issuer(Duration::from_secs(600));
    let who = identity("client");
    let (_, csr) = csr::request(&who).unwrap();
    for (code, shown) in [("UNAVAILABLE", "Unavailable"), ("RESOURCE_EXHAUSTED", "ResourceExhausted")] {
        std::fs::write(ca.file(code), "come back later").unwrap();
        let error = issuer.sign(&csr, &who).await.unwrap_err().to_string();
        assert_eq!(error, format!("the CA did not certify {who}: {shown}: come back later"));
        assert_eq!(ca.says("refused ").await, code);
        std::fs::remove_file(ca.file(code)).unwrap();
    }
    let token = std::fs::read(ca.file("token")).unwrap();
    std::fs::write(ca.file("token"), "another's").unwrap();
    let error = issuer.sign(&csr, &who).await.unwrap_err().to_string();
    assert_eq!(error, format!("the CA did not certify {who}: Unauthenticated: this token is nobody's"));
    assert_eq!(ca.says("refused ").await, "UNAUTHENTICATED");
    std::fs::write(ca.file("token"), token).unwrap();
    // The leaf and the intermediate, without the root that the CA sends along.
    assert_eq!(issuer.sign(&csr, &who).await.unwrap().len(), 2);
}
