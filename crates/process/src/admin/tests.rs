use ambit_telemetry::{Form, Logging};
use bytes::Bytes;
use http::Method;

use super::*;
use crate::signal::{Cause, Signals};

async fn answered(routes: &Routes, method: Method, target: &str) -> (u16, String) {
    let request = http::Request::builder().method(method).uri(target).body(Bytes::new()).unwrap();
    let response = routes.answer(request).await;
    (response.status().as_u16(), String::from_utf8(response.into_body().to_vec()).unwrap())
}

#[tokio::test]
async fn the_log_level_is_shown_and_changed() {
    let (_subscriber, logging) = Logging::build(Form::Text, "info", Box::new(std::io::sink())).unwrap();
    let (_signals, quit) = Signals::listen().unwrap();
    let routes = routes("test", logging.levels(), quit);
    for (target, current) in [
        ("/logging", "info"),
        ("/logging?level=", "info"),
        ("/logging?level=warn", "warn"),
        ("/logging?level=ztunnel::proxy:debug", "ztunnel::proxy=debug,warn"),
        ("/logging?level=access%3Doff,info", "ztunnel::proxy=debug,access=off,info"),
        ("/logging?reset&level=error", "error"),
        ("/logging?reset", "info"),
    ] {
        let expected = (200, format!("current log level is {current}\n"));
        assert_eq!(answered(&routes, Method::POST, target).await, expected, "{target}");
    }
    let (status, text) = answered(&routes, Method::POST, "/logging?level=loud").await;
    assert_eq!(status, 400);
    assert!(text.starts_with("Invalid level provided: \"loud\" is no log filter") && text.contains("usage:"), "{text}");
    let (status, text) = answered(&routes, Method::GET, "/logging").await;
    assert_eq!(status, 405);
    assert!(text.starts_with("Invalid HTTP method\n"), "{text}");
    assert_eq!(answered(&routes, Method::POST, "/logging").await.1, "current log level is info\n");
}

#[tokio::test]
async fn quitting_asks_as_a_signal_does() {
    let (_subscriber, logging) = Logging::build(Form::Text, "info", Box::new(std::io::sink())).unwrap();
    let (mut signals, quit) = Signals::listen().unwrap();
    let routes = routes("test", logging.levels(), quit);
    assert_eq!(answered(&routes, Method::GET, "/quitquitquit").await.0, 405);
    assert_eq!(answered(&routes, Method::POST, "/quitquitquit").await, (200, "shutdown now\n".to_owned()));
    // Other tests of the same process may send it signals.
    while signals.next().await != Cause::Quit {}
}
