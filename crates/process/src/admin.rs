//! The admin routes that every program has: log levels, stopping and profiles. What only one program has (its
//! configuration, its connections) it adds itself.

use ambit_telemetry::Levels;
use http::StatusCode;

use crate::pprof;
use crate::routes::{Request, Response, Routes, parameter, text};
use crate::signal::Quit;

const LOGGING_USAGE: &str = "
usage: POST /logging                                    shows the log filter
usage: POST /logging?level=<level>                      sets the level of everything
usage: POST /logging?level=<scope>:<level>,<scope>:...  sets the level of scopes
usage: POST /logging?reset                              goes back to the filter the process started with

levels: error|warn|info|debug|trace|off
scopes: such as access (the access log), ztunnel::proxy, ambit_hbone
";

/// The routes, under `title`. They are meant for the loopback address only: nobody is asked who they are.
#[must_use]
pub fn routes(title: &'static str, levels: Levels, quit: Quit) -> Routes {
    let shown = || text(StatusCode::METHOD_NOT_ALLOWED, format!("Invalid HTTP method\n{LOGGING_USAGE}"));
    Routes::new(title)
        .post("/logging", "shows or changes the log filter; ?level=info or ?level=access:debug, ?reset", {
            move |request| std::future::ready(logging(&request, &levels))
        })
        .get("/logging", "how to use POST /logging", move |_| std::future::ready(shown()))
        .post("/quitquitquit", "stops the process, gracefully", move |_| {
            tracing::info!("asked to stop over the admin port");
            quit.now();
            std::future::ready(text(StatusCode::OK, "shutdown now\n"))
        })
        .and(pprof::routes())
}

fn logging(request: &Request, levels: &Levels) -> Response {
    let level = parameter(request, "level").unwrap_or_default();
    let reset = parameter(request, "reset").is_some();
    let asked = !level.is_empty() || reset;
    if asked && let Err(error) = levels.change(reset, &level) {
        return text(StatusCode::BAD_REQUEST, format!("Invalid level provided: {error}\n{LOGGING_USAGE}"));
    }
    match levels.current() {
        Ok(current) => text(StatusCode::OK, format!("current log level is {current}\n")),
        Err(error) => {
            text(StatusCode::INTERNAL_SERVER_ERROR, format!("failed to get the log level: {error}\n{LOGGING_USAGE}"))
        }
    }
}

#[cfg(test)]
mod tests;
