//! Where the mesh's configuration comes from: flags that every program has alike. Each is also an environment variable
//! that begins with the program's name, such as `ZTUNNEL_KUBE`.

use std::path::PathBuf;

use clap::Command;
use serde::Serialize;

/// Where the mesh's configuration comes from: a directory or a Kubernetes API. One of them has to be given.
#[derive(Clone, Debug, Default, clap::Args, Serialize)]
pub struct Source {
    /// Directory of Kubernetes YAML that describes the mesh; watched for changes. This or --kube is required.
    #[arg(long, value_name = "DIR")]
    pub config: Option<PathBuf>,

    /// Take the mesh's configuration from a Kubernetes API: the one of the cluster that this runs in, or the one that
    /// --kubeconfig names. This or --config is required.
    #[arg(long)]
    pub kube: bool,

    /// Files that say how the Kubernetes API is reached, with a colon between them. Only read with --kube.
    #[arg(long, env = "KUBECONFIG", value_name = "FILES", value_delimiter = ':')]
    pub kubeconfig: Vec<PathBuf>,

    /// Directory that keeps what is in force, for a start while the Kubernetes API is away. Holds neither keys nor
    /// Secrets. Default: nothing is kept.
    #[arg(long, value_name = "DIR")]
    pub kube_cache: Option<PathBuf>,
}

impl Source {
    /// What operators are told of it: `kubernetes`, or the directory.
    #[must_use]
    pub fn name(&self) -> String {
        match &self.config {
            Some(directory) => directory.display().to_string(),
            None => "kubernetes".to_owned(),
        }
    }
}

/// The flags whose environment variable begins with the program's name.
const NAMED: [&str; 3] = ["config", "kube", "kube-cache"];

/// `command` with the environment variables of the flags above, if it has them.
pub(crate) fn with_environment(command: Command) -> Command {
    let program = command.get_name().to_ascii_uppercase();
    command.mut_args(|arg| match arg.get_long() {
        Some(flag) if NAMED.contains(&flag) && arg.get_env().is_none() => {
            let variable = format!("{program}_{}", flag.to_ascii_uppercase().replace('-', "_"));
            arg.env(variable)
        }
        _ => arg,
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use clap::{CommandFactory, Parser};

    use super::*;
    use crate::settings;

    #[derive(Debug, Parser)]
    #[command(name = "example")]
    struct Example {
        #[command(flatten)]
        source: Source,
        #[arg(long)]
        other: bool,
    }

    #[test]
    fn each_program_has_variables_of_its_own() {
        let command = with_environment(Example::command());
        let variable = |flag: &str| {
            let arg = command.get_arguments().find(|arg| arg.get_long() == Some(flag)).unwrap();
            arg.get_env().map(|variable| variable.to_string_lossy().into_owned())
        };
        assert_eq!(variable("config").as_deref(), Some("EXAMPLE_CONFIG"));
        assert_eq!(variable("kube").as_deref(), Some("EXAMPLE_KUBE"));
        assert_eq!(variable("kube-cache").as_deref(), Some("EXAMPLE_KUBE_CACHE"));
        assert_eq!(variable("kubeconfig").as_deref(), Some("KUBECONFIG"));
        assert_eq!(variable("other"), None);
    }

    #[test]
    fn several_kubeconfigs_are_a_list() {
        let arguments = ["example", "--kube", "--kubeconfig", "/a:/b", "--kube-cache", "/var/lib/ambit/mesh"];
        let source = settings::parse::<Example>(arguments).unwrap().source;
        assert_eq!(source.kubeconfig, [Path::new("/a"), Path::new("/b")]);
        assert_eq!((source.kube, source.kube_cache.as_deref()), (true, Some(Path::new("/var/lib/ambit/mesh"))));
    }
}
