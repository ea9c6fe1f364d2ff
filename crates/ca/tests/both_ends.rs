//! Both ends over real sockets and TLS: what is certified, what is refused and how the one who asks is told, and a CA that
//! goes and comes back.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "a test may panic")]

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use ambit_ca::client::Settings;
use ambit_ca::{Denial, Denied, Desk, PodReport, RemoteIssuer, Reporter, State, Tokens, server};
use ambit_identity::{Authority, Bundle, Certificates, Clock, Csr, Issuer, TrustStore, channel, csr};
use ambit_model::{Identity, Mesh, Snapshot};
use serde_json::json;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

const LIMIT: Duration = Duration::from_secs(5);
const NAME: &str = "istiod.istio-system.svc";
const TOKEN: &str = "a-token-of-a-waypoint";
const AGENT_TOKEN: &str = "a-token-of-the-agent-of-node-a";
const WAYPOINT: &str = "spiffe://cluster.local/ns/shop/sa/waypoint";
const OTHER: &str = "spiffe://cluster.local/ns/shop/sa/other";

/// A CA on a port of its own, and what to ask it with.
struct Ca {
    directory: TempDir,
    address: SocketAddr,
    roots: Bundle,
    accepting: JoinHandle<()>,
    /// What was reported and taken, with the node whose agent said it.
    taken: Taken,
}

type Taken = Arc<Mutex<Vec<(String, PodReport)>>>;

impl Ca {
    async fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let taken = Taken::default();
        let (accepting, roots) = accept(listener, &directory, &taken);
        std::fs::write(directory.path().join("token"), format!("{TOKEN}\n")).unwrap();
        Self { directory, address, roots, accepting, taken }
    }

    /// The same again, after it was stopped.
    async fn restart(&mut self) {
        let listener = TcpListener::bind(self.address).await.unwrap();
        (self.accepting, self.roots) = accept(listener, &self.directory, &self.taken);
    }

    async fn stop(&mut self) {
        self.accepting.abort();
        // It has let go of its port when it has ended.
        let _ = (&mut self.accepting).await;
    }

    fn issuer(&self, roots: &Bundle) -> RemoteIssuer {
        RemoteIssuer::new(&self.settings(), tls(roots)).unwrap()
    }

    fn reporter(&self) -> Reporter {
        Reporter::new(&self.settings(), tls(&self.roots)).unwrap()
    }

    fn settings(&self) -> Settings {
        Settings {
            address: format!("https://{}", self.address),
            name: Some(NAME.to_owned()),
            token: self.token(),
            cluster: "Kubernetes".to_owned(),
            ttl: Duration::from_secs(600),
        }
    }

    fn token(&self) -> PathBuf {
        self.directory.path().join("token")
    }
}

fn tls(roots: &Bundle) -> channel::Client {
    channel::Client::new(TrustStore::new(roots.clone()), Clock::system())
}

/// The mesh: the pod `on-a` on node `a`, `on-b` on node `b`, with IDs of their nodes' letters.
fn mesh() -> Snapshot {
    let mut index = ambit_discovery::Index::new(Mesh::default(), []);
    let pod = |node: &str| {
        let metadata = json!({"name": format!("on-{node}"), "namespace": "shop", "uid": node.repeat(32)});
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"nodeName": node}});
        let read = ambit_discovery::read_object(ambit_api::Kind::Pod, &pod.to_string(), &Mesh::default()).unwrap();
        ambit_discovery::Event::Upsert(read.resource)
    };
    index.apply(vec![pod("a"), pod("b")]);
    index.snapshot()
}

/// Takes what is reported, but for what was mended.
fn intake(taken: &Taken) -> ambit_ca::Intake {
    let taken = taken.clone();
    Box::new(move |node, reports| {
        let taken = taken.clone();
        Box::pin(async move {
            let mut denied = Vec::new();
            for report in reports {
                if report.mended.is_some() {
                    let why = Denial::Unwritten { pod: report.pod(), cause: "the API is away".to_owned() };
                    denied.push(Denied { uid: report.uid, why });
                } else {
                    taken.lock().unwrap().push((node.to_string(), report));
                }
            }
            denied
        })
    })
}

/// Accepts until stopped; connections end with it.
fn accept(listener: TcpListener, directory: &TempDir, taken: &Taken) -> (JoinHandle<()>, Bundle) {
    let domain = "cluster.local".parse().unwrap();
    let now = SystemTime::now();
    let authority = Authority::open_or_create_directory(&directory.path().join("ca"), &domain, now).unwrap();
    let roots = authority.roots();
    let tokens = directory.path().join("tokens");
    std::fs::write(&tokens, format!("{TOKEN},system:serviceaccount:shop:waypoint\n{AGENT_TOKEN},system:node:a\n"))
        .unwrap();
    std::fs::set_permissions(&tokens, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let tls = channel::Server::new(&Clock::system()).unwrap();
    tls.certify(&authority, &[NAME.to_owned()], Duration::from_secs(600), now).unwrap();
    let snapshot = Arc::new(mesh());
    let tokens = Tokens::open(&tokens, &domain).unwrap();
    let longest = Duration::from_secs(3600);
    let desk = Desk::new(authority, tokens, move || snapshot.clone(), longest, Clock::system());
    let desk = Arc::new(desk.with_intake(intake(taken)));
    let accepting = async move {
        let mut open = tokio::task::JoinSet::new();
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let (tls, desk) = (tls.clone(), desk.clone());
            open.spawn(async move {
                if let Ok(stream) = tls.accept(stream, LIMIT).await {
                    // The client ends it, or the test does.
                    let _ = server::serve(desk, stream, std::future::pending()).await;
                }
            });
        }
    };
    #[allow(clippy::disallowed_methods, reason = "a server of its own, not a worker")]
    let accepting = tokio::spawn(accepting);
    (accepting, roots)
}

fn request(who: &str) -> (Csr, Identity) {
    let identity = who.parse().unwrap();
    (csr::request(&identity).unwrap().1, identity)
}

async fn refusal(issuer: &RemoteIssuer, who: &str) -> String {
    let (csr, identity) = request(who);
    issuer.sign(&csr, &identity).await.expect_err("refused").to_string()
}

#[tokio::test]
async fn a_workload_has_itself_certified_by_a_store_that_knows_only_the_roots() {
    let ca = Ca::start().await;
    let store = Certificates::new(ca.issuer(&ca.roots), TrustStore::new(ca.roots.clone()), Clock::system());
    let identity = WAYPOINT.parse().unwrap();
    store.ensure(&identity).await.unwrap();
    let left = store.seconds_left();
    assert!(left[0].0 == identity && (590..=600).contains(&left[0].1), "{left:?}");
}

#[tokio::test]
async fn who_asks_is_told_why_it_is_refused() {
    let ca = Ca::start().await;
    let issuer = ca.issuer(&ca.roots);
    let error = refusal(&issuer, OTHER).await;
    assert!(error.contains("PermissionDenied: ") && error.contains("may have a certificate for itself"), "{error}");
    std::fs::write(ca.token(), "somebody-elses-token").unwrap();
    let error = refusal(&issuer, WAYPOINT).await;
    assert!(error.contains("Unauthenticated: the token is not accepted"), "{error}");
    std::fs::remove_file(ca.token()).unwrap();
    let error = refusal(&issuer, WAYPOINT).await;
    assert!(error.contains("token cannot be read") && error.contains("No such file"), "{error}");
}

#[tokio::test]
async fn a_server_that_is_not_the_ca_gets_no_token() {
    let ca = Ca::start().await;
    let stranger = Authority::generate(&"cluster.local".parse().unwrap(), SystemTime::now()).unwrap();
    let error = refusal(&ca.issuer(&stranger.roots()), WAYPOINT).await;
    assert!(error.contains("invalid peer certificate"), "{error}");
}

/// That the pod `on-NODE` is captured.
fn captured(node: &str) -> PodReport {
    let (namespace, name, uid) = ("shop".to_owned(), format!("on-{node}"), node.repeat(32).parse().unwrap());
    PodReport { namespace, name, uid, state: State::Captured { obstacle: None }, mended: None }
}

#[tokio::test]
async fn what_an_agent_reports_of_its_own_pods_is_taken_and_of_others_it_is_told_why_not() {
    let ca = Ca::start().await;
    std::fs::write(ca.token(), AGENT_TOKEN).unwrap();
    let reporter = ca.reporter();
    let mended = PodReport { mended: Some("steering".to_owned()), ..captured("a") };
    let gone = PodReport { name: "gone".to_owned(), uid: "c".repeat(32).parse().unwrap(), ..captured("a") };
    let another = PodReport { uid: "d".repeat(32).parse().unwrap(), ..captured("a") };
    let refused = reporter.report(&[captured("a"), captured("b"), gone, another]).await.unwrap();
    let codes: Vec<_> = refused.iter().map(|one| (one.uid.to_string().remove(0), one.code.as_str())).collect();
    assert_eq!(codes, [('b', "not-on-node"), ('c', "unknown-pod"), ('d', "other-pod")]);
    assert!(refused[0].text.contains("the pod shop/on-b does not run on node a"), "{refused:?}");
    assert_eq!(*ca.taken.lock().unwrap(), [("a".to_owned(), captured("a"))]);
    let refused = reporter.report(&[mended]).await.unwrap();
    assert!(refused[0].code == "not-written" && refused[0].text.ends_with("the API is away"), "{refused:?}");
}

#[tokio::test]
async fn who_is_no_agent_reports_nothing() {
    let ca = Ca::start().await;
    let error = ca.reporter().report(&[captured("a")]).await.unwrap_err().to_string();
    assert!(error.contains("PermissionDenied: ") && error.contains("shop/sa/waypoint is no node's agent"), "{error}");
    std::fs::write(ca.token(), "somebody-elses-token").unwrap();
    let error = ca.reporter().report(&[captured("a")]).await.unwrap_err().to_string();
    assert!(error.contains("Unauthenticated: the token is not accepted"), "{error}");
    assert_eq!(*ca.taken.lock().unwrap(), []);
}

#[tokio::test]
async fn a_ca_that_was_away_is_asked_again_on_a_new_connection() {
    let mut ca = Ca::start().await;
    let issuer = ca.issuer(&ca.roots);
    let (csr, identity) = request(WAYPOINT);
    issuer.sign(&csr, &identity).await.unwrap();
    ca.stop().await;
    let error = refusal(&issuer, WAYPOINT).await;
    assert!(error.contains("the CA did not certify"), "{error}");
    ca.restart().await;
    // The first attempt may find out that the old connection is gone.
    let mut outcome = issuer.sign(&csr, &identity).await;
    if outcome.is_err() {
        outcome = issuer.sign(&csr, &identity).await;
    }
    outcome.unwrap();
}

#[test]
fn an_address_that_is_not_https_with_a_port_is_refused() {
    let roots = Authority::generate(&"cluster.local".parse().unwrap(), SystemTime::now()).unwrap().roots();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let _within = runtime.enter();
    for (address, said) in [
        ("http://ca:15012", "its scheme is not https"),
        ("https://ca", "it has no port"),
        ("ca:15012", "its scheme is not https"),
        ("https://", "cannot be used"),
    ] {
        let settings = Settings {
            address: address.to_owned(),
            name: None,
            token: PathBuf::new(),
            cluster: "c".to_owned(),
            ttl: LIMIT,
        };
        let tls = channel::Client::new(TrustStore::new(roots.clone()), Clock::system());
        let error = RemoteIssuer::new(&settings, tls).unwrap_err().to_string();
        assert!(error.contains(said) && error.contains(address), "{error}");
    }
}
