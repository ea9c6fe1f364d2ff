//! A map of the kernel as typed keys and values. It knows no meaning of either.
#![allow(unsafe_code, reason = "the types of a table are promised to be those of its map")]

use std::{
    io,
    marker::PhantomData,
    os::fd::{AsFd as _, OwnedFd},
    path::Path,
};

use crate::{
    error::Error,
    sys::{self, Plain},
};

/// A hash map of the kernel from `K` to `V`.
pub(crate) struct Table<K, V> {
    name: &'static str,
    fd: OwnedFd,
    types: PhantomData<fn(K) -> V>,
}

impl<K: Plain, V: Plain> Table<K, V> {
    /// Opens the map pinned as `name` in `directory`.
    ///
    /// # Safety
    /// The map's key is `K` and its value is `V`.
    pub(crate) unsafe fn open(directory: &Path, name: &'static str) -> Result<Self, Error> {
        let path = directory.join(name);
        let fd = sys::pinned(&path).map_err(Error::pin(&path))?;
        Ok(Self { name, fd, types: PhantomData })
    }

    /// The value of `key`.
    pub(crate) fn value(&self, key: &K) -> Result<Option<V>, Error> {
        let mut value = V::ZERO;
        // SAFETY: `open`'s promise.
        self.named(unsafe { sys::look_up(self.fd.as_fd(), key, &raw mut value) }.map(|found| found.then_some(value)))
    }

    /// The value of `key`, which is removed by the same system call.
    pub(crate) fn take(&self, key: &K) -> Result<Option<V>, Error> {
        let mut value = V::ZERO;
        // SAFETY: `open`'s promise.
        self.named(unsafe { sys::take(self.fd.as_fd(), key, &mut value) }.map(|found| found.then_some(value)))
    }

    /// Inserts or replaces the value of `key`.
    pub(crate) fn insert(&self, key: &K, value: &V) -> Result<(), Error> {
        // SAFETY: `open`'s promise.
        self.named(unsafe { sys::insert(self.fd.as_fd(), key, value) })
    }

    /// Removes `key`, if it is there.
    pub(crate) fn remove(&self, key: &K) -> Result<(), Error> {
        // SAFETY: `open`'s promise.
        self.named(unsafe { sys::remove(self.fd.as_fd(), key) }.map(drop))
    }

    /// Every key and value, in no order. What others insert or remove meanwhile may be missed.
    pub(crate) fn entries(&self) -> Result<Vec<(K, V)>, Error> {
        let mut entries = Vec::new();
        let mut last = None;
        // SAFETY: `open`'s promise.
        while let Some(key) = self.named(unsafe { sys::next_key(self.fd.as_fd(), last.as_ref()) })? {
            if let Some(value) = self.value(&key)? {
                entries.push((key, value));
            }
            last = Some(key);
        }
        Ok(entries)
    }

    fn named<T>(&self, result: io::Result<T>) -> Result<T, Error> {
        result.map_err(Error::map(self.name))
    }
}
