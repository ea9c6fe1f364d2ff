//! The same promises, asked of by an independent implementation: the `openssl` command.

use std::path::Path;
use std::process::Stdio;

use tempfile::TempDir;
use tokio::process::{Child, Command};

use super::*;
use crate::authority::Authority;
use crate::client::{Issuer, LocalIssuer};
use crate::clock::Clock;
use crate::csr;

/// A CA, and as files for `openssl` its root and the key and certificate of CLIENT.
struct Files {
    directory: TempDir,
    authority: LocalIssuer,
    roots: Bundle,
}

impl Files {
    async fn new() -> Self {
        let clock = Clock::system();
        let authority = Authority::generate(&"cluster.local".parse().unwrap(), clock.now()).unwrap();
        let roots = authority.roots();
        let files = Self {
            directory: tempfile::tempdir().unwrap(),
            authority: LocalIssuer::new(authority, HOUR, clock),
            roots,
        };
        let root = files.roots.roots().next().unwrap().to_vec();
        std::fs::write(files.path("root.der"), root).unwrap();
        let (key, csr) = csr::request(&identity(CLIENT)).unwrap();
        let chain = files.authority.sign(&csr, &identity(CLIENT)).await.unwrap();
        std::fs::write(files.path("key.der"), key.secret_pkcs8_der()).unwrap();
        std::fs::write(files.path("cert.der"), &chain[0]).unwrap();
        files.convert("x509", "root").await;
        files.convert("x509", "cert").await;
        files.convert("pkey", "key").await;
        files
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.directory.path().join(name)
    }

    async fn convert(&self, command: &str, name: &str) {
        let (from, to) = (self.path(&format!("{name}.der")), self.path(&format!("{name}.pem")));
        let mut openssl = Command::new("openssl");
        openssl.arg(command).args(["-inform", "DER", "-in"]).arg(from).arg("-out").arg(to);
        assert!(openssl.status().await.unwrap().success(), "{command} {name}");
    }

    async fn certificate(&self, of: &str) -> Arc<SingleCertAndKey> {
        let (key, csr) = csr::request(&identity(of)).unwrap();
        let chain = self.authority.sign(&csr, &identity(of)).await.unwrap();
        let certified = CertifiedKey::from_der(chain, key.into(), crate::provider::provider()).unwrap();
        Arc::new(SingleCertAndKey::from(certified))
    }

    async fn server(&self) -> Arc<ServerConfig> {
        let verifier = verifier(&self.roots, Expected::Anyone);
        server_config(self.certificate(SERVER).await, verifier, &Clock::system()).unwrap()
    }

    async fn client(&self, expected: &str) -> Arc<ClientConfig> {
        let verifier = verifier(&self.roots, Expected::OneOf(vec![identity(expected)]));
        client_config(self.certificate(OTHER).await, verifier, &Clock::system()).unwrap()
    }
}

fn openssl(directory: &Path, arguments: &str) -> Child {
    Command::new("openssl")
        .args(arguments.split_whitespace())
        .current_dir(directory)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}

#[tokio::test]
async fn s_client_is_let_in_only_with_tls13_our_suites_h2_and_a_certificate() {
    let files = Files::new().await;
    let server = files.server().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let good = "-cert cert.pem -key key.pem -CAfile root.pem -verify_return_error -alpn h2";
    let cases = [
        ("-tls1_3 -ciphersuites TLS_AES_128_GCM_SHA256", good, None),
        ("-tls1_3 -ciphersuites TLS_AES_256_GCM_SHA384", good, None),
        ("-tls1_3 -groups P-256", good, None),
        ("-tls1_3 -ciphersuites TLS_CHACHA20_POLY1305_SHA256", good, Some(Reason::TlsFailure)),
        ("-tls1_3 -groups P-384", good, Some(Reason::TlsFailure)),
        ("-tls1_2", good, Some(Reason::TlsVersion)),
        ("-tls1_3", "-CAfile root.pem -alpn h2", Some(Reason::NoPeerCertificate)),
        ("-tls1_3", "-cert cert.pem -key key.pem -CAfile root.pem -alpn http/1.1", Some(Reason::AlpnMismatch)),
        ("-tls1_3", "-cert cert.pem -key key.pem -CAfile root.pem", Some(Reason::AlpnMismatch)),
    ];
    for (what, how, reason) in cases {
        let mut client =
            openssl(files.directory.path(), &format!("s_client -connect 127.0.0.1:{port} -quiet {what} {how}"));
        let (accepted, _) = listener.accept().await.unwrap();
        let outcome = accept(server.clone(), accepted, LIMIT).await;
        drop(client.stdin.take());
        match (outcome, reason) {
            (Ok((mut stream, peer)), None) => {
                assert_eq!(peer.identity, identity(CLIENT), "{what}");
                stream.write_all(b"hello from the mesh").await.unwrap();
                stream.shutdown().await.unwrap();
                let output = client.wait_with_output().await.unwrap();
                let text = String::from_utf8_lossy(&output.stdout);
                assert!(text.contains("hello from the mesh"), "{what}: {output:?}");
            }
            (Err(failure), Some(reason)) => assert_eq!(failure.reason, reason, "{what} {how}: {failure}"),
            (Ok(_), Some(reason)) => panic!("{what} {how} was let in, expected {reason:?}"),
            (Err(failure), None) => panic!("{what} {how}: {failure}"),
        }
    }
}

#[tokio::test]
async fn openssl_verifies_our_certificates_for_both_purposes() {
    let files = Files::new().await;
    for purpose in ["sslserver", "sslclient"] {
        let arguments = format!("verify -x509_strict -purpose {purpose} -CAfile root.pem cert.pem");
        let output = openssl(files.directory.path(), &arguments).wait_with_output().await.unwrap();
        assert!(output.status.success(), "{purpose}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

/// The port that an `openssl s_server` says it listens to.
async fn listening(server: &mut Child) -> u16 {
    use tokio::io::{AsyncBufReadExt, BufReader};
    let mut lines = BufReader::new(server.stdout.as_mut().unwrap()).lines();
    loop {
        let line = lines.next_line().await.unwrap().expect("a line that names the port");
        if let Some((_, port)) = line.strip_prefix("ACCEPT ").and_then(|address| address.rsplit_once(':')) {
            return port.parse().unwrap();
        }
    }
}

#[tokio::test]
async fn s_server_is_talked_to_only_with_tls13_h2_and_the_identity_expected() {
    let files = Files::new().await;
    let good = "-cert cert.pem -key key.pem -CAfile root.pem -Verify 2 -verify_return_error";
    let cases = [
        ("-tls1_3 -alpn h2", CLIENT, None),
        ("-tls1_3 -alpn h2", SERVER, Some(Reason::PeerIdentityMismatch)),
        ("-tls1_2 -alpn h2", CLIENT, Some(Reason::TlsVersion)),
        ("-tls1_3 -alpn http/1.1", CLIENT, Some(Reason::AlpnMismatch)),
        ("-tls1_3", CLIENT, Some(Reason::AlpnMismatch)),
        ("-tls1_3 -alpn h2 -ciphersuites TLS_CHACHA20_POLY1305_SHA256", CLIENT, Some(Reason::TlsFailure)),
    ];
    for (what, expected, reason) in cases {
        let mut server =
            openssl(files.directory.path(), &format!("s_server -accept 127.0.0.1:0 -naccept 1 {what} {good}"));
        let port = listening(&mut server).await;
        let dialled = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        let outcome = connect(files.client(expected).await, dialled, ADDRESS, LIMIT).await;
        assert_eq!(outcome.as_ref().err().map(|failure| failure.reason), reason, "{what}: {outcome:?}");
        if let Ok((_, peer)) = outcome {
            assert_eq!(peer.identity, identity(CLIENT));
        }
        server.kill().await.unwrap();
    }
}
