//! Certificates from a CA that is asked: renewed under load, through an outage and a change of roots; nobody gets another
//! node's; revoked ones are worth nothing any more (D-02 to D-06).

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use ambit_tests::topology::Plan;
use ambit_tests::{AccessLog, Controller, Process, until};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DistinguishedName, DnType, IsCa, Issuer,
    KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SerialNumber,
};
use serde_json::Value;

use crate::world::{ECHO, HTTP, SHOP, SOON, WHOAMI, World};

/// A mesh whose certificates come from a controller on node `a`.
struct Certified {
    world: World,
    controller: Controller,
}

impl Certified {
    /// Of three pods. Certificates last for `ttl` seconds.
    fn new(ttl: &str, further: &[&str]) -> Self {
        Self::of(Plan::new(&["a", "b"]).pod("client", "a").pod("near", "a").pod("far", "b"), ttl, further)
    }

    fn of(plan: Plan, ttl: &str, further: &[&str]) -> Self {
        let (topology, manifests) = World::lay(plan);
        let ttl = ["--certificate-ttl", ttl];
        let mut controller = Controller::new(&topology, "a", manifests.directory(), &ttl).unwrap();
        controller.start().unwrap();
        let of_controller = controller.agent_arguments();
        let of_controller: Vec<&str> = of_controller.iter().map(String::as_str).collect();
        let arguments = [&of_controller, &ttl[..], further].concat();
        let mut world = World::closed(topology, manifests, &arguments);
        world.open();
        let this = Self { world, controller };
        until(SOON, || this.serials().len() == this.world.topology.pods().len()).unwrap();
        this
    }

    /// The certificates of the two nodes' identities, as `kind serial`, where there are any.
    fn certificates(&self, kind: &str) -> BTreeSet<(String, String)> {
        let all = ["a", "b"].into_iter().flat_map(|node| {
            let rows = self.world.agent(node).admin("/certificates").unwrap();
            rows.as_array().unwrap().clone()
        });
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let rows = all.filter(|row| row["kind"] == kind);
        rows.filter_map(|row| Some((text(&row["identity"])?, text(&row["certificate"]["serial"])?))).collect()
    }

    /// The serial numbers of the leaves.
    fn serials(&self) -> BTreeSet<String> {
        self.certificates("Leaf").into_iter().map(|(_, serial)| serial).collect()
    }

    fn serial_of(&self, service_account: &str) -> String {
        let end = format!("/sa/{service_account}");
        let leaves = self.certificates("Leaf").into_iter();
        leaves.filter(|(identity, _)| identity.ends_with(&end)).map(|(_, serial)| serial).next().unwrap()
    }

    /// A file of the CA, replaced as a whole.
    fn replace(&self, file: &str, text: &str) {
        let path = self.controller.directory().join(file);
        let next = path.with_extension("next");
        fs::write(&next, text).unwrap();
        fs::set_permissions(&next, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        fs::rename(&next, &path).unwrap();
    }

    fn read(&self, file: &str) -> String {
        fs::read_to_string(self.controller.directory().join(file)).unwrap()
    }

    /// Has the CA revoke `serials`, all agents being told.
    fn revoke(&self, serials: &[&str]) {
        let key = KeyPair::from_pem(&self.read("ca/ca-key.pem")).unwrap();
        let issuer = Issuer::from_ca_cert_pem(&self.read("ca/ca-cert.pem"), key).unwrap();
        let revoked = |serial: &&str| RevokedCertParams {
            serial_number: SerialNumber::from_slice(&bytes(serial)),
            revocation_time: rcgen::date_time_ymd(2026, 1, 1),
            reason_code: None,
            invalidity_date: None,
        };
        let list = CertificateRevocationListParams {
            this_update: rcgen::date_time_ymd(2026, 1, 1),
            next_update: rcgen::date_time_ymd(2036, 1, 1),
            crl_number: SerialNumber::from(1_u64),
            issuing_distribution_point: None,
            revoked_certs: serials.iter().map(revoked).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        self.replace("ca-crl.pem", &list.signed_by(&issuer).unwrap().pem().unwrap());
    }
}

fn bytes(hexadecimal: &str) -> Vec<u8> {
    let digits = hexadecimal.as_bytes().chunks(2);
    digits.map(|two| u8::from_str_radix(std::str::from_utf8(two).unwrap(), 16).unwrap()).collect()
}

/// A root of the same name as the one there is, as PEM: certificate and key.
fn new_root() -> (String, String) {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, "cluster.local");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let key = KeyPair::generate().unwrap();
    (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
}

/// Requests of `pod` to the server far away, one each `every` milliseconds until it is stopped.
fn requests(mesh: &Certified, pod: &str, family: usize, every: &str) -> Process {
    let to = mesh.world.at("far", HTTP)[family].to_string();
    let arguments = ["requests", "--to", &to, "--every", every, "--patience", "5000", "--verbose"];
    mesh.world.start(pod, &arguments)
}

#[test]
fn no_request_fails_while_certificates_of_20_s_are_renewed_the_ca_is_away_and_roots_are_replaced() {
    // Tunnels that are not in use end at once, so that whoever asks seldom makes a handshake each time.
    let mut mesh = Certified::new("20", &["--tunnel-idle", "0.1"]);
    let begun = Instant::now();
    mesh.controller.kill().unwrap();
    let _server = mesh.world.serve("far");
    let at_first = mesh.serials();
    let load: Vec<_> = [("client", 0, "5"), ("client", 1, "400"), ("near", 1, "400")]
        .into_iter()
        .map(|(pod, family, every)| requests(&mesh, pod, family, every))
        .collect();
    // The CA is away for nine tenths of a life: a length of time is what is tested.
    sleep(Duration::from_secs(18).saturating_sub(begun.elapsed()));
    assert_eq!(mesh.serials(), at_first, "nobody was there to renew them");
    mesh.controller.start().unwrap();
    until(SOON, || mesh.serials().is_disjoint(&at_first)).unwrap();

    let mut seen = mesh.serials();
    let renewals = |seen: &mut BTreeSet<String>, until: Duration| {
        while begun.elapsed() < until {
            seen.extend(mesh.serials());
            sleep(Duration::from_millis(500));
        }
    };
    renewals(&mut seen, Duration::from_secs(60));
    let ((new, key), old) = (new_root(), mesh.read("ca/root-cert.pem"));
    let roots = |count: usize| {
        let rows = |node: &str| {
            let rows = mesh.world.agent(node).admin("/certificates").unwrap();
            let identity = rows[0]["identity"].clone();
            let rows = rows.as_array().unwrap().iter();
            rows.filter(|row| row["kind"] == "Root" && row["identity"] == identity).count()
        };
        until(SOON, || rows("a") == count && rows("b") == count).unwrap();
    };
    mesh.replace("ca/root-cert.pem", &(old + &new));
    roots(2);
    // Key and certificate cannot be replaced at once: in between they do not fit, and the CA stays what it is.
    mesh.replace("ca/ca-key.pem", &key);
    mesh.controller.process().unwrap().wait_line("the CA stays as it is", SOON).unwrap();
    let mark = mesh.controller.process().unwrap().mark();
    mesh.replace("ca/ca-cert.pem", &new);
    mesh.controller.process().unwrap().wait_line_after(mark, "CA in force", SOON).unwrap();
    let before = mesh.serials();
    until(SOON, || mesh.serials().is_disjoint(&before)).unwrap();
    mesh.replace("ca/root-cert.pem", &new);
    roots(1);
    renewals(&mut seen, Duration::from_secs(120));

    // Of 24,000 and 300 in two minutes: a machine that is busy with other tests may leave some out.
    for (load, at_least) in load.into_iter().zip([15_000, 200, 200]) {
        let report: Value = load.stop(SOON).unwrap().report().unwrap();
        eprintln!("{report}");
        assert_eq!(report["failed"], 0, "{report}");
        assert!(report["ok"].as_u64().unwrap() >= at_least, "{report}");
    }
    assert!(seen.len() >= 3 * 6, "{} certificates in 100 s", seen.len());
    let metrics = mesh.controller.metrics().unwrap();
    assert!(metrics.sum("ambit_ca_certificates_signed_total", &[]) >= 15.0);
}

/// Whether `client` is answered by `far`.
fn answered(world: &World) -> bool {
    world.answered("client", world.at("far", WHOAMI)[0])
}

#[test]
fn a_node_gets_no_certificate_for_a_pod_of_another() {
    let mut mesh = Certified::new("600", &[]);
    let _server = mesh.world.serve("far");
    assert!(answered(&mesh.world));
    // Node b asks with the token of node a: as far as the CA can tell, node a asks for what runs on node b.
    let tokens = mesh.controller.directory();
    fs::copy(tokens.join("token-a"), tokens.join("token-b")).unwrap();
    let agent = mesh.world.agent_mut("b");
    agent.stop(SOON).unwrap();
    agent.start().unwrap();
    assert!(!answered(&mesh.world));
    let cause = "PermissionDenied: no pod of spiffe://cluster.local/ns/shop/sa/far runs on node a";
    mesh.world.process("b").wait_line(cause, SOON).unwrap();
    mesh.world.agent("b").wait_access_log(&[("reason", "identity-unavailable")], SOON).unwrap();
    let refused = [("reason", "not-on-node")];
    assert!(mesh.controller.metrics().unwrap().sum("ambit_ca_requests_refused_total", &refused) >= 1.0);
    mesh.controller.process().unwrap().wait_line("certificate refused", SOON).unwrap();
}

#[test]
fn a_certificate_comes_with_its_first_pod_is_shared_by_the_next_and_goes_with_the_last() {
    let plan = Plan::new(&["a", "b"]).pod("client", "a").pod("near", "a").pod("far", "b").pod("twin", "b");
    let mut mesh = Certified::of(plan, "600", &["--linger", "0.2"]);
    let of_node = |mesh: &Certified, node: &str| -> BTreeSet<String> {
        let rows = mesh.world.agent(node).admin("/certificates").unwrap();
        let rows = rows.as_array().unwrap().iter().filter(|row| row["kind"] == "Leaf");
        rows.map(|row| row["identity"].as_str().unwrap().rsplit('/').next().unwrap().to_owned()).collect()
    };
    let names = |names: &[&str]| names.iter().map(ToString::to_string).collect::<BTreeSet<_>>();
    assert_eq!(of_node(&mesh, "b"), names(&["far", "twin"]), "of its own pods and no others");
    // The twin now has the service account of the other: one certificate is enough for both.
    let signed = |mesh: &Certified| mesh.controller.metrics().unwrap().sum("ambit_ca_certificates_signed_total", &[]);
    let before = signed(&mesh);
    let account = |pod: &mut Value| pod["spec"]["serviceAccountName"] = "far".into();
    mesh.world.manifests.edit("Pod", SHOP, "twin", account).unwrap();
    until(SOON, || of_node(&mesh, "b") == names(&["far"])).unwrap();
    assert_eq!(signed(&mesh), before);
    // A service account that nobody has had here.
    let begun = Instant::now();
    let account = |pod: &mut Value| pod["spec"]["serviceAccountName"] = "new".into();
    mesh.world.manifests.edit("Pod", SHOP, "twin", account).unwrap();
    until(SOON, || of_node(&mesh, "b").contains("new")).unwrap();
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    mesh.world.manifests.delete("Pod", SHOP, "twin").unwrap();
    until(SOON, || of_node(&mesh, "b") == names(&["far"])).unwrap();
}

#[test]
fn what_stands_by_a_revoked_certificate_is_cut_and_the_workload_gets_another() {
    let mesh = Certified::new("600", &[]);
    let _servers = ["near", "far"].map(|pod| mesh.world.serve(pod));
    let hold = |pod: &str| mesh.world.hold(pod, mesh.world.at("far", ECHO)[1], 20);
    let cut = |log: &[AccessLog], direction: &str| {
        log.iter().filter(|line| line.has(&[("reason", "certificate-revoked"), ("direction", direction)])).count()
    };
    let [a, b] = ["a", "b"].map(|node| mesh.world.agent(node));
    // A client's, and then a server's.
    for (revoked, other) in [("client", "near"), ("far", "near")] {
        let (mut held, mut others) = (hold("client"), hold(other));
        let (serial, begun) = (mesh.serial_of(revoked), Instant::now());
        let before = [cut(&a.access_log(), "outbound"), cut(&b.access_log(), "inbound")];
        mesh.revoke(&[&serial]);
        let lost = if revoked == "client" { 20 } else { 40 };
        a.wait_access_logs(SOON, |log| cut(log, "outbound") == before[0] + lost).unwrap();
        let after = begun.elapsed();
        eprintln!("{lost} connections were cut {after:?} after the list was written");
        assert!(after < Duration::from_secs(5), "{after:?}");
        if revoked == "client" {
            b.wait_access_logs(SOON, |log| cut(log, "inbound") == before[1] + lost).unwrap();
        }
        assert_eq!(held.alive(), 0);
        assert_eq!(others.alive(), if revoked == "client" { 20 } else { 0 });
        until(SOON, || mesh.serial_of(revoked) != serial).unwrap();
        until(SOON, || answered(&mesh.world)).unwrap();
    }
    let damaged = Path::new(mesh.controller.directory()).join("ca-crl.pem");
    fs::write(damaged, "-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n").unwrap();
    let agent = mesh.world.process("a");
    let line = agent.wait_line("the revocations stay as they are", SOON).unwrap().text;
    assert!(line.contains("ca-crl.pem") && line.contains("certificate revocation list 1 cannot be used"), "{line}");
    assert!(answered(&mesh.world));
}
