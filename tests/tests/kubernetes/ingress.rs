//! A gateway as it is installed: what comes from outside to a port of a node is let in as Istio's manifests say, and reaches
//! pods that refuse whoever comes in clear (SC-000-05, SC-002-08; K-01, K-06, K-11, K-12).

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use ambit_tests::{http, netns, until};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::{Value, json};

use crate::helm::{ask, chart};
use crate::release::{CONTROLLER, HOME, rolled_out};
use crate::shop::{SOON, Shop, strict};

/// The ports of every node at which the gateway is reached, in clear and by TLS.
const DOORS: [u16; 2] = [30081, 30443];
/// The name of the release, so that Bookinfo's selector means its pods.
const NAME: &str = "istio-ingressgateway";
/// The host that is served by TLS.
const HOST: &str = "todo.example";

/// Has Helm `install` or `uninstall` the gateway.
fn helm(shop: &Shop, verb: &str) {
    let port =
        |name, port, target: u16, door| json!({"name": name, "port": port, "targetPort": target, "nodePort": door});
    let values = json!({
        "class": "ingress",
        "imagePullPolicy": "Never",
        "caAddress": format!("{CONTROLLER}:15012"),
        "autoscaling": {"enabled": false},
        "resources": {"requests": {"cpu": "10m", "memory": "32Mi"}},
        "service": {
            "type": "NodePort",
            "ports": [port("http2", 80, 8080, DOORS[0]), port("https", 443, 8443, DOORS[1])],
        },
    });
    let kubeconfig = shop.cluster.kubectl().kubeconfig();
    let request =
        json!({"do": verb, "chart": chart("gateway"), "name": NAME, "values": values, "kubeconfig": kubeconfig});
    ask(&request).unwrap();
}

/// Bookinfo's Gateway and VirtualService, for the shop's own service.
fn bookinfo() -> [Value; 2] {
    let version = "networking.istio.io/v1alpha3";
    let metadata = |name| json!({"name": name, "namespace": "shop"});
    let matches = json!([{"uri": {"exact": "/productpage"}}, {"uri": {"prefix": "/api/v1/products"}}]);
    let route = json!([{"destination": {"host": "web", "port": {"number": 80}}}]);
    [
        json!({
            "apiVersion": version,
            "kind": "Gateway",
            "metadata": metadata("bookinfo-gateway"),
            "spec": {
                "selector": {"istio": "ingressgateway"},
                "servers": [
                    {"port": {"number": 80, "name": "http", "protocol": "HTTP"}, "hosts": ["*"]},
                    {
                        "port": {"number": 443, "name": "https", "protocol": "HTTPS"},
                        "hosts": [HOST],
                        "tls": {"mode": "SIMPLE", "minProtocolVersion": "TLSV1_2", "credentialName": "todo"},
                    },
                ],
            },
        }),
        json!({
            "apiVersion": version,
            "kind": "VirtualService",
            "metadata": metadata("bookinfo"),
            "spec": {
                "hosts": ["*"],
                "gateways": ["bookinfo-gateway"],
                "http": [{"match": matches, "route": route}],
            },
        }),
    ]
}

/// What a request by TLS is answered with at `address`, if the server proves to be the host to whom `roots` are known.
fn by_tls(shop: &Shop, address: SocketAddr, roots: &Arc<ClientConfig>) -> std::io::Result<String> {
    let from = shop.cluster.nodes()[1].netns.path();
    let exchange = || -> std::io::Result<String> {
        let stream = TcpStream::connect_timeout(&address, Duration::from_secs(5))?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        let name = ServerName::try_from(HOST).unwrap();
        let mut stream = StreamOwned::new(ClientConnection::new(roots.clone(), name).unwrap(), stream);
        write!(stream, "GET /productpage HTTP/1.1\r\nhost: {HOST}\r\nconnection: close\r\n\r\n")?;
        let mut answer = String::new();
        // Whoever ends the connection may not end TLS.
        let _ = stream.read_to_string(&mut answer);
        Ok(answer)
    };
    netns::run_in(&from, exchange).unwrap()
}

/// Installs a gateway, comes in by a port of a node, in clear and by TLS, and takes it down again.
pub(crate) fn let_in(shop: &Shop) {
    let kubectl = shop.cluster.kubectl();
    helm(shop, "install");
    rolled_out(shop, &format!("deployment/{NAME}"));
    kubectl.apply(&bookinfo()).unwrap();
    kubectl.apply(&[strict()]).unwrap();
    let pod: std::net::Ipv4Addr = shop.pods()["node-1"].1.parse().unwrap();
    let outside = shop.cluster.nodes()[1].netns.path();
    let in_clear = || http::get(&outside, SocketAddr::new(pod.into(), 8080), "/");
    until::until(SOON, || in_clear().is_err()).expect("nobody comes in clear any more");
    let door = &shop.cluster.nodes()[0];
    let at = |port| SocketAddr::new(door.address.into(), port);
    let status = |path: &str| http::get(&outside, at(DOORS[0]), path).map(|answer| answer.status);
    let logs = || kubectl.run(&["logs", "-n", HOME, &format!("deployment/{NAME}"), "--tail=60"]).unwrap_or_default();
    let comes = until::until(SOON, || status("/productpage").is_ok_and(|status| status == 200));
    assert!(comes.is_ok(), "{:?}\n{}", status("/productpage"), logs());
    for (path, expected) in [("/api/v1/products/0", 200), ("/productpageX", 404), ("/", 404)] {
        assert_eq!(status(path).unwrap(), expected, "{path}\n{}", logs());
    }

    let authority = {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
    };
    let mut roots = RootCertStore::empty();
    roots.add(authority.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let roots = Arc::new(config.with_root_certificates(roots).with_no_client_auth());
    let nobody = by_tls(shop, at(DOORS[1]), &roots);
    assert!(!nobody.as_ref().is_ok_and(|answer| answer.starts_with("HTTP/1.1 200")), "{nobody:?}");
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new([HOST.to_owned()]).unwrap().signed_by(&key, &authority).unwrap();
    let secret = json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "todo", "namespace": HOME},
        "stringData": {"cert": certificate.pem(), "key": key.serialize_pem()},
    });
    kubectl.apply(&[secret]).unwrap();
    let mut answer = String::new();
    let come = until::until(SOON, || {
        answer = by_tls(shop, at(DOORS[1]), &roots).unwrap_or_default();
        answer.starts_with("HTTP/1.1 200")
    });
    assert!(come.is_ok(), "{answer}\n{}", logs());

    for (kind, name) in [("gateway.networking.istio.io", "bookinfo-gateway"), ("virtualservice", "bookinfo")] {
        kubectl.run(&["delete", kind, name, "-n", "shop"]).unwrap();
    }
    kubectl.run(&["delete", "peerauthentication", "default", "-n", "shop"]).unwrap();
    let gone = until::until(SOON, || status("/productpage").is_err());
    assert!(gone.is_ok(), "nobody listens any more\n{}", logs());
    helm(shop, "uninstall");
    // The pod's agent tells, as the gateway's connections end, whom it has proved to be.
    let own = format!("src.identity=\"spiffe://cluster.local/ns/{HOME}/sa/{NAME}\"");
    let seen = || kubectl.run(&["logs", "-n", HOME, "-l", "app=ztunnel", "--tail=-1"]).unwrap_or_default();
    let by_hbone = |line: &str| line.contains(&own) && line.contains("direction=\"inbound\"");
    until::until(SOON, || seen().lines().any(by_hbone)).unwrap_or_else(|_| panic!("{}", seen()));
    let rest = || {
        let kinds = "deployments,services,serviceaccounts,roles,rolebindings,poddisruptionbudgets";
        kubectl.run(&["get", kinds, "-n", HOME, "-l", &format!("app={NAME}"), "-o", "name"]).unwrap()
    };
    until::until(SOON, || rest().is_empty()).unwrap_or_else(|_| panic!("{}", rest()));
}
