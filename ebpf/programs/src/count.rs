//! Counting: one add on this CPU's own slot.

use ambit_ebpf_abi::Counter;

use crate::maps::COUNTERS;

/// Adds one to `counter`.
#[inline(always)]
pub(crate) fn count(counter: Counter) {
    if let Some(slot) = COUNTERS.get_ptr_mut(counter as u32) {
        // SAFETY: the slot belongs to this CPU, and programs of these hooks do not preempt one another on it in a way
        // that could cost more than a lost count.
        unsafe { *slot += 1 };
    }
}
