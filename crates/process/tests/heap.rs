//! Profiles of a process whose allocator is jemalloc. The allocator is a whole program's choice, hence a program of its
//! own.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use ambit_process::pprof;
use bytes::Bytes;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

const CONFIGURATION: &str = "_RJEM_MALLOC_CONF";

async fn answered(target: &str) -> (u16, Bytes) {
    let response = pprof::routes().answer(http::Request::get(target).body(Bytes::new()).unwrap()).await;
    (response.status().as_u16(), response.into_body())
}

/// Runs the test `name` of this program with another configuration of jemalloc, which reads it before main.
fn run_again(name: &str, configuration: &str) {
    let again = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name])
        .env(CONFIGURATION, configuration)
        .output()
        .unwrap();
    let out = String::from_utf8_lossy(&again.stdout);
    assert!(again.status.success() && out.contains("1 passed"), "{out}");
}

#[tokio::test]
async fn the_heap_profile_is_there_once_it_is_activated() {
    if std::env::var_os(CONFIGURATION).is_none() {
        let configuration = "prof:true,prof_active:false,lg_prof_sample:12";
        return run_again("the_heap_profile_is_there_once_it_is_activated", configuration);
    }
    assert_eq!(answered("/debug/pprof/heap").await.0, 503, "not active yet");
    let on = answered("/debug/pprof/heap/profiling?activate=true").await;
    assert_eq!(on, (200, Bytes::from_static(b"heap profiling active: true\n")));
    let held = vec![1_u8; 1 << 20];
    let (status, profile) = answered("/debug/pprof/heap").await;
    assert_eq!((status, profile.get(..2)), (200, Some(&[0x1f, 0x8b][..])), "gzip, as pprof wants it");
    drop(held);
    assert_eq!(answered("/debug/pprof/heap/profiling?activate=maybe").await.0, 400);
    let off = answered("/debug/pprof/heap/profiling?activate=false").await;
    assert_eq!(off, (200, Bytes::from_static(b"heap profiling active: false\n")));
}

#[tokio::test]
async fn without_profiling_the_answer_says_how_to_get_it() {
    if std::env::var_os(CONFIGURATION).is_none() {
        return run_again("without_profiling_the_answer_says_how_to_get_it", "prof:false");
    }
    for target in ["/debug/pprof/heap", "/debug/pprof/heap/profiling?activate=true"] {
        let (status, text) = answered(target).await;
        assert_eq!(status, 503);
        assert!(String::from_utf8_lossy(&text).contains("_RJEM_MALLOC_CONF=prof:true"), "{text:?}");
    }
}
