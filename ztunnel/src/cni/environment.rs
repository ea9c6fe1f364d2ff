//! How the container runtime calls the plugin (CNI 1.0, section 2): what to do and for which container by its environment,
//! everything else on standard input.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::NAME;

/// What the environment says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Environment {
    /// `CNI_COMMAND`.
    pub(super) command: String,
    /// `CNI_CONTAINERID`.
    pub(super) container: String,
    /// `CNI_NETNS`: none where the container is gone.
    pub(super) netns: Option<PathBuf>,
    /// `CNI_ARGS`: whom it is for, as the kubelet has it.
    pub(super) arguments: BTreeMap<String, String>,
}

impl Environment {
    /// Reads it from `variable`.
    pub(crate) fn read(variable: impl Fn(&str) -> Option<OsString>) -> Self {
        let text = |name: &str| variable(name).and_then(|value| value.into_string().ok()).unwrap_or_default();
        let arguments = text("CNI_ARGS");
        let pairs = arguments.split(';').filter_map(|pair| pair.split_once('='));
        Self {
            command: text("CNI_COMMAND"),
            container: text("CNI_CONTAINERID"),
            netns: variable("CNI_NETNS").filter(|path| !path.is_empty()).map(PathBuf::from),
            arguments: pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect(),
        }
    }
}

/// True if a program that was started as `program` is to be the plugin.
pub(crate) fn invoked(program: Option<&OsString>) -> bool {
    program.is_some_and(|program| Path::new(program).file_name().is_some_and(|name| name == NAME))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_plugin_by_the_name_that_it_is_started_as() {
        assert!(invoked(Some(&OsString::from("/opt/cni/bin/ambit-cni"))));
        assert!(!invoked(Some(&OsString::from("/usr/bin/ztunnel"))));
        assert!(!invoked(None));
    }

    #[test]
    fn arguments_are_pairs() {
        let environment = Environment::read(|name| match name {
            "CNI_COMMAND" => Some("ADD".into()),
            "CNI_NETNS" => Some("/run/netns/x".into()),
            "CNI_ARGS" => Some("IgnoreUnknown=1;K8S_POD_NAME=web;K8S_POD_UID=a=b".into()),
            _ => None,
        });
        assert_eq!((environment.command.as_str(), environment.netns), ("ADD", Some("/run/netns/x".into())));
        assert_eq!(environment.arguments["K8S_POD_NAME"], "web");
        assert_eq!(environment.arguments["K8S_POD_UID"], "a=b");
        assert_eq!(Environment::read(|_| None), Environment::default());
        assert_eq!(Environment::read(|name| (name == "CNI_NETNS").then(OsString::new)).netns, None);
    }
}
