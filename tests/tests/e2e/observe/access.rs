//! The access log: Istio's fields, in its order, at both ends, as text and as JSON (C-15).

use std::collections::BTreeMap;

use ambit_tests::AccessLog;

use super::{at, map, play_out};
use crate::world::{DISCARD, SOON, World, vip};

/// The fields of `line`, with what differs from run to run replaced: the client's port and the duration.
fn steady(line: &AccessLog) -> BTreeMap<String, String> {
    let mut fields = line.fields.clone();
    let client: std::net::SocketAddr = line.field("src.addr").parse().unwrap();
    assert_ne!(client.port(), 0);
    fields.insert("src.addr".to_owned(), client.ip().to_string());
    let duration = fields.remove("duration").unwrap();
    assert!(duration.strip_suffix("ms").is_some_and(|number| number.parse::<u64>().is_ok()), "{duration}");
    fields
}

/// What both ends say of a connection from `client` to `far`, but for `side`.
fn expected(world: &World, port: u16, side: &[(&str, &str)]) -> BTreeMap<String, String> {
    let far = world.pod("far").v4;
    let (client, hbone, target) = (world.pod("client").v4.to_string(), at(far, 15008), at(far, port));
    let mut fields = map(&[
        ("src.addr", &client),
        ("src.workload", "client"),
        ("src.namespace", "shop"),
        ("src.identity", "spiffe://cluster.local/ns/shop/sa/client"),
        ("src.cluster", "Kubernetes"),
        ("dst.addr", &hbone.to_string()),
        ("dst.hbone_addr", &target.to_string()),
        ("dst.workload", "far"),
        ("dst.namespace", "shop"),
        ("dst.identity", "spiffe://cluster.local/ns/shop/sa/far"),
        ("dst.cluster", "Kubernetes"),
    ]);
    fields.extend(map(side));
    fields
}

fn both_sides_are_logged(world: &World) {
    let _server = world.serve("far");
    play_out(world, "client", vip("far", DISCARD)[0], "send:1000,shutdown,observe:10000");
    let service = ("dst.service", "far.shop.svc.cluster.local");
    let source = world.agent("a").wait_access_log(&[("direction", "outbound")], SOON).unwrap();
    let outbound = [service, ("direction", "outbound"), ("bytes_sent", "1000"), ("bytes_recv", "0")];
    assert_eq!(steady(&source), expected(world, DISCARD, &outbound));
    let destination = world.agent("b").wait_access_log(&[("direction", "inbound")], SOON).unwrap();
    let inbound = [service, ("direction", "inbound"), ("bytes_sent", "0"), ("bytes_recv", "1000")];
    assert_eq!(steady(&destination), expected(world, DISCARD, &inbound));
    for line in [source, destination] {
        assert_eq!((line.level.as_str(), line.message.as_str()), ("info", "connection complete"));
    }

    // To a port where nobody listens: both sides say why.
    let closed = world.at("far", 9)[0];
    world.start("client", &["fetch", "--to", &closed.to_string()]).finish(SOON).unwrap();
    let reason = ("reason", "connection-refused");
    let source = world.agent("a").wait_access_log(&[reason], SOON).unwrap();
    let error = "connection refused by the destination: the peer answered with status 503";
    let sent = source.bytes_sent().to_string();
    let outbound = [("direction", "outbound"), ("bytes_sent", &sent), ("bytes_recv", "0"), ("error", error), reason];
    assert_eq!(steady(&source), expected(world, 9, &outbound));
    let destination = world.agent("b").wait_access_log(&[reason], SOON).unwrap();
    let error = format!("connection refused by the destination: {closed}");
    let inbound = [("direction", "inbound"), ("bytes_sent", "0"), ("bytes_recv", "0"), ("error", &error), reason];
    assert_eq!(steady(&destination), expected(world, 9, &inbound));
    for line in [source, destination] {
        assert_eq!((line.level.as_str(), line.message.as_str()), ("error", "connection complete"));
    }
}

#[test]
fn both_sides_are_logged_as_text_in_istios_order() {
    let world = World::new();
    both_sides_are_logged(&world);
    let lines = world.process("a").lines();
    let line = lines.iter().find(|line| line.text.contains("\taccess\tconnection complete\t")).unwrap();
    let columns: Vec<&str> = line.text.split('\t').collect();
    assert_eq!((columns.len(), &columns[1..4]), (5, ["info", "access", "connection complete"].as_slice()));
    assert!(columns[0].ends_with('Z') && columns[0].len() == "2024-04-11T15:38:42.182974Z".len(), "{}", columns[0]);
    let names: Vec<&str> = columns[4].split(' ').filter_map(|field| Some(field.split_once('=')?.0)).collect();
    assert_eq!(
        names,
        [
            "src.addr",
            "src.workload",
            "src.namespace",
            "src.identity",
            "src.cluster",
            "dst.addr",
            "dst.hbone_addr",
            "dst.service",
            "dst.workload",
            "dst.namespace",
            "dst.identity",
            "dst.cluster",
            "direction",
            "bytes_sent",
            "bytes_recv",
            "duration"
        ]
    );
}

#[test]
fn both_sides_are_logged_as_json() {
    let world = World::with(&["--log-format", "json"]);
    both_sides_are_logged(&world);
    // Every line of the log is an object, not only those of the access log.
    for line in world.process("a").lines().iter().filter(|line| !line.is_error) {
        let object: serde_json::Value = serde_json::from_str(&line.text).unwrap_or_else(|_| panic!("{}", line.text));
        assert!(["level", "time", "scope", "message"].iter().all(|key| object[*key].is_string()), "{object}");
    }
}
