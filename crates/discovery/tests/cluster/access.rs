//! How the API is reached: by TLS with the roots and the token that a kubeconfig says, or not at all.

use std::path::PathBuf;
use std::sync::Arc;

use ambit_discovery::{Cluster, Error, Origin, Settings, publish, run};
use ambit_model::Snapshot;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hyper_util::rt::TokioIo;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use serde_json::json;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::agent::{Agent, PACE};
use crate::api::{self, Api};
use crate::objects::{PODS, pod};

/// Serves `api` by TLS; returns its address and the CA's certificate.
async fn serve(api: &Api) -> (String, String) {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let server = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap().signed_by(&key, &ca).unwrap();
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = config.with_no_client_auth().with_single_cert(vec![server.der().clone()], key).unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    let shared = api.shared();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let (acceptor, shared) = (acceptor.clone(), shared.clone());
            tokio::spawn(async move {
                // A client that does not trust us is what a test is about.
                if let Ok(stream) = acceptor.accept(stream).await {
                    api::connection(TokioIo::new(stream), shared).await;
                }
            });
        }
    });
    (url, ca.pem())
}

#[tokio::test]
async fn by_tls_with_the_roots_and_the_token_of_a_kubeconfig() {
    let api = Api::start().await;
    api.put(PODS, pod("shop", "web-0", "10.0.0.1"));
    api.with(|state| state.token = Some("sesame".to_owned()));
    let (url, ca) = serve(&api).await;
    let cluster = json!({"server": url, "certificate-authority-data": STANDARD.encode(ca)});
    let mut agent = Agent::with(cluster.clone(), json!({"token": "sesame"}), PACE, None);
    agent.next().await;
    assert_eq!(agent.snapshots.load().workloads().count(), 1);
    agent.stop().await;

    let mut agent = Agent::with(cluster, json!({"token": "open"}), PACE, None);
    agent.until_reported("who we are", |reports| reports.iter().any(|r| r.message.contains("401 who are you"))).await;
    assert!(!agent.snapshots.is_synced());
    agent.stop().await;
}

#[tokio::test]
async fn an_api_with_a_certificate_of_somebody_else_is_not_believed() {
    let api = Api::start().await;
    let ((url, _), (_, other)) = (serve(&api).await, serve(&api).await);
    let cluster = json!({"server": url, "certificate-authority-data": STANDARD.encode(other)});
    let mut agent = Agent::with(cluster, json!({}), PACE, None);
    agent.until_reported("the certificate", |reports| reports.iter().any(|r| r.message.contains("certificate"))).await;
    assert!(!agent.snapshots.is_synced() && api.requests().is_empty());
    agent.stop().await;
}

/// Why an agent does not begin.
async fn refused(kubeconfig: Vec<PathBuf>) -> Error {
    let origin = Origin::Cluster(Cluster { kubeconfig, ..Cluster::default() });
    let (publisher, _snapshots) = publish(Snapshot::default());
    let (reporter, _reports) = publish(Vec::new());
    run(Settings::new(origin), publisher, reporter, std::future::pending()).await.unwrap_err()
}

#[tokio::test]
async fn a_kubeconfig_that_cannot_be_used_is_named_with_what_is_wrong() {
    let root = tempfile::tempdir().unwrap();
    let missing = root.path().join("missing");
    let error = refused(vec![missing.clone()]).await.to_string();
    assert!(error.contains(missing.to_str().unwrap()) && error.contains("No such file"), "{error}");
    let garbage = root.path().join("garbage");
    std::fs::write(&garbage, "clusters: 7").unwrap();
    let error = refused(vec![garbage.clone()]).await;
    assert!(matches!(&error, Error::Kubeconfig { path, .. } if *path == garbage.display().to_string()), "{error}");
}

#[tokio::test]
async fn what_is_no_pod_has_to_be_told_where_the_api_is() {
    let error = refused(Vec::new()).await;
    assert!(matches!(error, Error::NotInCluster(_)), "{error}");
    assert!(error.to_string().contains("--kubeconfig"), "{error}");
}

#[tokio::test]
async fn of_several_kubeconfigs_the_first_ones_word_counts() {
    let api = Api::start().await;
    let (_first, first) = crate::agent::kubeconfig(json!({"server": api.url()}), json!({}));
    let (_second, second) = crate::agent::kubeconfig(json!({"server": "http://127.0.0.1:9"}), json!({}));
    let origin = Origin::Cluster(Cluster { kubeconfig: vec![first, second], ..Cluster::default() });
    let (publisher, mut snapshots) = publish(Snapshot::default());
    let (reporter, _reports) = publish(Vec::new());
    let seen = async {
        crate::agent::soon("nothing was published", snapshots.changed()).await.unwrap();
    };
    run(Settings::new(origin), publisher, reporter, seen).await.unwrap();
}
