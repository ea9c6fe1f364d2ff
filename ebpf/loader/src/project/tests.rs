//! The difference between any two states leads from the one to the other, without a wrong state between.

use proptest::{collection, option, prelude::*};

use super::*;

/// A kernel in a few lines: every operation of [`Operation`] on it.
fn apply(kernel: &mut BTreeMap<u64, Enrolled>, wanted: &BTreeMap<u64, Wanted>, operation: Operation) {
    match operation {
        Operation::Capture(cookie, own) => kernel.entry(cookie).or_default().captured = Some(own),
        Operation::Release(cookie) => kernel.entry(cookie).or_default().captured = None,
        Operation::Steer(cookie) => kernel.entry(cookie).or_default().steering = Steering::On,
        Operation::Unsteer(cookie) => kernel.entry(cookie).or_default().steering = Steering::Off,
        Operation::PutAddress(cookie, address) => {
            for pod in kernel.values_mut() {
                pod.addresses.remove(&address);
            }
            kernel.entry(cookie).or_default().addresses.insert(address);
        }
        Operation::RemoveAddress(cookie, address) => {
            assert!(kernel.entry(cookie).or_default().addresses.remove(&address), "{address} was not of {cookie}");
        }
        Operation::PutListener(cookie) => {
            kernel.entry(cookie).or_default().listener = wanted.get(&cookie).map(|pod| pod.listener);
        }
        Operation::RemoveListener(cookie) => kernel.entry(cookie).or_default().listener = None,
    }
}

/// What the kernel shall have in the end: `wanted`, each address with its youngest claimant.
fn settled(wanted: &BTreeMap<u64, Wanted>) -> BTreeMap<u64, Enrolled> {
    let younger = |cookie: u64, address: &IpAddr| {
        wanted.iter().any(|(&other, pod)| other > cookie && pod.addresses.contains(address))
    };
    let settle = |(&cookie, pod): (&u64, &Wanted)| {
        let addresses = pod.addresses.iter().filter(|address| !younger(cookie, address)).copied().collect();
        let listener = Some(pod.listener);
        (cookie, Enrolled { captured: Some(pod.own), addresses, listener, steering: Steering::On })
    };
    wanted.iter().map(settle).collect()
}

fn sound(pod: &Enrolled) -> bool {
    (pod.captured.is_none() || pod.steering == Steering::On) && (pod.steering != Steering::On || pod.listener.is_some())
}

fn address() -> impl Strategy<Value = IpAddr> {
    prop_oneof![
        (1_u8..6).prop_map(|last| IpAddr::from([10, 0, 0, last])),
        (1_u16..4).prop_map(|last| IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, last])),
    ]
}

fn own() -> impl Strategy<Value = Own> {
    (option::of(1_u8..4), option::of(1_u16..4), any::<bool>()).prop_map(|(v4, v6, dns)| Own {
        v4: v4.map(|last| Ipv4Addr::new(10, 0, 0, last)),
        v6: v6.map(|last| Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, last)),
        dns,
    })
}

fn wanted() -> impl Strategy<Value = BTreeMap<u64, Wanted>> {
    let pod = (own(), collection::btree_set(address(), 0..4), 1_u64..4).prop_map(|(own, addresses, listener)| Wanted {
        own,
        addresses,
        listener,
    });
    collection::btree_map(1_u64..6, pod, 0..5)
}

fn kernel() -> impl Strategy<Value = BTreeMap<u64, Enrolled>> {
    let steering = prop_oneof![Just(Steering::Off), Just(Steering::On), Just(Steering::Dead)];
    let pod = (option::of(own()), collection::btree_set(address(), 0..4), option::of(1_u64..4), steering)
        .prop_map(|(captured, addresses, listener, steering)| Enrolled { captured, addresses, listener, steering });
    collection::btree_map(1_u64..6, pod, 0..5).prop_map(|mut pods| {
        // In the kernel's map an address has one owner.
        let mut seen = BTreeSet::new();
        for pod in pods.values_mut() {
            pod.addresses.retain(|&address| seen.insert(address));
        }
        pods
    })
}

proptest! {
    #[test]
    fn the_operations_lead_to_what_is_wanted(wanted in wanted(), kernel in kernel()) {
        let mut state = kernel.clone();
        for operation in diff(&wanted, &kernel) {
            apply(&mut state, &wanted, operation);
        }
        state.retain(|_, pod| *pod != Enrolled::default());
        prop_assert_eq!(state, settled(&wanted));
    }

    #[test]
    fn what_is_as_wanted_is_left_alone(wanted in wanted()) {
        prop_assert_eq!(diff(&wanted, &settled(&wanted)), []);
    }

    #[test]
    fn no_state_between_is_half_captured(from in wanted(), to in wanted()) {
        let mut state = settled(&from);
        for operation in diff(&to, &settled(&from)) {
            apply(&mut state, &to, operation);
            for (cookie, pod) in &state {
                prop_assert!(sound(pod), "{} after {}: {:?}", cookie, operation, pod);
            }
        }
    }

    #[test]
    fn a_pod_that_stays_keeps_its_addresses_and_its_capture_throughout(from in wanted(), to in wanted()) {
        let (before, after) = (settled(&from), settled(&to));
        let mut state = before.clone();
        for operation in diff(&to, &before) {
            apply(&mut state, &to, operation);
            for (cookie, had) in &before {
                let Some(keeps) = after.get(cookie) else { continue };
                let has = &state[cookie];
                prop_assert!(has.captured.is_some() && has.steering == Steering::On && has.listener.is_some());
                prop_assert!(had.addresses.intersection(&keeps.addresses).all(|address| has.addresses.contains(address)));
            }
        }
    }
}

#[test]
fn enrolling_puts_capture_last_and_withdrawing_takes_it_first() {
    let address = IpAddr::from([10, 0, 0, 1]);
    let own = Own { v4: Some(Ipv4Addr::new(10, 0, 0, 1)), v6: None, dns: true };
    let wanted = BTreeMap::from([(7, Wanted { own, addresses: [address].into(), listener: 3 })]);
    let enrol = diff(&wanted, &BTreeMap::new());
    let expected =
        [Operation::PutListener(7), Operation::PutAddress(7, address), Operation::Steer(7), Operation::Capture(7, own)];
    assert_eq!(enrol, expected);
    let withdraw = diff(&BTreeMap::new(), &settled(&wanted));
    let expected = [
        Operation::Release(7),
        Operation::Unsteer(7),
        Operation::RemoveAddress(7, address),
        Operation::RemoveListener(7),
    ];
    assert_eq!(withdraw, expected);
}
