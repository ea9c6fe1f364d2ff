//! A value that one writer replaces and many read: loading it takes no lock, and its replacement can be awaited.

use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

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

    /// What `ask` says of the current value, and that value. Of an answer that may only be early `early` says until when a later
    /// one is waited for: then it is asked again as the value changes.
    pub async fn answer<R>(
        &self,
        mut ask: impl FnMut(&Arc<T>) -> R,
        mut early: impl FnMut(&R) -> Option<Instant>,
    ) -> (R, Arc<T>) {
        // Made when there is something to wait for, which is seldom: every connection comes by here.
        let mut changes = None;
        loop {
            let value = self.load();
            let answer = ask(&value);
            let Some(until) = early(&answer) else { return (answer, value) };
            // It has waited for nothing yet, so that it misses no change: the first call returns at once.
            let changes: &mut Self = changes.get_or_insert_with(|| self.clone());
            match timeout_at(until, changes.changed()).await {
                Ok(Some(_)) => {}
                _ => return (answer, value),
            }
        }
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

    #[tokio::test(start_paused = true)]
    async fn what_may_be_early_is_asked_again_as_the_value_changes_and_no_longer_than_it_is_worth() {
        use std::time::Duration;
        let (publisher, reader) = publish(0);
        publisher.publish(1);
        let begun = Instant::now();
        let news = async {
            for value in 2..=3 {
                tokio::time::sleep(Duration::from_secs(1)).await;
                publisher.publish(value);
            }
        };
        let until = |limit: u64| move |of: &i32| (*of < 30).then(|| begun + Duration::from_secs(limit));
        let asked = async {
            let (early, by) = reader.answer(|value| **value * 10, until(1)).await;
            (early, *by, begun.elapsed().as_secs(), reader.answer(|value| **value * 10, until(9)).await)
        };
        let ((early, by, after, (late, value)), ()) = tokio::join!(asked, news);
        assert!((early, by) == (10, 1) || (early, by) == (20, 2));
        assert_eq!((after, late, *value, begun.elapsed().as_secs()), (1, 30, 3, 2));
        drop(publisher);
        assert_eq!(reader.answer(|value| **value, until(99)).await.0, 3, "nobody waits for a writer that is gone");
    }
}
