use tracing::subscriber::with_default;
use tracing::{debug, error, info, info_span, warn};

use super::*;
use crate::fixtures::Sink;

/// What `log` writes under `filter`; `log` may change the levels.
fn logged(form: Form, filter: &str, log: impl FnOnce(&Levels)) -> String {
    let sink = Sink::default();
    let (subscriber, logging) = Logging::build(form, filter, Box::new(sink.clone())).unwrap();
    with_default(subscriber, || log(&logging.levels()));
    drop(logging);
    sink.text()
}

/// The line without its time, whose form is checked.
fn untimed(line: &str) -> &str {
    let (time, rest) = line.split_at(27);
    let digits = |c: char| if c.is_ascii_digit() { '0' } else { c };
    assert_eq!(time.chars().map(digits).collect::<String>(), "0000-00-00T00:00:00.000000Z", "{line}");
    rest
}

#[test]
fn an_event_in_text() {
    let text = logged(Form::Text, "", |_| {
        warn!(target: "ztunnel::proxy::inbound", peer = %"10.0.0.1:80", name = "a \"b\"", count = 3_u64, up = true, "no route");
    });
    assert_eq!(
        untimed(&text),
        "\twarn\tproxy::inbound\tno route\tpeer=10.0.0.1:80 name=\"a \\\"b\\\"\" count=3 up=true\n"
    );
}

#[test]
fn an_event_in_json() {
    let text = logged(Form::Json, "", |_| {
        let infinite = f64::INFINITY;
        error!(target: "ztunnel::proxy", peer = %"10.0.0.1:80", error = ?"x\ny", ratio = 0.5, infinite, signed = -1_i64, "no\troute");
    });
    let (before, rest) = text.split_at(r#"{"level":"error","time":""#.len());
    assert_eq!(before, r#"{"level":"error","time":""#);
    let expected = concat!(
        r#"","scope":"ztunnel::proxy","message":"no\troute","peer":"10.0.0.1:80","error":"\"x\\ny\"","#,
        r#""ratio":0.5,"infinite":"inf","signed":-1}"#,
        "\n"
    );
    assert_eq!(untimed(rest), expected);
    serde_json::from_str::<serde_json::Value>(&text).unwrap();
}

#[test]
fn spans_are_shown_in_both_forms() {
    let log = |_: &Levels| {
        let outer = info_span!("outer", pod = "web-0", late = tracing::field::Empty).entered();
        info_span!("inner").in_scope(|| info!(target: "t", "hello"));
        outer.record("late", 7);
        info!(target: "t", n = 1, "again");
    };
    let text = logged(Form::Text, "info", log);
    let lines: Vec<_> = text.lines().map(untimed).collect();
    assert_eq!(lines, ["\tinfo\tt:outer{pod=\"web-0\"}:inner\thello\t", "\tinfo\tt:outer{late=7}\tagain\tn=1"]);
    let json = logged(Form::Json, "info", log);
    let lines: Vec<serde_json::Value> = json.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines[0]["outer"]["pod"], "web-0");
    assert!(lines[0]["inner"].as_object().unwrap().is_empty());
    assert_eq!((&lines[1]["n"], &lines[1]["outer"]["late"]), (&1.into(), &7.into()));
}

#[test]
fn no_value_can_forge_a_line() {
    let forged = "x\n2024-04-11T15:38:42.182974Z\terror\taccess\tconnection complete\t";
    let text = logged(Form::Text, "info", |_| info!(value = %forged, name = forged, "{forged}"));
    assert_eq!(text.matches('\n').count(), 1, "{text}");
    assert_eq!(text.matches('\t').count(), 4, "{text}");
}

#[test]
fn the_level_changes_at_run_time() {
    let text = logged(Form::Text, "warn", |levels| {
        info!(target: "first", "hidden");
        levels.change(false, "info").unwrap();
        info!(target: "second", "shown");
        levels.change(false, "noisy::part=debug,quiet:error").unwrap();
        debug!(target: "noisy::part::x", "shown");
        debug!(target: "noisy", "hidden");
        warn!(target: "quiet", "hidden");
        assert_eq!(levels.current().unwrap(), "noisy::part=debug,quiet=error,info");
        levels.change(true, "").unwrap();
        assert_eq!(levels.current().unwrap(), "warn");
        info!(target: "third", "hidden");
        levels.change(true, "access=debug").unwrap();
        assert_eq!(levels.current().unwrap(), "access=debug,warn");
        assert!(levels.access.wants(tracing::Level::DEBUG));
        levels.change(false, "access=off").unwrap();
        assert!(!levels.access.wants(tracing::Level::ERROR));
    });
    assert!(!text.contains("hidden"), "{text}");
    assert_eq!(text.matches("shown").count(), 2, "{text}");
}

#[test]
fn a_client_that_logs_objects_is_not_heard_at_any_level() {
    let text = logged(Form::Text, "trace,kube_client=trace", |_| {
        error!(target: "kube_client::client::builder", "hidden");
        warn!(target: "kube_runtime::watcher", "hidden");
        info!(target: "kube", "shown");
    });
    assert_eq!((text.matches("shown").count(), text.contains("hidden")), (1, false), "{text}");
}

#[test]
fn what_is_no_filter_is_refused_and_changes_nothing() {
    let (_subscriber, logging) = Logging::build(Form::Text, "info", Box::new(std::io::sink())).unwrap();
    let levels = logging.levels();
    for wrong in ["loud", "a=loud", "=info", "info,,a=", "a=b=c", "debug,nonsense", "INFO"] {
        let error = levels.change(false, wrong).unwrap_err();
        assert!(matches!(error, Error::Filter { .. }), "{wrong}: {error}");
    }
    assert_eq!(levels.current().unwrap(), "info");
    let error = Logging::build(Form::Text, "info,a=loud", Box::new(std::io::sink())).err().unwrap();
    let expected =
        "\"a=loud\" is no log filter: expected a level (off, error, warn, info, debug, trace) or <scope>=<level>";
    assert_eq!(error.to_string(), expected);
}
