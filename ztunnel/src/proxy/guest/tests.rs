//! The phases of a guest, and who finds it in which.

use std::net::{IpAddr, Ipv4Addr};
use std::pin::pin;

use futures_util::FutureExt;

use super::*;
use crate::proxy::fixtures::{pod, uid};

fn guest(name: &str) -> Rc<Guest> {
    Guest::new(Arc::new(pod(name, &["10.0.0.1"])))
}

const ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));

#[test]
fn phases_never_go_back() {
    let guest = guest("web");
    let (leaving, cut) = (|| guest.leaving().now_or_never(), || guest.cut().now_or_never());
    assert_eq!((leaving(), cut()), (None, None));
    guest.advance(Phase::Leaving(Left::Alone));
    guest.advance(Phase::Serving);
    assert_eq!((leaving(), cut()), (Some(Left::Alone), None));
    guest.advance(Phase::Cut(Reason::PeerGone));
    guest.advance(Phase::Cut(Reason::Draining));
    guest.advance(Phase::Leaving(Left::Alone));
    assert_eq!((leaving(), cut()), (Some(Left::Alone), Some(Reason::PeerGone)));
}

#[tokio::test(start_paused = true)]
async fn a_connection_waits_for_its_pod_at_its_address() {
    let guests = Guests::default();
    guests.insert(Guest::new(Arc::new(pod("web", &["10.0.0.9"]))), Left::Succeeded);
    let name = uid("web");
    let mut arrival = pin!(guests.arrival(&name, ADDRESS));
    assert!(arrival.as_mut().now_or_never().is_none());
    guests.insert(guest("other"), Left::Succeeded);
    assert!(arrival.as_mut().now_or_never().is_none());
    let web = guest("web");
    guests.insert(web.clone(), Left::Succeeded);
    assert!(Rc::ptr_eq(&arrival.await, &web));
}

#[test]
fn what_is_no_longer_served_can_still_be_cut_until_it_has_ended() {
    let guests = Guests::default();
    let (first, second) = (guest("web"), guest("web"));
    guests.insert(first.clone(), Left::Succeeded);
    guests.insert(second.clone(), Left::Succeeded);
    assert_eq!(first.leaving().now_or_never(), Some(Left::Succeeded), "another has taken its place");
    assert!(!guests.remove(&first), "it is not the one in service");
    assert!(guests.remove(&second));
    assert!(guests.find(&uid("web")).is_none());
    let cookie = first.pod.netns.cookie();
    assert_eq!(guests.within(cookie).len(), 2);
    assert!(guests.within(cookie + 1).is_empty());
    drop(first);
    assert_eq!(guests.within(cookie).len(), 1);
    drop(second);
    assert!(guests.all().is_empty());
}
