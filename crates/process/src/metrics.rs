//! The routes that Prometheus scrapes: `/metrics` and, as Istio's agents have it, `/stats/prometheus`.

use std::rc::Rc;

use ambit_telemetry::Exposition;
use http::header::ACCEPT;
use http::{HeaderValue, StatusCode};

use crate::error::Error;
use crate::routes::{Request, Response, Routes, text, typed};

/// Both routes, answered with what `page` makes at each scrape.
#[must_use]
pub fn routes<F, Fut>(page: F) -> Routes
where
    F: Fn() -> Fut + 'static,
    Fut: Future<Output = Result<String, Error>> + 'static,
{
    let page = Rc::new(page);
    let same = page.clone();
    Routes::new("metrics")
        .get("/metrics", "metrics for Prometheus (OpenMetrics)", move |request| scrape(request, page()))
        .get("/stats/prometheus", "the same", move |request| scrape(request, same()))
}

async fn scrape(request: Request, page: impl Future<Output = Result<String, Error>>) -> Response {
    let accepts =
        |header: &HeaderValue| header.to_str().is_ok_and(|text| text.contains("application/openmetrics-text"));
    let openmetrics = request.headers().get_all(ACCEPT).iter().any(accepts);
    let content_type = if openmetrics { Exposition::OPENMETRICS } else { Exposition::PLAIN };
    match page.await {
        Ok(page) => typed(StatusCode::OK, HeaderValue::from_static(content_type), page),
        Err(error) => text(StatusCode::SERVICE_UNAVAILABLE, format!("{error}\n")),
    }
}

#[cfg(test)]
mod tests;
