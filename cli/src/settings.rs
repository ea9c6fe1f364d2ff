//! What can be asked for: the verbs and their flags. Names are istioctl's where the meaning is.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::config::{connection, policy, service, workload};
use crate::output::Format;

/// Looks after an Ambit service mesh: waypoints, what agents have in force, and whether it is what the cluster says.
#[derive(Debug, Parser)]
#[command(name = "ambit", version, disable_help_subcommand = true, arg_required_else_help = true)]
pub(crate) struct Settings {
    #[command(flatten)]
    pub(crate) reach: Reach,

    #[command(subcommand)]
    pub(crate) verb: Verb,
}

/// How the cluster is reached, and where in it the mesh is.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct Reach {
    /// Files that say how the Kubernetes API is reached, with a colon between them. Default: $KUBECONFIG, else
    /// ~/.kube/config.
    #[arg(long, global = true, value_name = "FILES")]
    pub(crate) kubeconfig: Option<String>,

    /// The kubeconfig's context. Default: its current one.
    #[arg(long, global = true, value_name = "NAME")]
    pub(crate) context: Option<String>,

    /// The namespace that is meant. Default: that of the context.
    #[arg(short, long, global = true, value_name = "NAMESPACE")]
    pub(crate) namespace: Option<String>,

    /// The namespace that the mesh is installed in.
    #[arg(short, long = "istioNamespace", alias = "istio-namespace", global = true, value_name = "NAMESPACE")]
    #[arg(default_value = "istio-system")]
    pub(crate) istio_namespace: String,
}

/// What is done.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Waypoints: the proxies of a namespace that know HTTP.
    #[command(subcommand, arg_required_else_help = true)]
    Waypoint(Waypoint),

    /// What the agent of a node has in force.
    #[command(subcommand, name = "ztunnel-config", visible_alias = "zc", arg_required_else_help = true)]
    Config(Config),

    /// Every agent and waypoint, and whether what it has in force is what its source says.
    #[command(name = "proxy-status", visible_alias = "ps")]
    Status(Status),

    /// What stands in the mesh's way, such as NetworkPolicies that let no HBONE through. Ends with 1 if anything does.
    Check(Check),

    /// The versions of this program, of the control plane and of the proxies.
    Version(Version),

    /// Prints what makes a shell complete this program's words.
    Completion {
        /// The shell.
        shell: clap_complete::Shell,
    },
}

/// What is checked.
#[derive(Debug, Args)]
pub(crate) struct Check {
    /// In all namespaces.
    #[arg(short = 'A', long)]
    pub(crate) all_namespaces: bool,

    #[command(flatten)]
    pub(crate) output: Output,
}

/// In what form something is shown.
#[derive(Clone, Copy, Debug, Default, Args)]
pub(crate) struct Output {
    /// The form of what is shown.
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    pub(crate) output: Format,
}

/// What is done with waypoints.
#[derive(Debug, Subcommand)]
pub(crate) enum Waypoint {
    /// Makes a waypoint, or changes the one of this name.
    Apply {
        #[command(flatten)]
        shape: Shape,

        /// Label the namespace, so that its services are reached through the waypoint.
        #[arg(long)]
        enroll_namespace: bool,

        /// Label it even if it has another waypoint.
        #[arg(long)]
        overwrite: bool,

        /// Wait until it takes connections.
        #[arg(short, long)]
        wait: bool,

        #[command(flatten)]
        patience: Patience,
    },

    /// Prints the Gateway that `apply` writes.
    Generate {
        #[command(flatten)]
        shape: Shape,

        /// The form of what is printed.
        #[arg(short, long, value_enum, default_value_t = Format::Yaml)]
        output: Format,
    },

    /// Lists the waypoints of a namespace.
    List {
        /// Those of all namespaces.
        #[arg(short = 'A', long)]
        all_namespaces: bool,

        #[command(flatten)]
        output: Output,
    },

    /// Says what has become of waypoints.
    Status {
        /// Only the one of this name.
        #[arg(long, value_name = "NAME")]
        name: Option<String>,

        /// Wait until they take connections.
        #[arg(short, long)]
        wait: bool,

        #[command(flatten)]
        patience: Patience,

        #[command(flatten)]
        output: Output,
    },

    /// Deletes waypoints.
    Delete {
        /// Their names.
        #[arg(required_unless_present_any = ["all", "revision"], conflicts_with_all = ["all", "revision"])]
        names: Vec<String>,

        /// All of the namespace.
        #[arg(long)]
        all: bool,

        /// All of the namespace with this revision.
        #[arg(short, long, value_name = "REVISION")]
        revision: Option<String>,
    },
}

/// What a waypoint is to be.
#[derive(Clone, Debug, Args)]
pub(crate) struct Shape {
    /// Its name.
    #[arg(long, default_value = "waypoint", value_parser = name)]
    pub(crate) name: String,

    /// What it serves. Default: what its class says, which is services.
    #[arg(long = "for", value_enum, value_name = "TRAFFIC")]
    pub(crate) traffic: Option<Traffic>,

    /// The revision that it is labelled with.
    #[arg(short, long, value_name = "REVISION")]
    pub(crate) revision: Option<String>,

    /// Its GatewayClass.
    #[arg(long, value_name = "NAME", default_value = "istio-waypoint", value_parser = crate::waypoint::CLASSES)]
    pub(crate) class: String,
}

/// What a waypoint serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Traffic {
    /// What is addressed to services.
    Service,
    /// What is addressed to pods.
    Workload,
    /// Both.
    All,
    /// Neither.
    None,
}

/// For how long something is waited for.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct Patience {
    /// For how long it is waited for, such as 90s or 2m.
    #[arg(long, value_name = "DURATION", default_value = "90s", value_parser = duration)]
    pub(crate) waypoint_timeout: Duration,
}

/// What is shown of an agent.
#[derive(Debug, Subcommand)]
pub(crate) enum Config {
    /// The pods that it knows.
    #[command(visible_aliases = ["workloads", "w"])]
    Workload {
        #[command(flatten)]
        agent: Agent,
        #[command(flatten)]
        filter: workload::Filter,
    },

    /// The services that it knows.
    #[command(visible_aliases = ["services", "svc", "s"])]
    Service {
        #[command(flatten)]
        agent: Agent,
        #[command(flatten)]
        filter: service::Filter,
    },

    /// The policies that it knows.
    #[command(visible_aliases = ["policies", "pol", "p"])]
    Policy {
        #[command(flatten)]
        agent: Agent,
        #[command(flatten)]
        filter: policy::Filter,
    },

    /// The certificates that it holds.
    #[command(visible_aliases = ["certificates", "certs", "cert"])]
    Certificate {
        #[command(flatten)]
        agent: Agent,
    },

    /// The connections that it has open.
    #[command(visible_aliases = ["connection", "cons"])]
    Connections {
        #[command(flatten)]
        agent: Agent,
        #[command(flatten)]
        filter: connection::Filter,
    },

    /// The log levels of agents, of all of them if none is named; shown, or changed.
    #[command(visible_alias = "o")]
    Log {
        #[command(flatten)]
        whose: Whose,

        /// The level from now on: one for everything, or SCOPE:LEVEL with commas between, such as access:debug,info.
        #[arg(long, value_name = "LEVELS", conflicts_with = "reset")]
        level: Option<String>,

        /// Back to the levels that it was started with.
        #[arg(short, long)]
        reset: bool,
    },

    /// All of this; with -o json everything that it says of itself, as --file reads it.
    All {
        #[command(flatten)]
        agent: Agent,
    },
}

/// Which agent is meant, and how it is shown.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct Agent {
    #[command(flatten)]
    pub(crate) whose: Whose,

    /// What was saved of an agent; - reads stdin.
    #[arg(short, long, value_name = "FILE", group = "which")]
    pub(crate) file: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) output: Output,
}

/// Which agent is meant.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct Whose {
    /// An agent's pod, or one of an application, which means the agent of its node: [TYPE/]NAME[.NAMESPACE]. Default:
    /// the first agent, where they all know the same.
    #[arg(value_name = "POD", group = "which")]
    pub(crate) pod: Option<String>,

    /// The agent of this node.
    #[arg(long, value_name = "NODE", group = "which")]
    pub(crate) node: Option<String>,

    /// The agent whose admin interface is here; no cluster is asked.
    #[arg(long, value_name = "HOST:PORT", group = "which")]
    pub(crate) admin: Option<String>,

    /// The port of agents' admin interfaces in their pods.
    #[arg(long, value_name = "PORT", default_value_t = 15000)]
    pub(crate) proxy_admin_port: u16,
}

/// Whose status is shown, and how.
#[derive(Debug, Args)]
pub(crate) struct Status {
    /// The admin interfaces of these agents and waypoints; no cluster is asked.
    #[arg(long, value_name = "HOST:PORT", value_delimiter = ',')]
    pub(crate) admin: Vec<String>,

    /// The port of admin interfaces in their pods.
    #[arg(long, value_name = "PORT", default_value_t = 15000)]
    pub(crate) proxy_admin_port: u16,

    #[command(flatten)]
    pub(crate) output: Output,
}

/// Whose version is shown, and how.
#[derive(Debug, Args)]
pub(crate) struct Version {
    /// Whether the cluster is asked as well. Default: if there is one.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub(crate) remote: Option<bool>,

    /// Versions alone; false lists every proxy.
    #[arg(short, long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    #[arg(default_value_t = true, action = clap::ArgAction::Set)]
    pub(crate) short: bool,

    #[command(flatten)]
    pub(crate) output: Output,
}

/// Log levels as an agent takes them, for a query: Istio's other names for some become those that there are.
pub(crate) fn levels(text: &str) -> String {
    let named = |one: &str| {
        let (scope, level) = one.rsplit_once([':', '=']).map_or(("", one), |(scope, level)| (scope, level));
        let level = match level {
            "warning" => "warn",
            "critical" => "error",
            level => level,
        };
        if scope.is_empty() { level.to_owned() } else { format!("{scope}:{level}") }
    };
    let all: Vec<String> = text.split(',').map(|one| named(one.trim())).collect();
    form_urlencoded::byte_serialize(all.join(",").as_bytes()).collect()
}

/// Whether the environment asks for no colours (`NO_COLOR`, of any value but none).
pub(crate) fn is_plain() -> bool {
    std::env::var_os("NO_COLOR").is_some_and(|value| value != OsStr::new(""))
}

fn name(text: &str) -> Result<String, String> {
    match text {
        "none" => Err("`none` is how a label says that there is no waypoint: choose another name".to_owned()),
        "" => Ok("waypoint".to_owned()),
        name => Ok(name.to_owned()),
    }
}

/// A duration as kubectl takes it: `90s`, `1m30s`, `1h`; `0` is none at all.
fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || "write a duration such as 90s, 2m or 1m30s".to_owned();
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let mut seconds: u64 = 0;
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest.find(|digit: char| !digit.is_ascii_digit()).ok_or_else(wrong)?;
        let (digits, unit) = rest.split_at(end);
        let mut after = unit.chars();
        let each = match after.next() {
            Some('h') => 3600,
            Some('m') => 60,
            Some('s') => 1,
            _ => return Err(wrong()),
        };
        let count: u64 = digits.parse().map_err(|_| wrong())?;
        seconds = count.checked_mul(each).and_then(|more| seconds.checked_add(more)).ok_or_else(wrong)?;
        rest = after.as_str();
    }
    if text.is_empty() { Err(wrong()) } else { Ok(Duration::from_secs(seconds)) }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn parse(arguments: &str) -> Result<Settings, String> {
        let words = std::iter::once("ambit").chain(arguments.split_whitespace());
        Settings::try_parse_from(words).map_err(|error| error.to_string())
    }

    #[test]
    fn the_words_are_consistent() {
        Settings::command().debug_assert();
    }

    #[test]
    fn durations_are_written_as_kubectl_takes_them() {
        for (text, seconds) in [("90s", 90), ("2m", 120), ("1h1m1s", 3661), ("0", 0)] {
            assert_eq!(duration(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for text in ["", "90", "s", "5d", "-1s", "1m30", "99999999999999999999s"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn levels_have_istios_names_as_well() {
        assert_eq!(levels("warning"), "warn");
        assert_eq!(levels("access:debug, ztunnel::dns=critical"), "access%3Adebug%2Cztunnel%3A%3Adns%3Aerror");
        assert_eq!(levels("info&reset"), "info%26reset");
    }

    #[test]
    fn what_says_two_things_is_refused() {
        for arguments in [
            "zc workload web --node a",
            "zc workload --node a -f dump.json",
            "zc workload --admin 127.0.0.1:15000 -f dump.json",
            "zc log --level debug --reset",
            "zc log -f dump.json",
            "waypoint delete",
            "waypoint delete one --all",
            "waypoint delete one --revision blue",
            "waypoint apply --name none",
            "waypoint apply --for pods",
            "waypoint apply --class istio",
        ] {
            assert!(parse(arguments).is_err(), "{arguments}");
        }
        for arguments in [
            "zc workloads web.shop -o json",
            "ztunnel-config all -o short --kubeconfig /a:/b",
            "ps -n shop",
            "zc log ds/ztunnel --level access:debug,info",
            "version --remote=false -s=false",
            "version --remote --short",
            "-i mesh waypoint apply -n shop --for all --enroll-namespace --overwrite --wait --waypoint-timeout 2m",
            "waypoint apply --name=",
            "waypoint delete --all --revision blue",
            "completion bash",
        ] {
            parse(arguments).unwrap_or_else(|error| panic!("{arguments}: {error}"));
        }
    }
}
