//! Sockets for datagrams that share a port.

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use ambit_net::netns::NetNs;
use ambit_net::udp;

use crate::place::bare;

/// Clients, of which the kernel gives some to each of two sockets.
const MANY: usize = 32;

fn send(namespace: &NetNs, to: SocketAddr) -> Vec<UdpSocket> {
    let client = || {
        let client = namespace.run(|| UdpSocket::bind(SocketAddr::new(to.ip(), 0)).unwrap()).unwrap();
        client.send_to(b"?", to).unwrap();
        client
    };
    (0..MANY).map(|_| client()).collect()
}

/// Who has sent what waits at `socket`.
fn received(socket: &UdpSocket) -> Vec<SocketAddr> {
    let mut buffer = [0; 8];
    // On loopback what was sent has arrived.
    std::iter::from_fn(|| socket.recv_from(&mut buffer).ok().map(|(_, from)| from)).collect()
}

#[test]
fn a_socket_that_turns_away_keeps_what_it_has_and_leaves_the_rest_to_the_other() {
    let namespace = bare();
    ambit_net::routes::allow_spoofed_delivery(&namespace, std::path::Path::new("/proc")).unwrap();
    for address in ["127.0.0.1:15053", "[::1]:15053"] {
        let address: SocketAddr = address.parse().unwrap();
        let [leaving, staying] = [(); 2].map(|()| udp::bind(&namespace, address).unwrap());
        let before = send(&namespace, address);
        udp::turn_away(&leaving).unwrap();
        let after = send(&namespace, address);
        let (first, second) = (received(&leaving), received(&staying));
        assert!(!first.is_empty(), "the kernel shares them out");
        assert_eq!(first.len() + second.len(), 2 * MANY, "nothing is lost: {address}");
        let late = after.iter().map(|client| client.local_addr().unwrap());
        assert!(late.into_iter().all(|client| second.contains(&client)), "{address}");
        // And it can still answer whom it has heard.
        leaving.send_to(b"!", first[0]).unwrap();
        let asker = before.iter().find(|client| client.local_addr().unwrap() == first[0]).unwrap();
        asker.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        assert_eq!(asker.recv_from(&mut [0; 8]).unwrap(), (1, address), "{address}");
    }
}
