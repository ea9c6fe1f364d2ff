//! A value that one writer replaces and many read: loading it takes no lock, and its replacement can be awaited.

use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::sync::watch;

/// The two ends of a published value that begins as `initial`.
#[must_use]
pub fn publish<T>(initial: T) -> (Publisher<T>, Published<T>) {
    let current = Arc::new(ArcSwap::from_pointee(initial));
    let (replaced, versions) = watch::channel(0);
    (Publisher { current: current.clone(), replaced }, Published { current, versions })
}

/// The writer's end.
#[derive(Debug)]
pub struct Publisher<T> {
    current: Arc<ArcSwap<T>>,
    replaced: watch::Sender<u64>,
}

impl<T> Publisher<T> {
    /// Replaces the value.
    pub fn publish(&self, value: T) {
        self.current.store(Arc::new(value));
        self.replaced.send_modify(|version| *version = version.saturating_add(1));
    }
}

/// A reader's end. Each clone waits for itself.
#[derive(Debug)]
pub struct Published<T> {
    current: Arc<ArcSwap<T>>,
    versions: watch::Receiver<u64>,
}

impl<T> Clone for Published<T> {
    fn clone(&self) -> Self {
        Self { current: self.current.clone(), versions: self.versions.clone() }
    }
}

impl<T> Published<T> {
    /// The current value. Takes no lock.
    #[must_use]
    pub fn load(&self) -> Arc<T> {
        self.current.load_full()
    }

    /// True once the writer has published: before, the value is the initial one, which says nothing.
    #[must_use]
    pub fn is_synced(&self) -> bool {
        *self.versions.borrow() > 0
    }

    /// Waits for a value newer than the one that this reader last waited for, and returns the newest: the first call
    /// returns as soon as anything has been published. None once the writer is gone.
    pub async fn changed(&mut self) -> Option<Arc<T>> {
        self.versions.changed().await.ok()?;
        Some(self.load())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_reader_sees_the_newest_value_once() {
        let (publisher, mut reader) = publish(0);
        assert!(!reader.is_synced());
        publisher.publish(1);
        publisher.publish(2);
        assert!(reader.is_synced());
        let mut late = reader.clone();
        assert_eq!(reader.changed().await.as_deref(), Some(&2));
        assert_eq!(late.changed().await.as_deref(), Some(&2));
        drop(publisher);
        assert_eq!(reader.changed().await, None);
        assert_eq!(*reader.load(), 2);
    }
}
