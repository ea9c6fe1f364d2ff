//! Forgetting the metrics of what is gone, on every worker. Knows no worker's work.

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ambit_telemetry::{Living, Meter, Values, expired};
use tracing::warn;

use crate::workers::Workers;

/// How often metrics that can be forgotten are looked for.
const SWEEP: Duration = Duration::from_secs(60);

/// Forgets, now and then, the metrics of what has been gone for `idle`: of what `living` does not have. `meter` is a
/// worker's.
pub async fn sweep<S: 'static>(
    workers: Arc<Workers<S>>,
    meter: fn(&S) -> &Meter,
    living: impl Fn() -> Living,
    idle: Duration,
) {
    loop {
        tokio::time::sleep(SWEEP.min(idle.max(Duration::from_secs(1)))).await;
        let merged = match workers.ask(move |worker: &Rc<S>| meter(worker).values()).await {
            Ok(values) => Values::merge(values),
            Err(error) => {
                warn!("metrics cannot be gathered: {error}");
                continue;
            }
        };
        let now = Instant::now();
        let living = Arc::new(living());
        let held = living.clone();
        workers.tell(move |worker: &Rc<S>| meter(worker).forget_trials(&held));
        let dead = Arc::new(expired(&merged, &living, now, idle));
        if let Some(since) = now.checked_sub(idle).filter(|_| !dead.is_empty()) {
            workers.tell(move |worker: &Rc<S>| {
                meter(worker).forget(&dead, since);
            });
        }
    }
}
