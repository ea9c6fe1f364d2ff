//! `cargo xtask layers`: checks that crates depend on one another only downwards, and that a library with one home is
//! used there alone. Reads what cargo says of the workspace; knows nothing of the code. Dev-dependencies are free.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use anyhow::bail;

use crate::workspace::{Metadata, Package};

/// The crates of the workspace, each with its layer and with the crates of the workspace that it may see.
const CRATES: &[(&str, u8, Sees)] = &[
    ("ambit-model", 0, Sees::Only(&[])),
    ("ambit-ebpf-abi", 0, Sees::Only(&[])),
    ("ambit-api", 1, Sees::Only(&["ambit-model"])),
    ("ambit-identity", 1, Sees::Only(&["ambit-model"])),
    ("ambit-net", 1, Sees::Only(&["ambit-model"])),
    ("ambit-telemetry", 1, Sees::Only(&["ambit-model"])),
    ("ambit-hbone", 2, Sees::Only(&["ambit-net"])),
    ("ambit-discovery", 2, Sees::Below),
    ("ambit-process", 2, Sees::Below),
    ("ambit-ca", 2, Sees::Only(&["ambit-identity", "ambit-model"])),
    ("ambit-ebpf-loader", 2, Sees::Below),
    ("ambit-transport", 3, Sees::Below),
    ("ztunnel", 4, Sees::Below),
    ("controller", 4, Sees::Below),
    ("waypoint", 4, Sees::Below),
    // It knows programs by what they say on their admin ports, and of the cluster what a version of the API serves.
    ("ambit", 4, Sees::Only(&["ambit-api", "ambit-discovery"])),
    // The end-to-end tests know the mesh as its users do: by its command line, files, ports and log.
    ("ambit-tests", 4, Sees::Only(&[])),
    ("xtask", 4, Sees::Only(&["ambit-api", "ambit-tests"])),
];

/// Which crates of the workspace a crate may see.
#[derive(Clone, Copy)]
enum Sees {
    /// Those of every lower layer.
    Below,
    /// These.
    Only(&'static [&'static str]),
}

/// What is built for the developer and never shipped.
const TOOLS: &[&str] = &["ambit-tests", "xtask"];

/// A library that has a home: who may depend on it, and what everybody else does instead.
struct Home {
    libraries: &'static [&'static str],
    allowed: &'static [&'static str],
    tools: bool,
    remedy: &'static str,
}

const HOMES: &[Home] = &[
    Home {
        libraries: &["aya", "aya-obj"],
        allowed: &["ambit-ebpf-loader"],
        tools: false,
        remedy: "touch programs and maps through ambit-ebpf-loader",
    },
    Home {
        libraries: &["rustls", "rustls-webpki", "aws-lc-rs", "rcgen", "ring", "openssl"],
        // The tests' hostile peers make every mistake that ambit-identity must refuse.
        allowed: &["ambit-identity", "ambit-tests"],
        tools: false,
        remedy: "ambit-identity makes every cryptographic choice: ask it for a handshake",
    },
    Home {
        libraries: &["tokio-rustls"],
        allowed: &["ambit-identity", "ambit-ca", "ambit-transport", "ztunnel", "waypoint", "ambit-tests"],
        tools: false,
        remedy: "take a byte stream; who opens the connection hands in the TLS",
    },
    Home {
        libraries: &["h2"],
        allowed: &["ambit-hbone"],
        tools: true,
        remedy: "open streams through ambit-hbone, whose record layer will be replaced",
    },
    Home {
        libraries: &["tonic", "tonic-prost", "prost", "prost-types"],
        allowed: &["ambit-ca"],
        tools: false,
        remedy: "ask for certificates through ambit-ca",
    },
    Home {
        libraries: &["regex", "regex-automata", "regex-syntax", "fancy-regex", "pcre2"],
        allowed: &["ambit-model"],
        tools: true,
        remedy: "parse text by hand, or hand patterns to ambit_model::route::Regex, which bounds them and reads RE2",
    },
    Home {
        libraries: &["kube", "k8s-openapi"],
        // The controller writes objects, and so does the command line, for its user; what is read of the mesh comes by
        // ambit-discovery all the same.
        allowed: &["ambit-discovery", "controller", "ambit"],
        tools: false,
        remedy: "take what ambit-discovery publishes",
    },
    Home {
        libraries: &["clap"],
        allowed: &["ambit-process", "ztunnel", "controller", "waypoint", "ambit"],
        tools: true,
        remedy: "take values; a binary's settings.rs parses them",
    },
    Home {
        libraries: &["anyhow"],
        allowed: &["ztunnel", "controller", "waypoint", "ambit"],
        tools: true,
        remedy: "a library has one error enum (thiserror), whose variants say what the operator does",
    },
    Home {
        libraries: &["tokio"],
        allowed: &[
            "ambit-identity",
            "ambit-net",
            "ambit-telemetry",
            "ambit-hbone",
            "ambit-discovery",
            "ambit-process",
            "ambit-ca",
            "ambit-transport",
            "ztunnel",
            "controller",
            "waypoint",
            "ambit",
        ],
        tools: true,
        remedy: "this crate decides and does nothing: take values and `now`, and let a shell do the waiting",
    },
];

/// Arguments of `cargo xtask layers`.
#[derive(clap::Args)]
pub(crate) struct Args {}

/// Prints the crates by layer, and what breaks the rules.
///
/// # Errors
/// When a rule is broken or cargo cannot be asked.
pub(crate) fn run(_args: &Args) -> anyhow::Result<()> {
    let metadata = Metadata::read()?;
    print!("{}", tree(&metadata));
    let violations = violations(&metadata);
    for violation in &violations {
        eprintln!("{violation}");
    }
    match violations.len() {
        0 => Ok(()),
        1 => bail!("one dependency breaks the layers"),
        many => bail!("{many} dependencies break the layers"),
    }
}

/// A dependency that should not be.
#[derive(Debug, PartialEq, Eq)]
struct Violation {
    /// The crate that has it.
    package: String,
    /// What is wrong with it.
    fault: String,
    /// What to do instead.
    remedy: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}\n    {}", self.package, self.fault, self.remedy)
    }
}

fn layer_of(package: &str) -> Option<u8> {
    CRATES.iter().find(|(name, ..)| *name == package).map(|(_, layer, _)| *layer)
}

/// Every dependency that breaks a rule, in the order of cargo's packages.
fn violations(metadata: &Metadata) -> Vec<Violation> {
    let members: BTreeSet<_> = metadata.packages.iter().map(|package| package.name.as_str()).collect();
    metadata.packages.iter().flat_map(|package| arrows(package, &members).chain(homes(package))).collect()
}

/// The arrows between crates of the workspace that do not point down.
fn arrows<'a>(package: &'a Package, members: &'a BTreeSet<&str>) -> impl Iterator<Item = Violation> + 'a {
    let known = CRATES.iter().find(|(name, ..)| *name == package.name);
    let unknown = known.is_none().then(|| Violation {
        package: package.name.clone(),
        fault: "is in no layer".to_owned(),
        remedy: "give it one in CRATES of xtask/src/layers.rs, and say in ARCHITECTURE.md what it is for".to_owned(),
    });
    let upwards = known.into_iter().flat_map(move |(_, layer, sees)| {
        let inside = package.linked().into_iter().filter(|name| members.contains(name));
        inside.filter_map(move |name| arrow(&package.name, *layer, *sees, name))
    });
    unknown.into_iter().chain(upwards)
}

fn arrow(package: &str, layer: u8, sees: Sees, name: &str) -> Option<Violation> {
    let (allowed, may_see) = match sees {
        Sees::Below => (layer_of(name).is_none_or(|below| below < layer), format!("what is below layer {layer}")),
        Sees::Only([]) => (false, "no crate of the workspace".to_owned()),
        Sees::Only(names) => (names.contains(&name), names.join(", ")),
    };
    let other = layer_of(name).map_or_else(String::new, |layer| format!(" (layer {layer})"));
    (!allowed).then(|| Violation {
        package: package.to_owned(),
        fault: format!("layer {layer} depends on {name}{other}"),
        remedy: format!("it may see {may_see}: move what is needed down, or hand it in as a value"),
    })
}

/// The libraries that are used away from their home.
fn homes(package: &Package) -> impl Iterator<Item = Violation> + '_ {
    package.linked().into_iter().filter_map(|name| {
        let home = HOMES.iter().find(|home| home.libraries.contains(&name))?;
        let allowed = home.allowed.contains(&package.name.as_str());
        let tool = home.tools && TOOLS.contains(&package.name.as_str());
        (!allowed && !tool).then(|| Violation {
            package: package.name.clone(),
            fault: format!("depends on {name}, whose home is {}", home.allowed.join(", ")),
            remedy: home.remedy.to_owned(),
        })
    })
}

/// The crates by layer, top first, each with the crates of the workspace that it sees.
fn tree(metadata: &Metadata) -> String {
    let members: BTreeSet<_> = metadata.packages.iter().map(|package| package.name.as_str()).collect();
    let mut layers: BTreeMap<Option<u8>, Vec<String>> = BTreeMap::new();
    for package in &metadata.packages {
        let seen: Vec<_> = package.linked().into_iter().filter(|name| members.contains(name)).collect();
        let line = format!("    {:<18} {}\n", package.name, seen.join(" "));
        layers.entry(layer_of(&package.name)).or_default().push(line);
    }
    let mut text = String::new();
    for (layer, mut lines) in layers.into_iter().rev() {
        lines.sort();
        text.push_str(&layer.map_or_else(|| "no layer\n".to_owned(), |layer| format!("layer {layer}\n")));
        text.extend(lines);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::Dependency;

    /// `name: dependency, dev dependency`
    fn metadata(packages: &[(&str, &str)]) -> Metadata {
        let dependency = |text: &str| match text.trim().split_once(' ') {
            Some((kind, name)) => Dependency { name: name.to_owned(), kind: Some(kind.to_owned()) },
            None => Dependency { name: text.trim().to_owned(), kind: None },
        };
        let package = |(name, dependencies): &(&str, &str)| Package {
            name: (*name).to_owned(),
            dependencies: dependencies.split(',').filter(|text| !text.is_empty()).map(dependency).collect(),
            targets: Vec::new(),
        };
        Metadata { packages: packages.iter().map(package).collect(), workspace_root: "/".into() }
    }

    fn faults(packages: &[(&str, &str)]) -> Vec<String> {
        let told = violations(&metadata(packages)).into_iter();
        told.map(|violation| format!("{}: {}", violation.package, violation.fault)).collect()
    }

    #[test]
    fn arrows_that_point_down_are_let_be() {
        assert_eq!(
            faults(&[
                ("ambit-model", "serde, thiserror"),
                ("ambit-net", "ambit-model, tokio"),
                ("ambit-hbone", "ambit-net, h2, dev rustls, dev ambit-identity"),
                ("ambit-identity", "ambit-model, rustls, build rcgen"),
                ("ambit-discovery", "ambit-model, ambit-net"),
                ("ztunnel", "ambit-hbone, ambit-discovery, tokio-rustls, clap, anyhow"),
                ("ambit-tests", "anyhow, clap, h2"),
                ("xtask", "ambit-tests, anyhow, clap"),
            ]),
            [] as [&str; 0]
        );
    }

    #[test]
    fn arrows_that_point_up_or_sideways_are_reported() {
        assert_eq!(
            faults(&[
                ("ambit-model", "ambit-api"),
                ("ambit-api", "ambit-model, ambit-net"),
                ("ambit-net", ""),
                ("ambit-hbone", "ambit-net, ambit-model"),
                ("ambit-discovery", "ambit-process"),
                ("ambit-process", "build ztunnel"),
                ("ztunnel", "ambit-tests"),
                ("ambit-tests", "ambit-model"),
            ]),
            [
                "ambit-model: layer 0 depends on ambit-api (layer 1)",
                "ambit-api: layer 1 depends on ambit-net (layer 1)",
                "ambit-hbone: layer 2 depends on ambit-model (layer 0)",
                "ambit-discovery: layer 2 depends on ambit-process (layer 2)",
                "ambit-process: layer 2 depends on ztunnel (layer 4)",
                "ztunnel: layer 4 depends on ambit-tests (layer 4)",
                "ambit-tests: layer 4 depends on ambit-model (layer 0)",
            ]
        );
    }

    #[test]
    fn a_library_away_from_its_home_is_reported() {
        assert_eq!(
            faults(&[
                ("ambit-model", "tokio"),
                ("ambit-net", "anyhow, clap"),
                ("ambit-api", "regex"),
                ("ztunnel", "rustls, aya, h2"),
                ("ambit-tests", "aya"),
            ]),
            [
                "ambit-model: depends on tokio, whose home is ambit-identity, ambit-net, ambit-telemetry, ambit-hbone, \
                 ambit-discovery, ambit-process, ambit-ca, ambit-transport, ztunnel, controller, waypoint, ambit",
                "ambit-net: depends on anyhow, whose home is ztunnel, controller, waypoint, ambit",
                "ambit-net: depends on clap, whose home is ambit-process, ztunnel, controller, waypoint, ambit",
                "ambit-api: depends on regex, whose home is ambit-model",
                "ztunnel: depends on aya, whose home is ambit-ebpf-loader",
                "ztunnel: depends on h2, whose home is ambit-hbone",
                "ztunnel: depends on rustls, whose home is ambit-identity, ambit-tests",
                "ambit-tests: depends on aya, whose home is ambit-ebpf-loader",
            ]
        );
    }

    #[test]
    fn a_crate_without_a_layer_is_reported_and_shown() {
        let metadata = metadata(&[("ambit-model", ""), ("ambit-common", "ambit-model"), ("ztunnel", "ambit-common")]);
        assert_eq!(violations(&metadata).len(), 1);
        let text = violations(&metadata)[0].to_string();
        assert!(text.starts_with("ambit-common: is in no layer\n    give it one"), "{text}");
        let lines =
            ["layer 4", "    ztunnel            ambit-common", "layer 0", "    ambit-model        ", "no layer"];
        assert!(tree(&metadata).starts_with(&lines.join("\n")), "{}", tree(&metadata));
    }
}
