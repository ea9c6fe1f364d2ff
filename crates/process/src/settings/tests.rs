use std::io::Write;
use std::net::SocketAddr;

use super::*;

/// `environment` comes from a variable that cargo sets for every test; `unset` from one that nobody sets.
#[derive(clap::Parser, Debug, PartialEq)]
#[command(name = "example", version = "1")]
struct Example {
    #[arg(long, env = "CARGO_PKG_NAME", default_value = "default")]
    environment: String,
    #[arg(long, env = "AMBIT_TEST_UNSET", default_value = "default")]
    unset: String,
    #[arg(long)]
    node: String,
    #[arg(long, default_value_t = 2)]
    workers: u16,
    #[arg(long)]
    quiet: bool,
    #[arg(long)]
    address: Vec<SocketAddr>,
    #[arg(long, value_enum, default_value = "direct")]
    same_node: SameNode,
    #[arg(long)]
    optional: Option<String>,
}

#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq)]
enum SameNode {
    Direct,
    Tls,
}

fn file(text: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

fn parsed(text: &str, flags: &[&str]) -> Result<Example, Error> {
    let file = file(text);
    let settings = [OsString::from("example"), OsString::from("--settings"), file.path().into()];
    parse(settings.into_iter().chain(flags.iter().map(OsString::from)))
}

/// The message without the file's path.
fn refused(text: &str) -> String {
    let message = parsed(text, &["--node", "n"]).unwrap_err().to_string();
    let (path, rest) = message.split_once(':').unwrap();
    assert!(path.starts_with(std::env::temp_dir().to_str().unwrap()), "{message}");
    rest.to_owned()
}

#[test]
fn flag_over_environment_over_file_over_default() {
    for (in_file, flag, with_environment, without) in [
        (false, false, "ambit-process", "default"),
        (true, false, "ambit-process", "file"),
        (false, true, "flag", "flag"),
        (true, true, "flag", "flag"),
    ] {
        let text = if in_file { "environment: file\nunset: file\n" } else { "" };
        let flags: &[&str] = if flag { &["--environment=flag", "--unset=flag"] } else { &[] };
        let example = parsed(text, &[&["--node", "n"], flags].concat()).unwrap();
        let found = (example.environment.as_str(), example.unset.as_str());
        assert_eq!(found, (with_environment, without), "file: {in_file}, flag: {flag}");
    }
}

#[test]
fn every_kind_of_setting_can_stand_in_a_file() {
    let text = "# the node agent\nnode: node-1\nworkers: 4\nquiet: true\nsame-node: tls\noptional: 1.10\n\
                address:\n  - 127.0.0.1:80\n  - \"[::1]:80\"\n";
    let example = parsed(text, &[]).unwrap();
    assert_eq!((example.node.as_str(), example.workers, example.quiet), ("node-1", 4, true));
    assert_eq!((example.same_node, example.optional.as_deref()), (SameNode::Tls, Some("1.10")));
    assert_eq!(example.address, ["127.0.0.1:80".parse().unwrap(), "[::1]:80".parse().unwrap()]);
    let overridden = parsed(text, &["--address", "10.0.0.1:1", "--workers", "8"]).unwrap();
    assert_eq!((overridden.address.len(), overridden.workers), (1, 8), "a flag replaces the file's list");
}

#[test]
fn a_file_without_settings_changes_nothing() {
    let expected = parse::<Example>(["example", "--node", "n"]).unwrap();
    for text in ["", "\n\n", "# nothing\n", "---\n", "{}\n", "null\n"] {
        assert_eq!(parsed(text, &["--node", "n"]).unwrap(), expected, "{text:?}");
    }
}

#[test]
fn what_is_required_is_required_unless_the_file_has_it() {
    let error = parsed("workers: 1\n", &[]).unwrap_err();
    assert!(matches!(&error, Error::Usage(e) if e.kind() == ErrorKind::MissingRequiredArgument), "{error}");
    assert_eq!(parsed("node: n\n", &[]).unwrap().node, "n");
}

#[test]
fn an_unknown_setting_is_named_with_its_line_and_the_likely_name() {
    let message = refused("workers: 1\nworker: 2\n");
    assert_eq!(message, "2: there is no setting `worker`: did you mean `workers`?");
    let message = refused("xyzzy: 2\n");
    assert_eq!(message, "1: there is no setting `xyzzy`: run with --help to see the settings");
    for own in ["settings: other.yaml\n", "help: true\n", "version: true\n"] {
        assert!(refused(own).contains("there is no setting"), "{own}");
    }
}

#[test]
fn a_bad_value_is_named_with_its_line_and_what_it_can_be() {
    for (text, expected) in [
        ("workers: many\n", "1: setting `workers` cannot be \"many\": invalid digit found in string"),
        ("\nworkers: 70000\n", "2: setting `workers` cannot be \"70000\": 70000 is not in 0..=65535"),
        ("same-node: wifi\n", "1: setting `same-node` cannot be \"wifi\": it is one of direct, tls"),
        ("quiet: 1\n", "1: setting `quiet` cannot be \"1\": it is true or false"),
        ("workers: [1, 2]\n", "1: setting `workers` cannot be \"1, 2\": it takes one value"),
        (
            "address:\n- 127.0.0.1:80\n- here\n",
            "1: setting `address` cannot be \"127.0.0.1:80, here\": invalid socket address syntax",
        ),
    ] {
        assert_eq!(refused(text), expected, "{text}");
    }
}

#[test]
fn a_file_that_is_no_list_of_settings_is_refused_with_its_line() {
    let form = ": a settings file is YAML with one `name: value` a line";
    for (text, expected) in [
        ("just text\n", "1: this is no list of settings"),
        ("- a\n", "1: this is no list of settings"),
        ("workers: 1\nworkers: 2\n", "2: setting `workers` is given twice"),
        ("workers:\n", "1: setting `workers` has no value"),
        ("workers: 1\n---\nworkers: 2\n", "2: there is more than one document"),
        ("address:\n  - {a: b}\n", "2: setting `address` has a value that is no text, number or list of them"),
        ("node:\n  name: n\n", "2: setting `node` has a value that is no text, number or list of them"),
        ("? [a]\n: b\n", "1: this is no setting's name"),
    ] {
        assert_eq!(refused(text), format!("{expected}{form}"), "{text}");
    }
    assert!(refused("a: \"b\nc: d\n").ends_with(form));
    assert!(refused("a: *nowhere\n").ends_with(form));
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let error = parse::<Example>(["example", "--settings=/nonexistent/settings.yaml", "--node", "n"]).unwrap_err();
    assert_eq!(error.to_string(), "cannot read the settings file /nonexistent/settings.yaml");
}

#[test]
fn help_shows_every_setting_and_its_variable() {
    let Err(Error::Usage(help)) = parse::<Example>(["example", "--help"]) else { panic!("help is an answer") };
    assert_eq!(help.kind(), ErrorKind::DisplayHelp);
    let help = help.to_string();
    for part in ["--settings <FILE>", "AMBIT_SETTINGS", "--workers", "AMBIT_TEST_UNSET"] {
        assert!(help.contains(part), "{help}");
    }
}

#[test]
fn the_environment_can_name_the_file() {
    if std::env::var_os(VARIABLE).is_some() {
        let example = parse::<Example>(["example", "--workers", "3"]).unwrap();
        assert_eq!((example.node.as_str(), example.workers), ("by-environment", 3));
        return;
    }
    // The environment of this process belongs to all its tests, so that the test runs itself with another one.
    let file = file("node: by-environment\nworkers: 1\n");
    let again = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "settings::tests::the_environment_can_name_the_file"])
        .env(VARIABLE, file.path())
        .output()
        .unwrap();
    let out = String::from_utf8_lossy(&again.stdout);
    assert!(again.status.success() && out.contains("1 passed"), "{out}");
}

#[test]
fn seconds_may_have_fractions_but_no_sign() {
    assert_eq!(seconds("0.25"), Ok(Duration::from_millis(250)));
    assert_eq!(seconds("-1").unwrap_err(), "cannot convert float seconds to Duration: value is negative");
    assert_eq!(seconds("5s").unwrap_err(), "\"5s\" is no number of seconds");
}
