//! An API server with the controller's account and rights, the controller as a process, and those who ask it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use ambit_ca::client::Settings;
use ambit_ca::{RemoteIssuer, Reporter};
use ambit_identity::{Bundle, Chain, Clock, Issuer, TrustStore, channel, csr};
use ambit_model::Identity;
use ambit_tests::cluster::{self, Cluster, Kubectl, Plan, Settings as Environment};
use ambit_tests::place::{self, Place};
use ambit_tests::process::Launcher;
use ambit_tests::{Binaries, Process, until};
use serde_json::{Value, json};
use tempfile::TempDir;

pub(crate) const SOON: Duration = Duration::from_secs(30);
/// The namespace that the controller is in.
pub(crate) const HOME: &str = "istio-system";
const EXAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/kubernetes/controller.yaml");
/// The API server's own address where it is, and the webhook of a controller there.
const BESIDE: &str = "10.99.0.1";
pub(crate) const WEBHOOK: &str = "10.99.0.1:15017";
/// A name that the controller's certificate has.
const NAME: &str = "ambit-controller.istio-system.svc";

/// A cluster, as it is before the controller comes.
pub(crate) struct World {
    cluster: Cluster,
    directory: TempDir,
}

/// A controller that runs.
pub(crate) struct Controller {
    pub(crate) process: Process,
    address: String,
}

impl World {
    pub(crate) fn new() -> Self {
        Self::of(Plan::new())
    }

    /// One that knows two nodes, each with an agent; reviews on `a`, ratings on `b`. Nobody runs them.
    pub(crate) fn of_two_nodes() -> Self {
        let world = Self::new();
        world.namespace("shop");
        for node in ["a", "b"] {
            world.pod((HOME, &format!("ztunnel-{node}")), "ztunnel", node);
        }
        world.pod(("shop", "reviews"), "reviews", "a");
        world.pod(("shop", "ratings"), "ratings", "b");
        world
    }

    /// One with nodes, which have the images in `archive`.
    pub(crate) fn with_nodes(nodes: u8, archive: &Path) -> Self {
        Self::of(Plan::new().nodes(nodes).image(archive))
    }

    fn of(plan: Plan) -> Self {
        let own = Environment { existing: None, ..Environment::from_environment() };
        let cluster = plan.settings(own).start().unwrap();
        let world = Self { cluster, directory: tempfile::tempdir().unwrap() };
        world.kubectl().run(&["apply", "-f", EXAMPLE]).unwrap();
        world
    }

    pub(crate) fn kubectl(&self) -> &Kubectl {
        self.cluster.kubectl()
    }

    /// Starts a controller that calls itself `replica`, as its service account.
    pub(crate) fn start(&self, replica: &str, further: &[&str]) -> Controller {
        let further = [&["--webhook-address", "127.0.0.1:0"], further].concat();
        self.start_in("/proc/self/ns/net".into(), &self.kubeconfig(None), replica, &further)
    }

    /// The same where the API server is, which finds its webhook at [`BESIDE`].
    pub(crate) fn start_beside(&self, replica: &str, further: &[&str]) -> Controller {
        let netns = format!("/proc/{}/ns/net", self.api_server());
        let further = [&["--webhook-address", WEBHOOK, "--server-names", BESIDE], further].concat();
        self.start_in(netns.into(), &self.kubeconfig(Some(&format!("https://{BESIDE}:6443"))), replica, &further)
    }

    fn start_in(&self, netns: PathBuf, kubeconfig: &Path, replica: &str, further: &[&str]) -> Controller {
        let mut command = Command::new(env!("CARGO_BIN_EXE_controller"));
        command.arg("--kube").arg("--kubeconfig").arg(kubeconfig).args(["--replica", replica]);
        for port in ["--address", "--metrics-address", "--readiness-address"] {
            command.args([port, "127.0.0.1:0"]);
        }
        command.args(["--log-level", "info,controller=debug"]).args(further);
        let here = Place { netns, cgroup: place::cgroup_root().unwrap() };
        let launcher = Launcher { testapp: Binaries::beside_this().unwrap().testapp, logs: None };
        let process = Process::start(replica, &here, &launcher, command).unwrap();
        let line = process.wait_line("certificates are signed here", SOON).unwrap().text;
        let address = line.split_whitespace().find_map(|word| word.strip_prefix("address=")).expect("an address");
        Controller { address: format!("https://{address}"), process }
    }

    /// A kubeconfig as the controller's account, for the API server at `server` if that is another address than ours.
    fn kubeconfig(&self, server: Option<&str>) -> PathBuf {
        let mut kubeconfig: Value = serde_json::from_slice(&fs::read(self.kubectl().kubeconfig()).unwrap()).unwrap();
        let token = self.token((HOME, "ambit-controller"), None, "https://kubernetes.default.svc");
        kubeconfig["users"][0]["user"] = json!({"token": token});
        if let Some(server) = server {
            kubeconfig["clusters"][0]["cluster"]["server"] = json!(server);
        }
        let path = self.directory.path().join("kubeconfig");
        fs::write(&path, kubeconfig.to_string()).unwrap();
        path
    }

    /// A token of the account for `audience`, bound to the pod of this name if there is one.
    pub(crate) fn token(&self, (namespace, account): (&str, &str), pod: Option<&str>, audience: &str) -> String {
        let mut spec = json!({"audiences": [audience], "expirationSeconds": 3600});
        if let Some(pod) = pod {
            let uid = &self.kubectl().get(&["pod", pod, "-n", namespace]).unwrap()["metadata"]["uid"];
            spec["boundObjectRef"] = json!({"apiVersion": "v1", "kind": "Pod", "name": pod, "uid": uid});
        }
        let request = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec});
        let path = format!("/api/v1/namespaces/{namespace}/serviceaccounts/{account}/token");
        let issued = self.kubectl().post(&path, &request).unwrap();
        issued["status"]["token"].as_str().unwrap().to_owned()
    }

    pub(crate) fn namespace(&self, name: &str) {
        self.kubectl().apply(&[json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})]).unwrap();
    }

    /// A pod of `account` on the node `node`, which nobody runs.
    pub(crate) fn pod(&self, (namespace, name): (&str, &str), account: &str, node: &str) {
        let kubectl = self.kubectl();
        let metadata = json!({"name": account, "namespace": namespace});
        let account_object = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata});
        let node_object = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": node}});
        kubectl.apply(&[account_object, node_object]).unwrap();
        let pod = json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "namespace": namespace},
            "spec": {
                "serviceAccountName": account,
                "nodeName": node,
                "containers": [{"name": "one", "image": "localhost/none:1"}],
            },
        });
        // A pod is admitted once its account has what the controllers make of it.
        let admitted = until::until(SOON, || kubectl.apply(std::slice::from_ref(&pod)).is_ok());
        admitted.unwrap_or_else(|_| kubectl.apply(&[pod]).unwrap());
    }

    /// What asks the controller as the bearer of `token`.
    pub(crate) fn issuer(&self, controller: &Controller, token: &str) -> RemoteIssuer {
        self.issuer_by(controller, token, &self.roots("ambit-ca"))
    }

    /// The same, who believes the controller by the roots in `pem`.
    pub(crate) fn issuer_by(&self, controller: &Controller, token: &str, pem: &str) -> RemoteIssuer {
        let (settings, tls) = self.asking(controller, token, pem);
        RemoteIssuer::new(&settings, tls).unwrap()
    }

    /// What reports to the controller as the bearer of `token`.
    pub(crate) fn reporter(&self, controller: &Controller, token: &str) -> Reporter {
        let (settings, tls) = self.asking(controller, token, &self.roots("ambit-ca"));
        Reporter::new(&settings, tls).unwrap()
    }

    fn asking(&self, controller: &Controller, token: &str, pem: &str) -> (Settings, channel::Client) {
        let path = self.directory.path().join(format!("token-{}", token.len()));
        let path = path.with_extension(token.get(token.len().saturating_sub(12)..).unwrap_or_default());
        fs::write(&path, token).unwrap();
        let settings = Settings {
            address: controller.address.clone(),
            name: Some(NAME.to_owned()),
            token: path,
            cluster: "Kubernetes".to_owned(),
            ttl: Duration::from_secs(600),
        };
        let roots = Bundle::from_pem(pem.as_bytes()).unwrap();
        (settings, channel::Client::new(TrustStore::new(roots), Clock::system()))
    }

    /// The roots of the Secret `name`.
    pub(crate) fn roots(&self, name: &str) -> String {
        let secret = self.kubectl().run(&["get", "secret", name, "-n", HOME, "-o", r"jsonpath={.data.root-cert\.pem}"]);
        decoded(&secret.unwrap(), self.directory.path())
    }

    /// Kills the API server, for good.
    pub(crate) fn kill_api_server(&self) {
        assert!(Command::new("kill").args(["-9", &self.api_server().to_string()]).status().unwrap().success());
    }

    /// The process of the API server.
    fn api_server(&self) -> u32 {
        let is_it =
            |pid: &u32| fs::read(format!("/proc/{pid}/comm")).is_ok_and(|name| name.starts_with(b"kube-apiserver"));
        cluster::processes_of(self.cluster.name()).into_iter().find(is_it).expect("no API server")
    }

    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }
}

/// The text that `base64` writes.
fn decoded(base64: &str, directory: &Path) -> String {
    let path = directory.join("encoded");
    fs::write(&path, base64).unwrap();
    let output = Command::new("base64").arg("-d").arg(&path).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

/// Asks for a certificate of `identity` (`namespace/account`).
pub(crate) async fn ask(issuer: &RemoteIssuer, identity: &str) -> Result<Chain, String> {
    let (namespace, account) = identity.split_once('/').unwrap();
    let identity = Identity::new("cluster.local".parse().unwrap(), namespace, account);
    let (_, csr) = csr::request(&identity).unwrap();
    issuer.sign(&csr, &identity).await.map_err(|error| error.to_string())
}

/// Asks until it is granted: what the controller knows of the cluster may be a moment old.
pub(crate) async fn granted(issuer: &RemoteIssuer, identity: &str) -> Chain {
    let deadline = SystemTime::now() + SOON;
    loop {
        match ask(issuer, identity).await {
            Ok(chain) => return chain,
            Err(error) if SystemTime::now() > deadline => panic!("{identity} is not granted: {error}"),
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}
