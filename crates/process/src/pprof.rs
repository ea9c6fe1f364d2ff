//! Profiles of the running process, in pprof's format: where its processor time goes and who holds its memory.
//!
//! Memory is profiled by jemalloc, where that is the process's allocator and was told to be ready
//! (`_RJEM_MALLOC_CONF=prof:true,prof_active:false`, or built in); otherwise the answer says so.

use std::num::ParseIntError;
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use ::pprof::{ProfilerGuardBuilder, Report};
use http::{HeaderValue, StatusCode};
use tokio::sync::Semaphore;

mod profile;

use profile::{Frame, Profile, Timing};

use crate::routes::{Request, Response, Routes, parameter, text, typed};

/// Why a profile could not be made.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("{name} must be {low} to {high}")]
    Parameter { name: &'static str, low: u32, high: u32 },
    #[error("another profile is being taken: try again later")]
    Busy,
    #[error("heap profiling is not built in or not enabled: start with _RJEM_MALLOC_CONF=prof:true,prof_active:false")]
    NoHeapProfile,
    #[error("heap profiling is not active: activate it with /debug/pprof/heap/profiling?activate=true")]
    Inactive,
    #[error("activate must be true or false")]
    Activate,
    #[error("the profile failed: {0}")]
    Profile(String),
}

impl Failure {
    fn status(&self) -> StatusCode {
        match self {
            Self::Parameter { .. } | Self::Activate => StatusCode::BAD_REQUEST,
            Self::Busy | Self::NoHeapProfile | Self::Inactive => StatusCode::SERVICE_UNAVAILABLE,
            Self::Profile(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

/// The routes under `/debug/pprof`.
#[must_use]
pub fn routes() -> Routes {
    let one_at_a_time = Rc::new(Semaphore::new(1));
    Routes::new("profiles")
        .get("/debug/pprof/profile", "a CPU profile; ?seconds=1-300 (10), ?frequency=1-1000 Hz (100)", move |request| {
            let one_at_a_time = one_at_a_time.clone();
            async move { answer(cpu(&request, &one_at_a_time).await) }
        })
        .get("/debug/pprof/heap", "a profile of the memory allocated since profiling was activated", |_| async {
            answer(heap().await)
        })
        .get("/debug/pprof/heap/profiling", "shows whether heap profiling is active", activation)
        .post("/debug/pprof/heap/profiling", "changes that; ?activate=true|false", activation)
}

fn answer(profile: Result<Vec<u8>, Failure>) -> Response {
    match profile {
        Ok(profile) => typed(StatusCode::OK, HeaderValue::from_static("application/octet-stream"), profile),
        Err(failure) => refuse(&failure),
    }
}

fn refuse(failure: &Failure) -> Response {
    text(failure.status(), format!("{failure}\n"))
}

async fn cpu(request: &Request, one_at_a_time: &Semaphore) -> Result<Vec<u8>, Failure> {
    let seconds = number(request, "seconds", 10, 300)?;
    // Signals of the profiling timer do not queue: at a higher rate, busy threads are under-reported.
    let frequency = number(request, "frequency", 100, 1000)?;
    let _turn = one_at_a_time.try_acquire().map_err(|_| Failure::Busy)?;
    let failed = |error: &dyn std::fmt::Display| Failure::Profile(error.to_string());
    let frequency = i32::try_from(frequency).map_err(|error| failed(&error))?;
    // Within these, unwinding from a signal could wait for a lock that its own thread holds.
    let builder =
        ProfilerGuardBuilder::default().frequency(frequency).blocklist(&["libc", "libgcc", "pthread", "vdso"]);
    let guard = builder.build().map_err(|error| failed(&error))?;
    tokio::time::sleep(Duration::from_secs(seconds.into())).await;
    // Finding the names of the functions takes a while.
    let made = tokio::task::spawn_blocking(move || guard.report().build().map(|report| encode(&report)));
    made.await.map_err(|error| failed(&error))?.map_err(|error| failed(&error))
}

fn encode(report: &Report) -> Vec<u8> {
    let nanos = |duration: Duration| u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
    let frequency = u64::try_from(report.timing.frequency).unwrap_or(1).max(1);
    let timing = Timing {
        start: nanos(report.timing.start_time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()),
        duration: nanos(report.timing.duration),
        period: 1_000_000_000 / frequency,
    };
    let mut profile = Profile::default();
    for (frames, count) in &report.data {
        let frame = |symbol: &::pprof::Symbol| Frame {
            function: symbol.name(),
            file: symbol.filename().into_owned(),
            line: symbol.lineno().into(),
        };
        let stack: Vec<Frame> = frames.frames.iter().flatten().map(frame).collect();
        profile.add(&stack, u64::try_from(*count).unwrap_or(0), &frames.thread_name_or_id(), timing.period);
    }
    profile.encode(timing)
}

async fn heap() -> Result<Vec<u8>, Failure> {
    let control = jemalloc_pprof::PROF_CTL.as_ref().ok_or(Failure::NoHeapProfile)?;
    // This, too, finds the names of functions.
    let made = tokio::task::spawn_blocking(|| {
        let mut control = control.blocking_lock();
        if !control.activated() {
            return Err(Failure::Inactive);
        }
        control.dump_pprof().map_err(|error| Failure::Profile(error.to_string()))
    });
    made.await.map_err(|error| Failure::Profile(error.to_string()))?
}

async fn activation(request: Request) -> Response {
    match activate(&request).await {
        Ok(active) => text(StatusCode::OK, format!("heap profiling active: {active}\n")),
        Err(failure) => refuse(&failure),
    }
}

async fn activate(request: &Request) -> Result<bool, Failure> {
    let control = jemalloc_pprof::PROF_CTL.as_ref().ok_or(Failure::NoHeapProfile)?;
    let mut control = control.lock().await;
    // GET with the parameter changes it as well, as it does in Istio's ztunnel.
    let changed = match parameter(request, "activate").as_deref() {
        None => Ok(()),
        Some("true") => control.activate(),
        Some("false") => control.deactivate(),
        Some(_) => return Err(Failure::Activate),
    };
    changed.map_err(|error| Failure::Profile(error.to_string()))?;
    Ok(control.activated())
}

fn number(request: &Request, name: &'static str, default: u32, high: u32) -> Result<u32, Failure> {
    let read = |text: String| text.parse::<u32>();
    let value: Result<Option<u32>, ParseIntError> = parameter(request, name).map(read).transpose();
    match value {
        Ok(None) => Ok(default),
        Ok(Some(value)) if (1..=high).contains(&value) => Ok(value),
        _ => Err(Failure::Parameter { name, low: 1, high }),
    }
}

#[cfg(test)]
mod tests;
