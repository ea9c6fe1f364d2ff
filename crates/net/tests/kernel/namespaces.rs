//! Entering a network namespace and coming back.

use std::io::ErrorKind;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::process::Command;

use ambit_net::NetNs;

use crate::place::{OWN, bare, pod, run};

/// A namespace with a name below /run/netns, which goes with this.
struct Named(String);

impl Named {
    fn new(purpose: &str) -> Self {
        let name = format!("ambit-net-{}-{purpose}", std::process::id());
        assert!(Command::new("ip").args(["netns", "add", &name]).status().unwrap().success());
        Self(name)
    }

    fn path(&self) -> PathBuf {
        PathBuf::from("/run/netns").join(&self.0)
    }
}

impl Drop for Named {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "del", &self.0]).status();
    }
}

#[test]
fn work_is_done_inside_and_the_thread_comes_back() {
    let (home, elsewhere) = (NetNs::current().unwrap(), bare());
    let inside = elsewhere.run(|| NetNs::current().unwrap()).unwrap();
    assert_eq!(inside, elsewhere);
    assert_eq!(inside.cookie(), elsewhere.cookie());
    assert_ne!(elsewhere, home);
    assert_ne!(elsewhere.cookie(), home.cookie());
    assert_eq!(NetNs::current().unwrap(), home);
}

#[test]
fn visits_nest() {
    let (home, outer, inner) = (NetNs::current().unwrap(), bare(), bare());
    outer
        .run(|| {
            assert_eq!(inner.run(|| NetNs::current().unwrap()).unwrap(), inner);
            assert_eq!(NetNs::current().unwrap(), outer);
            assert_eq!(outer.run(|| NetNs::current().unwrap()).unwrap(), outer);
            assert_eq!(home.run(|| NetNs::current().unwrap()).unwrap(), home);
            assert_eq!(NetNs::current().unwrap(), outer);
        })
        .unwrap();
    assert_eq!(NetNs::current().unwrap(), home);
}

#[test]
fn the_thread_comes_back_from_a_panic() {
    let (home, elsewhere) = (NetNs::current().unwrap(), bare());
    let outcome = catch_unwind(AssertUnwindSafe(|| elsewhere.run(|| panic!("on purpose"))));
    assert!(outcome.is_err());
    assert_eq!(NetNs::current().unwrap(), home);
    assert_eq!(elsewhere.run(|| NetNs::current().unwrap()).unwrap(), elsewhere);
}

#[test]
fn a_path_names_a_namespace_until_it_is_removed() {
    let named = Named::new("path");
    let opened = NetNs::open(named.path()).unwrap();
    assert_eq!(opened, NetNs::open(named.path()).unwrap());
    assert_eq!(opened.run(|| NetNs::current().unwrap().cookie()).unwrap(), opened.cookie());
    assert!(opened.is_at(named.path()));
    let path = named.path();
    drop(named);
    assert!(!opened.is_at(&path));
    assert_eq!(NetNs::open(&path).unwrap_err().kind(), ErrorKind::NotFound);
    opened.run(|| ()).unwrap();
}

#[test]
fn what_is_no_network_namespace_is_refused() {
    let fifo = std::env::temp_dir().join(format!("ambit-net-{}-fifo", std::process::id()));
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    for path in ["/proc/self/ns/uts", "/etc/hostname", "/dev/null", fifo.to_str().unwrap()] {
        assert_eq!(NetNs::open(path).unwrap_err().kind(), ErrorKind::InvalidInput, "{path}");
    }
    std::fs::remove_file(fifo).unwrap();
}

#[test]
fn addresses_are_those_of_the_namespace_without_loopback() {
    assert!(bare().addresses().unwrap().is_empty());
    let pod = pod();
    run(&pod, "ip address add fd99::3/64 dev lo");
    let addresses = pod.addresses().unwrap();
    for own in [OWN[0], OWN[1], "fd99::3"] {
        assert!(addresses.contains(&own.parse().unwrap()), "{addresses:?}");
    }
    assert!(addresses.iter().all(|address| !address.is_loopback()) && addresses.is_sorted());
}
