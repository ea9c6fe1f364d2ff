//! The maps and links in force, as the operations of [`project`](crate::project) see them: reads what the kernel has and
//! carries one operation out. It decides nothing.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd},
};

use ambit_ebpf_abi::{Address, Pod, maps, programs};

use crate::{
    error::Error,
    link,
    pins::Pins,
    project::{Enrolled, Operation, Own, Steering},
    sys::AttachType::BPF_SK_LOOKUP,
    table::Table,
};

/// The maps that say who is enrolled, and the links that steer.
pub(crate) struct State {
    pins: Pins,
    steer: OwnedFd,
    enrolled: Table<u64, Pod>,
    addresses: Table<Address, u64>,
    listeners: Table<u64, u64>,
}

impl State {
    /// Opens the maps below `pins`; `steer` is the program that the links run.
    pub(crate) fn open(pins: Pins, steer: OwnedFd) -> Result<Self, Error> {
        let directory = pins.maps();
        #[allow(unsafe_code, reason = "names the maps' types")]
        // SAFETY: these are the types of the maps of these names, whose sizes were checked when they were adopted.
        let (enrolled, addresses, listeners) = unsafe {
            (
                Table::open(&directory, maps::ENROLLED)?,
                Table::open(&directory, maps::ADDRESSES)?,
                Table::open(&directory, maps::LISTENERS)?,
            )
        };
        Ok(Self { pins, steer, enrolled, addresses, listeners })
    }

    /// What the kernel has, by the cookies of the network namespaces.
    pub(crate) fn read(&self) -> Result<BTreeMap<u64, Enrolled>, Error> {
        let mut pods: BTreeMap<u64, Enrolled> = BTreeMap::new();
        for (cookie, pod) in self.enrolled.entries()? {
            pods.entry(cookie).or_default().captured = Some(own(&pod));
        }
        for (address, cookie) in self.addresses.entries()? {
            pods.entry(cookie).or_default().addresses.insert(address.into());
        }
        for (cookie, listener) in self.listeners.entries()? {
            pods.entry(cookie).or_default().listener = Some(listener);
        }
        for cookie in self.pins.cookies()? {
            pods.entry(cookie).or_default().steering = self.steering(cookie)?;
        }
        Ok(pods)
    }

    /// Carries `operation` out. `sockets` are the network namespace and the listener of the pod that it names; an
    /// operation that needs them is refused without.
    pub(crate) fn apply(&self, operation: Operation, sockets: Option<Sockets<'_>>) -> Result<(), Error> {
        let needed = |cookie| {
            let source = std::io::ErrorKind::InvalidInput.into();
            sockets.ok_or(Error::Listener { cookie, source })
        };
        match operation {
            Operation::Capture(cookie, own) => self.enrolled.insert(&cookie, &pod(own)),
            Operation::Release(cookie) => self.enrolled.remove(&cookie),
            Operation::Steer(cookie) => self.steer(cookie, needed(cookie)?.netns),
            Operation::Unsteer(cookie) => {
                let path = self.pins.namespace(cookie);
                link::remove(&path).map_err(Error::pin(&path))
            }
            Operation::PutAddress(cookie, address) => self.addresses.insert(&address.into(), &cookie),
            Operation::RemoveAddress(_, address) => self.addresses.remove(&address.into()),
            Operation::PutListener(cookie) => {
                let fd = needed(cookie)?.listener.as_raw_fd();
                // Written as a descriptor; what is read back is the socket's cookie.
                let put = self.listeners.insert(&cookie, &u64::from(fd.unsigned_abs()));
                put.map_err(|error| match error {
                    Error::Map { source, .. } => Error::Listener { cookie, source },
                    other => other,
                })
            }
            Operation::RemoveListener(cookie) => self.listeners.remove(&cookie),
        }
    }

    /// Puts this build's program in force in every network namespace that is steered.
    pub(crate) fn refresh(&self) -> Result<(), Error> {
        for cookie in self.pins.cookies()? {
            if self.steering(cookie)? == Steering::On {
                link::replace(&self.pins.namespace(cookie), self.steer.as_fd()).map_err(attach(cookie))?;
            }
        }
        Ok(())
    }

    fn steer(&self, cookie: u64, netns: BorrowedFd<'_>) -> Result<(), Error> {
        let inode = nix::sys::stat::fstat(netns).map_err(|errno| attach(cookie)(errno.into()))?.st_ino;
        let path = self.pins.namespace(cookie);
        link::put(&path, BPF_SK_LOOKUP, self.steer.as_fd(), netns, inode).map_err(attach(cookie))
    }

    fn steering(&self, cookie: u64) -> Result<Steering, Error> {
        let path = self.pins.namespace(cookie);
        let target = link::target_of(&path, BPF_SK_LOOKUP).map_err(Error::pin(&path))?;
        Ok(match target {
            None => Steering::Off,
            Some(0) => Steering::Dead,
            Some(_) => Steering::On,
        })
    }
}

/// What a pod's operations need besides values.
#[derive(Clone, Copy)]
pub(crate) struct Sockets<'fd> {
    pub(crate) netns: BorrowedFd<'fd>,
    pub(crate) listener: BorrowedFd<'fd>,
}

fn attach(cookie: u64) -> impl Fn(std::io::Error) -> Error {
    move |source| Error::Attach { program: programs::STEER, target: format!("network namespace {cookie}"), source }
}

fn pod(own: Own) -> Pod {
    let address = |address: Option<IpAddr>| address.map_or(Address::UNSPECIFIED, Address::from);
    Pod { v4: address(own.v4.map(IpAddr::V4)), v6: address(own.v6.map(IpAddr::V6)), dns: u32::from(own.dns) }
}

fn own(pod: &Pod) -> Own {
    let v4 = match IpAddr::from(pod.v4) {
        IpAddr::V4(v4) => Some(v4),
        IpAddr::V6(_) => None,
    };
    let v6 = match IpAddr::from(pod.v6) {
        IpAddr::V6(v6) if !v6.is_unspecified() => Some(v6),
        _ => None,
    };
    Own { v4, v6, dns: pod.dns != 0 }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use super::*;

    #[test]
    fn own_addresses_come_back_as_they_were() {
        let (v4, v6) = (Some(Ipv4Addr::new(10, 1, 2, 3)), Some(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1)));
        let own_addresses = [(v4, v6), (v4, None), (None, v6), (None, None)];
        for wanted in own_addresses.into_iter().flat_map(|(v4, v6)| [true, false].map(|dns| Own { v4, v6, dns })) {
            assert_eq!(own(&pod(wanted)), wanted);
        }
    }
}
