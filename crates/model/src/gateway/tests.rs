//! What Gateways say together: where a pod listens that serves them, for whom, and to which of them a request goes.

use std::collections::BTreeSet;

use super::*;
use crate::route::{self, Routes, VirtualService, Visibility};

/// A host of a server as it is written, in a Gateway of `shop`.
fn host(written: &str) -> ServerHost {
    let (namespace, host) = written.split_once('/').map_or((None, written), |(of, host)| (Some(of), host));
    let namespace = namespace.filter(|of| *of != "*").map(|of| Arc::from(if of == "." { "shop" } else { of }));
    ServerHost { namespace, host: Host::literal(host) }
}

fn tls() -> Arc<Tls> {
    Arc::new(Tls {
        certificates: vec![Certificate::Mesh],
        clients: Clients::Anybody,
        min: TlsVersion::V1_2,
        max: TlsVersion::V1_3,
        cipher_suites: vec![],
    })
}

/// A server, such as `80 HTTP a.example *.b.example`, with an address behind the port or not.
fn server(written: &str) -> Arc<Server> {
    let mut words = written.split_whitespace();
    let (place, protocol) = (words.next().unwrap(), words.next().unwrap());
    let (port, bind) = place.split_once('@').map_or((place, None), |(port, bind)| (port, Some(bind)));
    let protocol = match protocol {
        "HTTP" => Protocol::Http { redirect: false },
        "REDIRECT" => Protocol::Http { redirect: true },
        "HTTPS" => Protocol::Https(tls()),
        "TLS" => Protocol::Tls(tls()),
        "PASSTHROUGH" => Protocol::Passthrough,
        "TCP" => Protocol::Tcp,
        other => panic!("{other}"),
    };
    Arc::new(Server {
        name: None,
        port: port.parse().unwrap(),
        port_name: port.into(),
        bind: bind.map(|bind| bind.parse().unwrap()),
        hosts: words.map(host).collect(),
        protocol,
    })
}

/// The Gateway `name` of `shop`, made at `created`, of these servers.
fn gateway((name, created, servers): (&str, &str, &[&str])) -> Arc<Gateway> {
    Arc::new(Gateway {
        key: RuleKey::new("shop", name),
        created: (!created.is_empty()).then(|| Arc::from(created)),
        selector: BTreeMap::new(),
        servers: servers.iter().map(|written| server(written)).collect(),
    })
}

/// Every listener as `port@address what: servers`, each of those as its Gateway and its first host; and every conflict.
/// Where nothing stands in front of the pod.
fn same(port: u16) -> BTreeSet<u16> {
    [port].into()
}

fn told(gateways: &[Arc<Gateway>]) -> (Vec<String>, Vec<String>) {
    let (listeners, conflicts) = listeners(gateways, same);
    let served = |served: &Served| format!("{} {}", served.key.name, served.server.hosts[0]);
    let listener = |listener: &Listener| {
        let bind = listener.bind.map(|bind| format!("@{bind}")).unwrap_or_default();
        let servers: Vec<_> = listener.servers.iter().map(served).collect();
        format!("{}{bind} {:?}: {}", listener.port, listener.speaks, servers.join(", "))
    };
    let conflict = |one: &Conflict| format!("{}[{}] {:?} {}", one.gateway.name, one.server, one.over, one.with.name);
    (listeners.iter().map(listener).collect(), conflicts.iter().map(conflict).collect())
}

#[test]
fn a_port_speaks_what_the_oldest_says_and_is_for_all_that_speak_so() {
    type Written<'a> = (&'a str, &'a str, &'a [&'a str]);
    let table: [(&[Written<'_>], &[&str], &[&str]); 8] = [
        (
            &[("a", "2024", &["80 HTTP a.x", "443 HTTPS a.x"]), ("b", "2023", &["80 HTTP b.x"])],
            &["80 Http: b b.x, a a.x", "443 Tls: a a.x"],
            &[],
        ),
        // Without a date it is older than all, and of the same age the name counts.
        (
            &[("c", "2024", &["80 HTTP *"]), ("b", "2024", &["80 REDIRECT *"]), ("z", "", &["80 HTTP *"])],
            &["80 Http: z *, b *, c *"],
            &[],
        ),
        (
            &[("a", "2024", &["80 TCP *"]), ("b", "2023", &["80 HTTP b.x", "80 TLS *"])],
            &["80 Http: b b.x"],
            &["b[1] Port(80) b", "a[0] Port(80) b"],
        ),
        // Bytes do not say whose they are.
        (
            &[("a", "", &["27017 TCP a.x"]), ("b", "", &["27017 TCP b.x"])],
            &["27017 Tcp: a a.x"],
            &["b[0] Port(27017) a"],
        ),
        (
            &[("a", "", &["443 HTTPS a.x *.y"]), ("b", "", &["443 PASSTHROUGH b.x *.y", "443 TLS c.x"])],
            &["443 Tls: a a.x, b b.x, b c.x"],
            &["b[0] Host(Host(\"*.y\")) a"],
        ),
        // One host for VirtualServices of two namespaces is one certificate.
        (&[("a", "", &["443 HTTPS n/a.x m/a.x"])], &["443 Tls: a n/a.x"], &[]),
        (
            &[("a", "", &["443 HTTPS n/a.x"]), ("b", "", &["443 HTTPS m/a.x m/a.x"])],
            &["443 Tls: a n/a.x, b m/a.x"],
            &["b[0] Host(Host(\"a.x\")) a"],
        ),
        // Another address is another listener.
        (
            &[("a", "", &["80 HTTP *"]), ("b", "", &["80@10.0.0.1 TCP *"]), ("c", "", &["80@fd00::1 HTTPS *"])],
            &["80 Http: a *", "80@10.0.0.1 Tcp: b *", "80@fd00::1 Tls: c *"],
            &[],
        ),
    ];
    for (written, listening, conflicts) in table {
        let mut gateways: Vec<_> = written.iter().copied().map(gateway).collect();
        for _ in 0..2 {
            let (told_listening, told_conflicts) = told(&gateways);
            assert_eq!(
                (&told_listening[..], &told_conflicts[..]),
                (&owned(listening)[..], &owned(conflicts)[..]),
                "{written:?}"
            );
            gateways.reverse();
        }
    }
}

fn owned(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

#[test]
fn a_conflict_says_what_is_not_in_effect_and_whose_fault_it_is() {
    let written = [("old", "2023", &["80 HTTP *", "443 TLS a.x"][..]), ("new", "2024", &["80 TCP *", "443 HTTPS a.x"])];
    let (_, conflicts) = listeners(&written.map(gateway), same);
    let told: Vec<String> = conflicts.iter().map(ToString::to_string).collect();
    assert!(told[0].starts_with("port 80 speaks what the older Gateway shop/old says"), "{told:?}");
    assert!(told[1].starts_with("a.x is the older Gateway shop/old's on this port"), "{told:?}");
}

#[test]
fn a_tls_client_is_served_by_whose_host_is_the_closest() {
    let written = [
        ("a", "2021", &["443 HTTPS *.x"][..]),
        ("b", "2022", &["443 PASSTHROUGH *.a.x b.x", "443 TLS b.a.x"]),
        ("c", "2023", &["443 HTTPS b.x *.x"]),
    ];
    let (listening, _) = listeners(&written.map(gateway), same);
    let by_name = |listener: &Listener, name: Option<&str>| {
        let served = listener.by_name(name);
        served.map_or_else(
            || "-".to_owned(),
            |served| format!("{} {:?}", served.key.name, served.server.protocol.speaks()),
        )
    };
    for (name, gateway, place) in [
        ("y.x", "a", 0),
        ("y.z.x", "a", 0),
        ("b.x", "b", 1),
        ("c.a.x", "b", 1),
        ("c.b.a.x", "b", 1),
        ("b.a.x", "b", 2),
        ("x", "-", 0),
        ("other", "-", 0),
    ] {
        let served = listening[0].by_name(Some(name));
        assert_eq!(served.map_or("-", |served| &*served.key.name), gateway, "{name}");
        assert_eq!(served, listening[0].servers.get(place).filter(|_| gateway != "-"), "{name}");
    }
    assert_eq!(by_name(&listening[0], None), "-");
    let (listening, _) = listeners(&[gateway(("a", "", &["443 TLS a.x"])), gateway(("b", "", &["443 HTTPS *"]))], same);
    assert_eq!(by_name(&listening[0], None), "b Tls");
    assert_eq!(by_name(&listening[0], Some("a.x")), "a Tls");
    assert_eq!(by_name(&listening[0], Some("anything")), "b Tls");
}

/// VirtualServices, each such as `shop/name a.x,*.y front,mesh`: whose, for which hosts, and where.
fn routes(written: &[&str]) -> Routes {
    let mut routes = Routes::default();
    for one in written {
        let mut words = one.split_whitespace();
        let (namespace, name) = words.next().and_then(|key| key.split_once('/')).unwrap();
        let hosts = words.next().unwrap().split(',').map(Host::literal).collect();
        let at = |name: &str| match name {
            "mesh" => route::Gateway::Mesh,
            name => route::Gateway::Named(RuleKey::new("shop", name)),
        };
        let gateways = words.next().unwrap().split(',').map(at).collect();
        let visibility = match words.next() {
            None => Visibility::Public,
            Some(only) => Visibility::Namespaces(vec![only.into()]),
        };
        let key = RuleKey::new(namespace, name);
        let (http, tls, tcp) = (vec![], vec![], vec![]);
        let service = VirtualService { key: key.clone(), created: None, hosts, gateways, visibility, http, tls, tcp };
        routes.set(&key, Some(Arc::new(service)));
    }
    routes
}

/// To which Gateways a request for `host` goes, each with the namespace whose VirtualServices alone count.
fn goes(gateways: &[Arc<Gateway>], routes: &Routes, host: &str) -> String {
    let (listening, _) = listeners(gateways, same);
    match bound(&listening[0].servers, routes, "edge", host) {
        Bound::Unbound => "-".to_owned(),
        Bound::Redirected => "https".to_owned(),
        Bound::Routed(to) => {
            let shown = to.iter().map(|(served, from)| match from {
                Some(from) => format!("{} of {from}", served.key.name),
                None => served.key.name.to_string(),
            });
            shown.collect::<Vec<_>>().join(", ")
        }
    }
}

#[test]
fn a_request_goes_where_a_virtual_service_is_bound_to() {
    let one = |hosts: &str| [gateway(("front", "", &[&format!("80 HTTP {hosts}")]))];
    for (hosts, services, host, expected) in [
        ("*", &["shop/a a.x front"][..], "a.x", "front"),
        ("*", &["shop/a * front"], "a.x", "front"),
        ("*", &["shop/a *.x front"], "b.a.x", "front"),
        ("*.x", &["shop/a * front"], "a.x", "front"),
        ("*.x", &["shop/a * front"], "x", "-"),
        ("a.x", &["shop/a *.x front"], "a.x", "front"),
        ("a.x", &["shop/a *.x front"], "b.x", "-"),
        // It takes both: the server's host, and a VirtualService's.
        ("*", &[], "a.x", "-"),
        ("*", &["shop/a b.x front"], "a.x", "-"),
        ("b.x", &["shop/a a.x front"], "a.x", "-"),
        // Bound to another, or to the mesh.
        ("*", &["shop/a a.x back"], "a.x", "-"),
        ("*", &["shop/a a.x mesh"], "a.x", "-"),
        ("*", &["shop/a a.x mesh,front"], "a.x", "front"),
        // Seen by the gateway's namespace or not.
        ("*", &["shop/a a.x front edge"], "a.x", "front"),
        ("*", &["shop/a a.x front shop"], "a.x", "-"),
        // A server's host may be for the VirtualServices of a namespace.
        ("./a.x", &["shop/a a.x front"], "a.x", "front of shop"),
        ("./a.x", &["other/a a.x front"], "a.x", "-"),
        ("other/*", &["shop/a a.x front", "other/b *.x front"], "a.x", "front of other"),
        ("*/a.x", &["other/a a.x front"], "a.x", "front"),
        ("n/*.x m/*.x", &["m/a a.x front", "n/b a.x front"], "a.x", "front of n, front of m"),
        ("n/*.x m/*.x", &["m/a a.x front", "n/b *.x front"], "a.x", "front of m"),
        ("*.x n/a.x", &["m/a *.x front", "n/b *.x front"], "a.x", "front of n"),
    ] {
        assert_eq!(goes(&one(hosts), &routes(services), host), expected, "{hosts} {services:?} {host}");
    }
}

#[test]
fn of_several_gateways_on_a_port_the_closest_host_counts() {
    let all = |written: &[(&str, &str)]| {
        let gateways = written.iter().enumerate();
        let gateways =
            gateways.map(|(age, (name, server))| gateway((name, &format!("202{age}"), &[&format!("80 {server}")])));
        gateways.collect::<Vec<_>>()
    };
    let two = [("a", "HTTP *"), ("b", "HTTP *")];
    for (gateways, services, host, expected) in [
        (&two[..], &["shop/v a.x b"][..], "a.x", "b"),
        (&two, &["shop/v a.x a", "shop/w a.x b"], "a.x", "a, b"),
        (&two, &["shop/v a.x b,a"], "a.x", "a, b"),
        (&two, &["shop/v *.x a", "shop/w a.x b"], "a.x", "b"),
        (&two, &["shop/v *.x a", "shop/w a.x b"], "b.x", "a"),
        (&two, &["shop/v * a", "shop/w *.x b"], "a.y", "a"),
        (&[("a", "HTTP *"), ("b", "HTTP a.x")], &["shop/v * a,b"], "a.x", "b"),
        (&[("a", "HTTP *.x"), ("b", "HTTP a.x")], &["shop/v a.x a", "shop/w * b"], "a.x", "a, b"),
        // Whoever is sent to https is so without a VirtualService, unless another host is closer.
        (&[("a", "REDIRECT *")], &[], "a.x", "https"),
        (&[("a", "REDIRECT a.x")], &["shop/v a.x a"], "a.x", "https"),
        (&[("a", "REDIRECT a.x")], &["shop/v * a"], "b.x", "-"),
        (&[("a", "REDIRECT *"), ("b", "HTTP a.x")], &["shop/v a.x b"], "a.x", "b"),
        (&[("a", "REDIRECT *"), ("b", "HTTP a.x")], &["shop/v a.x b"], "b.x", "https"),
        (&[("a", "HTTP a.x"), ("b", "REDIRECT a.x")], &["shop/v a.x a,b"], "a.x", "https"),
        (&[("a", "REDIRECT a.x"), ("b", "HTTP a.x")], &["shop/v a.x a,b"], "a.x", "https"),
    ] {
        assert_eq!(goes(&all(gateways), &routes(services), host), expected, "{gateways:?} {services:?} {host}");
    }
}

#[test]
fn gateways_are_kept_by_key_and_say_whether_that_changes_anything() {
    let (mut gateways, one) = (Gateways::default(), gateway(("a", "", &["80 HTTP *"])));
    assert!(gateways.set(&one.key, Some(one.clone())));
    assert!(!gateways.set(&one.key, Some(Arc::new((*one).clone()))), "the same again");
    let other = gateway(("a", "", &["80 HTTP a.x"]));
    assert!(gateways.set(&one.key, Some(other.clone())));
    assert_eq!((gateways.get(&one.key), gateways.iter().count()), (Some(&other), 1));
    assert!(gateways.set(&one.key, None) && !gateways.set(&one.key, None));
    assert_eq!(gateways, Gateways::default());
}

#[test]
fn a_gateway_is_served_by_the_pods_that_have_all_its_labels() {
    let labels =
        |pairs: &[(&str, &str)]| pairs.iter().map(|(key, value)| (Arc::from(*key), Arc::from(*value))).collect();
    let selects = |selector: &[(&str, &str)], pod: &[(&str, &str)]| {
        Gateway { selector: labels(selector), ..(*gateway(("a", "", &[]))).clone() }.selects(&labels(pod))
    };
    assert!(selects(&[], &[]) && selects(&[], &[("a", "b")]));
    assert!(selects(&[("a", "b")], &[("a", "b"), ("c", "d")]));
    assert!(!selects(&[("a", "b")], &[("a", "c")]) && !selects(&[("a", "b"), ("c", "d")], &[("a", "b")]));
}

#[test]
fn cipher_suites_go_by_their_names() {
    for suite in CipherSuite::ALL {
        assert_eq!(CipherSuite::from_name(suite.as_str()), Some(*suite));
    }
    assert_eq!(CipherSuite::from_name("AES128-SHA"), None);
}

#[test]
fn ports_that_lead_to_one_of_the_pods_are_one_and_the_older_gateway_counts() {
    let old = gateway(("old", "2020-01-01T00:00:00Z", &["8080 HTTP a.example"]));
    let (new, odd) = (
        gateway(("new", "2021-01-01T00:00:00Z", &["80 HTTP b.example"])),
        gateway(("odd", "2022-01-01T00:00:00Z", &["80 TCP *"])),
    );
    let (listening, conflicts) = listeners(&[new, odd, old], |_| [8080].into());
    let [listener] = &listening[..] else { panic!("{listening:?}") };
    let keys: Vec<_> = listener.servers.iter().map(|served| served.key.to_string()).collect();
    assert_eq!((listener.port, keys), (8080, vec!["shop/old".to_owned(), "shop/new".to_owned()]));
    assert_eq!(conflicts.len(), 1);
    assert!(conflicts[0].to_string().contains("older Gateway shop/old"), "{}", conflicts[0]);
}
