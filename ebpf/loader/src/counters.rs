//! What the programs have counted since they were first loaded, summed over the CPUs.
#![allow(unsafe_code, reason = "reads a per-CPU map")]

use std::{
    fmt,
    os::fd::{AsFd as _, OwnedFd},
    path::Path,
};

use ambit_ebpf_abi::{Counter, maps};

use crate::{error::Error, sys};

/// What the programs have counted. The counts live as long as the pins, so they survive a restart of the agent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters([u64; Counter::COUNT]);

impl Counters {
    /// The count of `counter`.
    #[must_use]
    pub fn of(&self, counter: Counter) -> u64 {
        self.0.get(counter as usize).copied().unwrap_or_default()
    }

    /// Every count with the name of its counter, in the order of [`Counter::ALL`].
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        Counter::ALL.into_iter().map(|counter| (counter.name(), self.of(counter)))
    }
}

impl fmt::Display for Counters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (name, count)) in self.iter().enumerate() {
            let separator = if index == 0 { "" } else { " " };
            write!(f, "{separator}{name}={count}")?;
        }
        Ok(())
    }
}

/// The map that the counts are read from.
pub(crate) struct CounterMap {
    fd: OwnedFd,
    cpus: usize,
}

impl CounterMap {
    pub(crate) fn open(directory: &Path) -> Result<Self, Error> {
        let path = directory.join(maps::COUNTERS);
        let fd = sys::pinned(&path).map_err(Error::pin(&path))?;
        let cpus = aya::util::nr_cpus().map_err(|(_, source)| Error::Map { map: maps::COUNTERS, source })?;
        Ok(Self { fd, cpus })
    }

    pub(crate) fn read(&self) -> Result<Counters, Error> {
        let mut counters = Counters::default();
        let mut slots = vec![0_u64; self.cpus];
        for (sum, counter) in counters.0.iter_mut().zip(Counter::ALL) {
            // SAFETY: the key is a `u32`, the value a `u64`, and there is a slot for every possible CPU.
            unsafe { sys::look_up(self.fd.as_fd(), &(counter as u32), slots.as_mut_ptr()) }
                .map_err(Error::map(maps::COUNTERS))?;
            *sum = slots.iter().sum();
        }
        Ok(counters)
    }
}
