//! A place to test in: a nameless network namespace, which is gone with its last user.

use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::process::Command;

use ambit_net::NetNs;
use nix::sched::{CloneFlags, unshare};

/// The namespace's own addresses.
pub(crate) const OWN: [&str; 2] = ["10.99.0.2", "fd99::2"];

/// A new namespace in which nothing is up.
pub(crate) fn bare() -> NetNs {
    std::thread::spawn(|| {
        unshare(CloneFlags::CLONE_NEWNET).expect("needs root");
        NetNs::current().unwrap()
    })
    .join()
    .unwrap()
}

/// A new namespace with `lo` and one interface up, a cable with a loose end, which has [`OWN`] and the default routes: what is sent elsewhere is
/// lost. Source addresses are checked strictly.
pub(crate) fn pod() -> NetNs {
    let pod = bare();
    run(&pod, "sysctl -qw net.ipv4.conf.all.rp_filter=1 net.ipv4.conf.default.rp_filter=1");
    run(&pod, "ip link set lo up");
    run(&pod, "ip link add eth0 type veth peer name wire");
    run(&pod, "ip address add 10.99.0.2/24 dev eth0");
    run(&pod, "ip address add fd99::2/64 dev eth0 nodad");
    run(&pod, "ip link set eth0 up");
    run(&pod, "ip link set wire up");
    run(&pod, "ip route add default via 10.99.0.1");
    run(&pod, "ip route add default via fd99::1");
    pod
}

/// Runs `command` in `namespace`, and returns what it wrote.
pub(crate) fn run(namespace: &NetNs, command: &str) -> String {
    let mut words = command.split_whitespace();
    let mut command = Command::new(words.next().unwrap());
    command.args(words);
    let output = namespace.run(|| command.output()).unwrap().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Waits for `future` on a runtime of the calling thread's own.
pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

/// `address` with `port`.
pub(crate) fn at(address: &str, port: u16) -> SocketAddr {
    SocketAddr::new(address.parse::<IpAddr>().unwrap(), port)
}
