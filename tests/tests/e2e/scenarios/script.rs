//! What a scenario says: which pods there are, and what is done and expected, step by step. Every scalar of the file is
//! read as text first, so that numbers and names are told apart by what is wanted.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::str::FromStr;

use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// A scenario, or a scene that several share.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Script {
    /// What it shows, for its reader.
    #[serde(rename = "about")]
    _about: String,
    /// The scene that it begins with.
    pub(super) scene: Option<String>,
    /// The nodes' names; of the scene, or `a` and `b`.
    #[serde(default)]
    pub(super) nodes: Vec<String>,
    /// Further arguments of every agent.
    #[serde(default)]
    pub(super) agents: Vec<String>,
    #[serde(default)]
    pub(super) pods: Vec<PodSpec>,
    #[serde(default)]
    pub(super) waypoints: Vec<WaypointSpec>,
    /// Manifests that are there from the beginning.
    #[serde(default)]
    pub(super) manifests: Vec<String>,
    #[serde(default)]
    pub(super) steps: Vec<Step>,
}

/// A pod, and what runs in it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PodSpec {
    pub(super) name: String,
    pub(super) node: String,
    /// The last part of its addresses.
    #[serde(default, deserialize_with = "parsed")]
    pub(super) host: Option<u8>,
    #[serde(default = "default_namespace")]
    pub(super) namespace: String,
    #[serde(default)]
    pub(super) labels: BTreeMap<String, String>,
    /// Its service account; by default the pod's name.
    pub(super) account: Option<String>,
    /// Servers, as `testapp serve` takes them.
    #[serde(default)]
    pub(super) serve: Vec<String>,
    /// Arguments of another `testapp`; `{service:port}` stands for an address.
    #[serde(default)]
    pub(super) run: Vec<String>,
    /// It is not in the mesh.
    #[serde(default, deserialize_with = "parse")]
    pub(super) outside: bool,
    /// It has a real PostgreSQL.
    #[serde(default, deserialize_with = "parse")]
    pub(super) postgres: bool,
}

/// A waypoint, in a pod of its own called as the waypoint or as `pod` says.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WaypointSpec {
    #[serde(default = "default_waypoint")]
    pub(super) name: String,
    #[serde(default = "default_namespace")]
    pub(super) namespace: String,
    pub(super) node: String,
    /// Its pod's name, where several waypoints are called alike.
    pub(super) pod: Option<String>,
    /// The Service's address, IPv4.
    pub(super) vip: Option<String>,
}

/// Something that is done, or that has to be so.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Step {
    /// `kubectl apply -f`.
    Apply(String),
    /// `kubectl delete -f`.
    Delete(String),
    /// Requests of a client.
    Ask(Box<Ask>),
    /// Connections of a client to servers that speak first, `whoami` or PostgreSQL.
    Dial(Dial),
    /// A line of a log, written since the last requests.
    Log(LogLine),
    /// A metric.
    Metric(Metric),
    /// What is said to be wrong with the configuration.
    Reports(Reports),
    /// The process of a waypoint, or the server of a pod, is killed.
    Kill(String),
    /// It is started again.
    Start(String),
    /// A pod is ready, or is not.
    Ready(String),
    Unready(String),
    /// A label of a pod or a namespace, as `Kind/namespace/name key=value` or `key-`.
    Label(String),
    /// Another client of `testapp`, with `{service:port}` for an address; it has to succeed.
    Run(Run),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Ask {
    pub(super) from: String,
    /// `service:port/path`, `@pod:port/path` or `ip:port/path`.
    pub(super) to: String,
    #[serde(default = "one", deserialize_with = "parse")]
    pub(super) count: usize,
    #[serde(default)]
    pub(super) method: Option<String>,
    #[serde(default)]
    pub(super) host: Option<String>,
    /// `name: value` each.
    #[serde(default)]
    pub(super) headers: Vec<String>,
    /// A field of 16 kB and more is not written out: this text so many times.
    #[serde(default)]
    pub(super) repeated: Option<String>,
    #[serde(default)]
    pub(super) body: Option<String>,
    /// `http1`, `http2` or `grpc`.
    #[serde(default)]
    pub(super) protocol: Option<String>,
    /// Each on a new connection.
    #[serde(default, deserialize_with = "parse")]
    pub(super) anew: bool,
    #[serde(default = "one", deserialize_with = "parse")]
    pub(super) concurrency: usize,
    /// Milliseconds until a request is given up.
    #[serde(default, deserialize_with = "parsed")]
    pub(super) patience: Option<u64>,
    /// The other family, too.
    #[serde(default, deserialize_with = "parse")]
    pub(super) ipv6: bool,
    /// Milliseconds within which it has to come to that; asked again until then.
    #[serde(default, deserialize_with = "parsed")]
    pub(super) within: Option<u64>,
    pub(super) expect: Expect,
}

/// What is expected of the answers to all requests of a step.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
#[derive(Default)]
pub(super) struct Expect {
    /// A status, or the share that each has.
    pub(super) status: Shares,
    /// The share that each server answers (`x-server`); no other answers.
    pub(super) servers: Shares,
    /// The share of bodies that hold each text.
    pub(super) bodies: Shares,
    /// Texts of which each is in some body.
    pub(super) all_of: Vec<String>,
    /// A JSON pointer to what is alike in all bodies.
    pub(super) same: Option<String>,
    /// A JSON pointer to what differs in them, each as often as the others but for one.
    pub(super) evenly: Option<String>,
    /// A `grpc-status`, or the share of each.
    pub(super) grpc: Shares,
    /// The error, or the share of each: `any` for whatever it is.
    pub(super) errors: Shares,
    /// The whole body of those that no server answered.
    pub(super) own_body: Option<String>,
    /// Fields of every answer that no server gave, or of all if all were given by one: `~` for none.
    pub(super) headers: BTreeMap<String, String>,
    /// What every server that answered has seen, by JSON pointer: `~` for nothing.
    pub(super) seen: BTreeMap<String, String>,
    /// The pod by whose address every server was asked.
    pub(super) peer: Option<String>,
    /// Milliseconds of every answer.
    #[serde(deserialize_with = "parsed")]
    pub(super) min_ms: Option<u64>,
    #[serde(deserialize_with = "parsed")]
    pub(super) max_ms: Option<u64>,
    /// The number of those that were held up by `min_ms`, if not all, as a share.
    #[serde(deserialize_with = "parsed")]
    pub(super) slow: Option<Share>,
    /// The most requests that a connection to a server carried.
    #[serde(deserialize_with = "parsed")]
    pub(super) per_connection: Option<u64>,
    /// The most connections that a server had open at once.
    #[serde(deserialize_with = "parsed")]
    pub(super) open: Option<u64>,
    /// Connections to servers that carried them.
    #[serde(deserialize_with = "parsed")]
    pub(super) connections: Option<usize>,
    /// What servers were asked besides, or instead.
    pub(super) received: Vec<Received>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Received {
    pub(super) by: String,
    /// Of the requests of the step.
    #[serde(deserialize_with = "parse")]
    pub(super) share: Share,
    /// Exactly as many as got this status, instead.
    #[serde(default, deserialize_with = "parsed")]
    pub(super) as_status: Option<u16>,
    #[serde(default)]
    pub(super) seen: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Dial {
    /// One client, or several separated by blanks.
    pub(super) from: String,
    pub(super) to: String,
    #[serde(default = "one", deserialize_with = "parse")]
    pub(super) count: usize,
    /// The shares of the servers; none if every connection is refused.
    #[serde(default)]
    pub(super) servers: Shares,
    /// The pod by whose address the servers were reached.
    pub(super) peer: Option<String>,
    /// To PostgreSQL.
    #[serde(default, deserialize_with = "parse")]
    pub(super) psql: bool,
    #[serde(default, deserialize_with = "parse")]
    pub(super) ipv6: bool,
    #[serde(default, deserialize_with = "parsed")]
    pub(super) within: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LogLine {
    /// A waypoint's pod, or a node for its agent.
    pub(super) of: String,
    /// All of them in one line.
    pub(super) has: Vec<String>,
    /// So many lines, and no more; without it, at least one.
    #[serde(default, deserialize_with = "parsed")]
    pub(super) count: Option<usize>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Metric {
    pub(super) of: String,
    pub(super) name: String,
    #[serde(default)]
    pub(super) labels: BTreeMap<String, String>,
    #[serde(default, deserialize_with = "parsed")]
    pub(super) at_least: Option<f64>,
    #[serde(default, deserialize_with = "parsed")]
    pub(super) is: Option<f64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Reports {
    pub(super) of: String,
    /// Each has to be in one of them.
    #[serde(default)]
    pub(super) has: Vec<String>,
    /// None of them is in any.
    #[serde(default)]
    pub(super) lacks: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Run {
    pub(super) from: String,
    pub(super) testapp: Vec<String>,
    /// It does not end by itself, and is killed when it has reported.
    #[serde(default, deserialize_with = "parse")]
    pub(super) stays: bool,
    /// Texts of its report.
    pub(super) reports: Vec<String>,
}

/// Names with the share that each has of all.
#[derive(Default)]
pub(super) struct Shares(pub(super) BTreeMap<String, Share>);

/// How many of all.
#[derive(Clone, Copy, Debug)]
pub(super) enum Share {
    /// About so many, from 0 to 1: `0.5` or `1/3`.
    Of(f64),
    /// So many and no others: `=3`.
    Exactly(usize),
}

impl FromStr for Share {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        if let Some(count) = text.strip_prefix('=') {
            return Ok(Self::Exactly(count.parse()?));
        }
        let share: f64 = match text.split_once('/') {
            Some((part, whole)) => part.parse::<f64>()? / whole.parse::<f64>()?,
            None => text.parse()?,
        };
        anyhow::ensure!((0.0..=1.0).contains(&share), "{text} is not from 0 to 1");
        Ok(Self::Of(share))
    }
}

impl<'de> Deserialize<'de> for Shares {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Value::deserialize(deserializer)? {
            Value::String(all) => Ok(Self(BTreeMap::from([(all, Share::Of(1.0))]))),
            other => {
                let shares: BTreeMap<String, String> = from(other)?;
                let parsed = shares.into_iter().map(|(name, text)| {
                    let share = text.parse().map_err(|error| D::Error::custom(format!("{name}: {text}: {error}")))?;
                    Ok((name, share))
                });
                parsed.collect::<Result<_, _>>().map(Self)
            }
        }
    }
}

fn from<T: DeserializeOwned, E: serde::de::Error>(value: Value) -> Result<T, E> {
    serde_json::from_value(value).map_err(E::custom)
}

fn parse<'de, T: FromStr<Err: Display>, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse().map_err(|error| D::Error::custom(format!("{text}: {error}")))
}

fn parsed<'de, T: FromStr<Err: Display>, D: Deserializer<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    parse(deserializer).map(Some)
}

fn one() -> usize {
    1
}

fn default_namespace() -> String {
    "default".to_owned()
}

fn default_waypoint() -> String {
    "waypoint".to_owned()
}
