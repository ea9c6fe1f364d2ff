//! Enrolling and withdrawing pods that are running.

use std::{
    io::{Read as _, Write as _},
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    os::fd::AsFd as _,
    sync::atomic::{AtomicBool, Ordering},
};

use ambit_ebpf_abi::Counter;
use ambit_ebpf_loader::{Error, Operation, Pod, Steering};

use crate::world::{FAR_V4, Listeners, Netns, OUTSIDE_V4, POD_SECOND, POD_V4, POD_V6, World, accept, idle};

#[test]
fn the_kernel_has_what_was_enrolled_and_enrolling_twice_changes_nothing() {
    let world = World::new();
    let listeners = Listeners::open(&world.pod);
    let mut capture = world.open();
    let pod = listeners.pod(&world.pod);
    let operations = capture.enrol(&pod).unwrap();
    assert!(matches!(operations.last(), Some(Operation::Capture(_, _))), "{operations:?}");
    let kernel = capture.enrolled().unwrap();
    let has = &kernel[&world.pod.cookie];
    assert_eq!(has.captured.unwrap().v4, Some(POD_V4));
    assert_eq!(has.captured.unwrap().v6, Some(POD_V6));
    assert_eq!(has.steering, Steering::On);
    assert_eq!(has.addresses, [POD_V4.into(), POD_V6.into(), POD_SECOND.into()].into());
    assert_eq!(capture.enrol(&pod).unwrap(), []);
    assert_eq!(capture.audit(&[pod]).unwrap(), []);
}

#[test]
fn open_connections_survive_enrolment_and_withdrawal() {
    let world = World::new();
    let listeners = Listeners::open(&world.pod);
    let mut capture = world.open();
    let server = world.outside.listen(8080);
    let application = world.pod.listen(8081);
    let before = (world.dial((OUTSIDE_V4, 8080)).unwrap(), accept(&server).0);
    let inward = (world.dial_in((POD_V4, 8081)).unwrap(), accept(&application).0);
    capture.enrol(&listeners.pod(&world.pod)).unwrap();
    let during = (world.dial((FAR_V4, 8080)).unwrap(), accept(&listeners.outbound).0);
    let steered = (world.dial_in((POD_V4, 8081)).unwrap(), accept(&listeners.inbound).0);
    for pair in [&before, &inward, &during, &steered] {
        exchange(pair);
    }
    capture.withdraw(world.pod.cookie).unwrap();
    for pair in [&before, &inward, &during, &steered] {
        exchange(pair);
    }
    assert_eq!(during.0.peer_addr().unwrap(), SocketAddr::from((FAR_V4, 8080)), "still its peer");
    let after = (world.dial((OUTSIDE_V4, 8080)).unwrap(), accept(&server).0);
    let direct = (world.dial_in((POD_V4, 8081)).unwrap(), accept(&application).0);
    exchange(&after);
    exchange(&direct);
    assert!(idle(&listeners.outbound) && idle(&listeners.inbound));
    assert!(capture.enrolled().unwrap().is_empty());
}

#[test]
fn no_connection_fails_while_a_pod_is_enrolled_and_withdrawn() {
    let world = World::new();
    let mut capture = world.open();
    let listeners = Listeners::open(&world.pod);
    let (server, application) = (world.outside.listen(8080), world.pod.listen(8081));
    let done = AtomicBool::new(false);
    let until_done = |connect: &dyn Fn() -> TcpStream, takers: [&TcpListener; 2]| {
        let mut times = 0;
        while !done.load(Ordering::Relaxed) {
            let _stream = connect();
            let taken = takers.into_iter().filter(|listener| !idle(listener)).map(accept).count();
            assert_eq!(taken, 1, "it reached one of the two");
            times += 1;
        }
        times
    };
    let (outward, inward) = std::thread::scope(|scope| {
        let outward =
            scope.spawn(|| until_done(&|| world.dial((OUTSIDE_V4, 8080)).unwrap(), [&server, &listeners.outbound]));
        let inward =
            scope.spawn(|| until_done(&|| world.dial_in((POD_V4, 8081)).unwrap(), [&application, &listeners.inbound]));
        for _ in 0..50 {
            capture.enrol(&listeners.pod(&world.pod)).unwrap();
            std::thread::yield_now();
            capture.withdraw(world.pod.cookie).unwrap();
        }
        done.store(true, Ordering::Relaxed);
        (outward.join().unwrap(), inward.join().unwrap())
    });
    assert!(outward > 10 && inward > 10, "{outward} and {inward} connections");
    let counters = capture.counters().unwrap();
    assert!(counters.of(Counter::Captured) > 0 && counters.of(Counter::Steered) > 0, "{counters}");
}

#[test]
fn a_connection_that_waits_while_its_pod_is_withdrawn_keeps_its_destination() {
    let world = World::new();
    let listeners = Listeners::open(&world.pod);
    let mut capture = world.open();
    capture.enrol(&listeners.pod(&world.pod)).unwrap();
    let _application = world.dial((FAR_V4, 8080)).unwrap();
    capture.withdraw(world.pod.cookie).unwrap();
    let (_proxy, source) = accept(&listeners.outbound);
    let wanted = capture.original_destinations().take(world.pod.cookie, source).unwrap();
    assert_eq!(wanted, Some((FAR_V4, 8080).into()));
}

#[test]
fn a_pods_addresses_can_change() {
    let world = World::new();
    let listeners = Listeners::open(&world.pod);
    let mut capture = world.open();
    let mut pod = listeners.pod(&world.pod);
    capture.enrol(&pod).unwrap();
    let fresh = Ipv4Addr::new(10, 77, 0, 4);
    world.pod.ip(&format!("addr add {fresh}/24 dev eth0"));
    pod.addresses = vec![IpAddr::V4(fresh)];
    let cookie = world.pod.cookie;
    let expected = [Operation::PutAddress(cookie, fresh.into()), Operation::RemoveAddress(cookie, POD_SECOND.into())];
    assert_eq!(capture.enrol(&pod).unwrap(), expected);
    let _client = world.dial_in((fresh, 8080)).unwrap();
    accept(&listeners.inbound);
}

#[test]
fn the_audit_repairs_what_is_missing() {
    let world = World::new();
    let listeners = Listeners::open(&world.pod);
    let mut capture = world.open();
    let pod = listeners.pod(&world.pod);
    capture.enrol(&pod).unwrap();
    let cookie = world.pod.cookie;
    let pin = world.settings.pins.join(format!("v{}/netns/{cookie}", ambit_ebpf_abi::VERSION));
    std::fs::remove_file(pin).unwrap();
    let fresh = world.pod.listen(crate::world::INBOUND);
    let changed = Pod { listener: fresh.as_fd(), ..pod };
    let expected = [Operation::PutListener(cookie), Operation::Steer(cookie)];
    assert_eq!(capture.audit(std::slice::from_ref(&changed)).unwrap(), expected);
    assert_eq!(capture.audit(&[changed]).unwrap(), []);
    let _client = world.dial_in((POD_V4, 8080)).unwrap();
}

#[test]
fn the_audit_withdraws_the_unwanted_and_removes_the_pins_of_the_dead() {
    let world = World::new();
    let listeners = Listeners::open(&world.pod);
    let mut capture = world.open();
    capture.enrol(&listeners.pod(&world.pod)).unwrap();
    let dying = Netns::new();
    let doomed = Listeners::open(&dying);
    let v4 = Some(Ipv4Addr::new(10, 88, 0, 1));
    let pod = Pod { v4, v6: None, addresses: Vec::new(), ..doomed.pod(&dying) };
    capture.enrol(&pod).unwrap();
    let cookie = dying.cookie;
    drop((doomed, dying));
    let dead = || capture.enrolled().unwrap()[&cookie].steering == Steering::Dead;
    assert!(crate::world::eventually(dead), "the namespace ends with its last descriptor");
    let operations = capture.audit(&[listeners.pod(&world.pod)]).unwrap();
    assert!(operations.iter().all(|operation| operation.cookie() == cookie), "{operations:?}");
    assert!(operations.contains(&Operation::Unsteer(cookie)), "{operations:?}");
    assert_eq!(capture.enrolled().unwrap().into_keys().collect::<Vec<_>>(), [world.pod.cookie]);
    assert_eq!(capture.audit(&[listeners.pod(&world.pod)]).unwrap(), []);
}

#[test]
fn a_pod_that_cannot_be_enrolled_does_not_hold_up_the_others() {
    let world = World::new();
    let listeners = Listeners::open(&world.pod);
    let mut capture = world.open();
    let other = Netns::new();
    let unconnected = other.socket(socket2::Domain::IPV6);
    let v4 = Some(Ipv4Addr::new(10, 88, 0, 1));
    let broken = Pod {
        cookie: other.cookie,
        netns: other.fd.as_fd(),
        v4,
        v6: None,
        dns: true,
        addresses: Vec::new(),
        listener: unconnected.as_fd(),
    };
    let error = capture.audit(&[broken.clone(), listeners.pod(&world.pod)]).unwrap_err();
    assert!(matches!(error, Error::Listener { cookie, .. } if cookie == other.cookie), "{error}");
    let kernel = capture.enrolled().unwrap();
    assert!(kernel[&world.pod.cookie].captured.is_some());
    assert!(!kernel.contains_key(&other.cookie), "nothing of it by half");
    assert!(capture.enrol(&broken).is_err());
    let server = other.listen(8080);
    capture.enrol(&Pod { listener: server.as_fd(), ..broken }).unwrap();
    assert_eq!(capture.enrolled().unwrap().len(), 2);
}

fn exchange((one, other): &(TcpStream, TcpStream)) {
    for (mut from, mut to) in [(one, other), (other, one)] {
        from.write_all(b"data").unwrap();
        let mut heard = [0; 4];
        to.read_exact(&mut heard).unwrap();
        assert_eq!(&heard, b"data");
    }
}
