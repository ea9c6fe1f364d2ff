//! What waits at a listener that is closed.

use std::net::TcpStream;

use ambit_ebpf_loader::Migration;

use crate::world::{POD_V4, POD_V6, World, accept, idle};

/// Connections, of which the kernel gives some to each of two listeners.
const MANY: usize = 32;

/// Two listeners of one group, and connections from outside, by both families, that wait at either of them.
fn waiting(world: &World, migration: Option<&Migration>) -> ([std::net::TcpListener; 2], Vec<TcpStream>) {
    let listeners = [8080, 8080].map(|port| world.pod.listen(port));
    if let Some(migration) = migration {
        listeners.iter().for_each(|listener| migration.permit(listener).unwrap());
    }
    let clients =
        (0..MANY / 2).flat_map(|_| [world.dial_in((POD_V4, 8080)).unwrap(), world.dial_in((POD_V6, 8080)).unwrap()]);
    let clients = clients.collect();
    assert!(listeners.iter().all(|listener| !idle(listener)), "the kernel shares them out");
    (listeners, clients)
}

#[test]
fn what_waits_at_a_listener_that_is_closed_moves_over_to_the_other() {
    let world = World::new();
    let migration = Migration::load().unwrap();
    let ([left, right], clients) = waiting(&world, Some(&migration));
    drop(left);
    let accepted: Vec<_> = (0..MANY).map(|_| accept(&right)).collect();
    let mut peers: Vec<_> = accepted.iter().map(|(_, peer)| *peer).collect();
    let mut ends: Vec<_> = clients.iter().map(|client| client.local_addr().unwrap()).collect();
    peers.sort_unstable();
    ends.sort_unstable();
    assert_eq!(peers, ends, "every client is at the one that is left");
    assert!(idle(&right));
}

#[test]
fn without_it_what_waits_is_reset() {
    let world = World::new();
    let ([left, right], clients) = waiting(&world, None);
    drop(left);
    let mut kept = 0;
    while !idle(&right) {
        drop(accept(&right));
        kept += 1;
    }
    assert!(
        kept < clients.len(),
        "the others were reset: this kernel moves them by itself, and the test above proves nothing"
    );
}
