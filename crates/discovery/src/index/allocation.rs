//! Addresses for the hosts of ServiceEntries that have none: from 240.240.0.0/16 and 2001:2::/48, as Istio gives them.
//! Which host gets which depends on nothing but the hosts there are, so that every agent and every start agree.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ambit_api::resource::Service;
use ambit_model::ServiceKey;

use super::release;

/// A pair of addresses, one of each family: the number of 240.240.x.y and 2001:2::n.
type Slot = u16;

/// Neither the first address of the v4 range nor the last.
const SLOTS: u16 = u16::MAX - 1;

/// Who has which addresses of the two ranges.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Allocation {
    wanting: BTreeSet<ServiceKey>,
    /// Slots of which somebody wrote an address down.
    written: BTreeMap<Slot, BTreeSet<ServiceKey>>,
    given: BTreeMap<ServiceKey, Slot>,
    stale: bool,
}

impl Allocation {
    /// `key` is `new` now, having been `old`.
    pub(super) fn set(&mut self, key: &ServiceKey, old: Option<&Service>, new: Option<&Service>) {
        let wants = |service: Option<&Service>| service.is_some_and(|service| service.allocates);
        let slots = |service: Option<&Service>| -> BTreeSet<Slot> {
            service.into_iter().flat_map(|service| &service.vips).filter_map(|vip| slot_of(*vip)).collect()
        };
        let (before, now) = (slots(old), slots(new));
        self.stale |= wants(old) != wants(new) || before != now;
        for slot in before {
            release(&mut self.written, &slot, key);
        }
        for slot in now {
            self.written.entry(slot).or_default().insert(key.clone());
        }
        if wants(new) {
            self.wanting.insert(key.clone());
        } else {
            self.wanting.remove(key);
        }
    }

    /// Gives addresses anew, and returns whose have changed.
    pub(super) fn settle(&mut self) -> Vec<ServiceKey> {
        if !std::mem::take(&mut self.stale) {
            return Vec::new();
        }
        let before = std::mem::replace(&mut self.given, give(&self.wanting, &self.written));
        let changed = |key: &&ServiceKey| before.get(*key) != self.given.get(*key);
        before.keys().chain(self.given.keys()).filter(changed).cloned().collect()
    }

    /// The addresses that `key` was given.
    pub(super) fn addresses(&self, key: &ServiceKey) -> Vec<IpAddr> {
        self.given.get(key).map(|slot| addresses(*slot).to_vec()).unwrap_or_default()
    }
}

/// A slot for each of `wanting`, and none twice: the one that its name falls on, or the next that is free. With more of
/// them than slots, the last have none.
fn give<T>(wanting: &BTreeSet<ServiceKey>, written: &BTreeMap<Slot, T>) -> BTreeMap<ServiceKey, Slot> {
    let (mut taken, mut given) = (written.keys().copied().collect::<BTreeSet<Slot>>(), BTreeMap::new());
    for key in wanting {
        let home = home(key);
        let mut slots = (home..=SLOTS).chain(1..home);
        let Some(slot) = slots.find(|slot| !taken.contains(slot)) else { break };
        taken.insert(slot);
        given.insert(key.clone(), slot);
    }
    given
}

/// The slot that the name of `key` falls on, from 1: by FNV-1a, which is the same in every version of this program.
fn home(key: &ServiceKey) -> Slot {
    let fold = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    let hash = key.to_string().bytes().fold(0xcbf2_9ce4_8422_2325, fold);
    // Its last bits alone differ too little between names that do.
    let place = (hash ^ (hash >> 32)) % u64::from(SLOTS);
    Slot::try_from(place).unwrap_or_default().saturating_add(1)
}

fn addresses(slot: Slot) -> [IpAddr; 2] {
    let [high, low] = slot.to_be_bytes();
    [Ipv4Addr::new(240, 240, high, low).into(), Ipv6Addr::new(0x2001, 2, 0, 0, 0, 0, 0, slot).into()]
}

/// The slot that `address` belongs to.
fn slot_of(address: IpAddr) -> Option<Slot> {
    let slot = match address.to_canonical() {
        IpAddr::V4(v4) => {
            let [.., high, low] = v4.octets();
            u16::from_be_bytes([high, low])
        }
        IpAddr::V6(v6) => {
            let [.., last] = v6.segments();
            last
        }
    };
    addresses(slot).contains(&address.to_canonical()).then_some(slot)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(host: &str) -> ServiceKey {
        ServiceKey { host: Some(host.into()), ..ServiceKey::new("shop", "entry") }
    }

    #[test]
    fn a_host_has_the_same_addresses_at_every_start() {
        // Changing these moves addresses that applications have in their caches.
        let given = give(&BTreeSet::from([key("api.example.com")]), &BTreeMap::<Slot, ()>::new());
        let slot = given[&key("api.example.com")];
        assert_eq!(slot, home(&key("api.example.com")));
        assert_eq!(addresses(slot).map(|ip| ip.to_string()), ["240.240.93.10", "2001:2::5d0a"]);
    }

    #[test]
    fn a_range_that_is_full_gives_no_more() {
        let hosts: BTreeSet<_> = (0..66_000).map(|n| key(&format!("h{n}"))).collect();
        let given = give(&hosts, &BTreeMap::<Slot, ()>::new());
        assert_eq!(given.values().collect::<BTreeSet<_>>().len(), usize::from(SLOTS));
    }

    proptest! {
        #[test]
        fn no_two_hosts_have_one_address_and_none_has_one_that_is_written(
            hosts in prop::collection::btree_set("[a-c]{1,3}", 0..30),
            written in prop::collection::btree_set(1_u16..2000, 0..3),
        ) {
            let wanting: BTreeSet<_> = hosts.iter().map(|host| key(host)).collect();
            // Some of the addresses written are just those that hosts would have got.
            let homes = wanting.iter().step_by(3).map(home);
            let written: BTreeMap<Slot, ()> = written.into_iter().chain(homes).map(|slot| (slot, ())).collect();
            let given = give(&wanting, &written);
            prop_assert_eq!(given.len(), wanting.len());
            prop_assert_eq!(given.values().collect::<BTreeSet<_>>().len(), wanting.len());
            for slot in given.values() {
                prop_assert!(!written.contains_key(slot) && (1..=SLOTS).contains(slot));
                prop_assert!(addresses(*slot).into_iter().all(|ip| slot_of(ip) == Some(*slot)));
            }
        }
    }
}
