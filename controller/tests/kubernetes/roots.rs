//! The CA in Secrets, and its roots in every namespace (D-06).

use std::path::Path;
use std::process::Command;

use ambit_tests::until;
use serde_json::json;

use crate::support::{Controller, HOME, SOON, World, ask, granted};

const AUDIENCE: &str = "istio-ca";

/// The roots that a namespace has.
fn published(world: &World, namespace: &str) -> Option<String> {
    let map = world.kubectl().get(&["configmap", "istio-ca-root-cert", "-n", namespace]).ok()?;
    map["data"]["root-cert.pem"].as_str().map(str::to_owned)
}

fn published_soon(world: &World, namespace: &str, pem: &str) {
    let met = until(SOON, || published(world, namespace).as_deref() == Some(pem));
    met.unwrap_or_else(|_| panic!("{namespace} has {:?}", published(world, namespace)));
}

/// Makes, with OpenSSL, a root and what it has certified: the arguments that make a Secret of them.
pub(crate) fn plugged_in(directory: &Path, name: &str) -> Vec<String> {
    let script = format!(
        "set -e; cd {directory}; mkdir -p {name}; cd {name}
         openssl ecparam -name prime256v1 -genkey -noout -out root-key.pem
         openssl req -x509 -new -key root-key.pem -days 30 -subj /O={name} -out root-cert.pem \\
             -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign,cRLSign
         openssl ecparam -name prime256v1 -genkey -noout | openssl pkcs8 -topk8 -nocrypt -out ca-key.pem
         openssl req -new -key ca-key.pem -subj /O={name}-intermediate -out ca.csr
         printf 'basicConstraints=critical,CA:TRUE\\nkeyUsage=critical,keyCertSign,cRLSign\\n' > extensions
         openssl x509 -req -in ca.csr -CA root-cert.pem -CAkey root-key.pem -CAcreateserial -days 20 \\
             -extfile extensions -out ca-cert.pem
         cat ca-cert.pem root-cert.pem > cert-chain.pem",
        directory = directory.display()
    );
    let made = Command::new("sh").arg("-c").arg(script).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let files = ["ca-cert.pem", "ca-key.pem", "root-cert.pem", "cert-chain.pem"];
    files.iter().map(|file| format!("--from-file={}", directory.join(name).join(file).display())).collect()
}

pub(crate) fn plug_in(world: &World, arguments: &[String]) {
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let made = ["create", "secret", "generic", "cacerts", "-n", HOME, "--dry-run=client", "-o", "yaml"];
    let manifest = world.kubectl().run(&[&made[..], &arguments].concat()).unwrap();
    world.kubectl().run_with(&["apply", "-f", "-"], &manifest).unwrap();
}

/// Has a certificate of its own asked for, by a controller that is believed by the roots of the Secret `name`.
async fn asks(world: &World, controller: &Controller, name: &str) -> Result<usize, String> {
    let token = world.token(("shop", "reviews"), Some("reviews"), AUDIENCE);
    let issuer = world.issuer_by(controller, &token, &world.roots(name));
    ask(&issuer, "shop/reviews").await.map(|chain| chain.len())
}

#[tokio::test]
async fn two_controllers_have_one_root_and_every_namespace_is_told() {
    let world = World::new();
    world.namespace("shop");
    world.pod(("shop", "reviews"), "reviews", "a");
    let (one, two) = (world.start("one", &[]), world.start("two", &[]));
    let pem = world.roots("ambit-ca");
    for controller in [&one, &two] {
        // The server's certificate and the workload's are of the same root, whoever made it.
        let issuer = world.issuer(controller, &world.token(("shop", "reviews"), Some("reviews"), AUDIENCE));
        granted(&issuer, "shop/reviews").await;
    }
    for namespace in ["shop", HOME, "default", "kube-system"] {
        published_soon(&world, namespace, &pem);
    }
    world.namespace("late");
    published_soon(&world, "late", &pem);
    world.kubectl().run(&["delete", "configmap", "istio-ca-root-cert", "-n", "shop"]).unwrap();
    published_soon(&world, "shop", &pem);
    let spoil = json!({"data": {"root-cert.pem": "spoilt"}}).to_string();
    world.kubectl().run(&["patch", "configmap", "istio-ca-root-cert", "-n", "late", "-p", &spoil]).unwrap();
    published_soon(&world, "late", &pem);
    // A namespace that ends is left alone, so that it can.
    world.kubectl().run(&["delete", "namespace", "late", "--timeout=30s"]).unwrap();
}

#[tokio::test]
async fn a_root_that_is_plugged_in_is_followed_as_it_is_replaced() {
    let world = World::new();
    world.namespace("shop");
    world.pod(("shop", "reviews"), "reviews", "a");
    plug_in(&world, &plugged_in(world.directory(), "first"));
    let controller = world.start("one", &[]);
    let first = world.roots("cacerts");
    published_soon(&world, "shop", &first);
    assert_eq!(asks(&world, &controller, "cacerts").await, Ok(2), "the leaf, and the intermediate that signed it");
    assert!(world.kubectl().get(&["secret", "ambit-ca", "-n", HOME]).is_err(), "none is made beside it");

    // What cannot be used changes nothing.
    let spoil = json!({"stringData": {"ca-cert.pem": "spoilt"}}).to_string();
    world.kubectl().run(&["patch", "secret", "cacerts", "-n", HOME, "-p", &spoil]).unwrap();
    let line = controller.process.wait_line("the CA stays as it is", SOON).unwrap().text;
    assert!(line.contains("secret istio-system/cacerts/ca-cert.pem"), "{line}");
    assert_eq!(asks(&world, &controller, "cacerts").await, Ok(2));

    plug_in(&world, &plugged_in(world.directory(), "second"));
    let second = world.roots("cacerts");
    assert_ne!(first, second);
    published_soon(&world, "shop", &second);
    // The server itself is certified by the new one.
    assert_eq!(asks(&world, &controller, "cacerts").await, Ok(2));
}
