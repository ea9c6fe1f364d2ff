//! What operators see of the mesh, through real agents: metrics, access logs, the admin interface, readiness, ports,
//! settings and the errors of an agent that cannot start (N-02, N-03, N-15, C-15, D-01, D-11, E-16, C-11, Q-04, Q-05).

mod access;
mod admin;
mod cli;
mod leave;
mod metrics;
mod ports;
mod start;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use ambit_tests::Topology;

use crate::world::{SOON, World};

/// Dials `to` from `pod` and plays `script` to its end.
fn play_out(world: &World, pod: &str, to: SocketAddr, script: &str) {
    world.dial(pod, to, script).finish(SOON).unwrap().success().unwrap();
}

fn at(ip: impl Into<IpAddr>, port: u16) -> SocketAddr {
    SocketAddr::new(ip.into(), port)
}

fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// A program that is ztunnel with more in its environment.
fn with_environment(topology: &Topology, variables: &[(&str, &str)]) -> PathBuf {
    let variables: Vec<_> = variables.iter().map(|(name, value)| format!("{name}='{value}'")).collect();
    let ztunnel = topology.binaries().ztunnel.display();
    let script = format!("#!/bin/sh\nexec env {} {ztunnel} \"$@\"\n", variables.join(" "));
    let path = topology.directory().join("ztunnel.sh");
    std::fs::write(&path, script).unwrap();
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
    path
}
