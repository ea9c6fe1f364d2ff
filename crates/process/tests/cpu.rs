//! A CPU profile of a busy process. Signals of the profiler reach the whole process, hence a program of its own.

use std::sync::atomic::{AtomicBool, Ordering};

use ambit_process::pprof;
use bytes::Bytes;

static BUSY: AtomicBool = AtomicBool::new(true);

#[inline(never)]
fn the_function_that_is_busy() -> u64 {
    let mut number = 1_u64;
    while BUSY.load(Ordering::Relaxed) {
        number = std::hint::black_box(number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1));
    }
    number
}

#[tokio::test]
async fn the_profile_names_the_busy_function() {
    let busy = std::thread::spawn(the_function_that_is_busy);
    let request = http::Request::get("/debug/pprof/profile?seconds=1").body(Bytes::new()).unwrap();
    let response = pprof::routes().answer(request).await;
    BUSY.store(false, Ordering::Relaxed);
    busy.join().unwrap();
    assert_eq!(response.status().as_u16(), 200);
    let name = b"the_function_that_is_busy";
    assert!(response.into_body().windows(name.len()).any(|bytes| bytes == name));
}
