//! Where the configuration comes from, as the settings have it.

use std::path::PathBuf;
use std::time::Duration;

use crate::error::Error;

/// Where the configuration comes from.
#[derive(Clone, Debug)]
pub enum Origin {
    /// A directory of Kubernetes YAML: its `*.yaml`, `*.yml` and `*.json`, folders included, hidden ones left out.
    Directory(PathBuf),
    /// A Kubernetes API.
    Cluster(Cluster),
}

impl From<PathBuf> for Origin {
    fn from(directory: PathBuf) -> Self {
        Self::Directory(directory)
    }
}

impl Origin {
    /// The one of the two that is given.
    ///
    /// # Errors
    /// Both are given, or neither.
    pub fn choose(directory: Option<PathBuf>, cluster: Option<Cluster>) -> Result<Self, Error> {
        match (directory, cluster) {
            (Some(directory), None) => Ok(Self::Directory(directory)),
            (None, Some(cluster)) => Ok(Self::Cluster(cluster)),
            (None, None) => Err(Error::NoOrigin),
            (Some(_), Some(_)) => Err(Error::TwoOrigins),
        }
    }
}

/// A Kubernetes API, and how it is followed.
#[derive(Clone, Debug, Default)]
pub struct Cluster {
    /// The files that say how it is reached and as whom, as `KUBECONFIG` lists them: of what several say, the first one's
    /// counts. Where there are none, it is the API of the cluster that the process runs in.
    pub kubeconfig: Vec<PathBuf>,
    /// The directory that keeps what was last in force for a start without the API; none keeps nothing.
    pub cache: Option<PathBuf>,
    /// How long what takes.
    pub pace: Pace,
}

impl Cluster {
    /// The API that the files of `kubeconfig` name, followed at the usual pace. Files without a name do not count.
    #[must_use]
    pub fn new(mut kubeconfig: Vec<PathBuf>, cache: Option<PathBuf>) -> Self {
        kubeconfig.retain(|path| !path.as_os_str().is_empty());
        Self { kubeconfig, cache, pace: Pace::default() }
    }
}

/// How long what takes with a Kubernetes API. Waits before asking again are random between half of what is said here and
/// all of it, so that agents which lost the API together do not come back together.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Before it is asked again for the first time after a failure; each further failure doubles it. Also the least time
    /// between the beginnings of two watches of a kind.
    pub first_retry: Duration,
    /// The longest wait after failures.
    pub longest_retry: Duration,
    /// Before all objects of a kind are listed anew because it no longer knows what changed since.
    pub relist: Duration,
    /// Before it is asked again for a kind that is not served, or that nobody may read.
    pub absent: Duration,
    /// For how long a kind has to be unserved until its objects count as gone.
    pub forget: Duration,
    /// For how long it may say nothing at all on a connection; it sends a bookmark every minute.
    pub silence: Duration,
    /// For how long a watch has to go well after a failure to count as mended.
    pub mended: Duration,
    /// For how long a start waits for it before what was kept is in force.
    pub patience: Duration,
    /// Between two writes of what is kept.
    pub keep: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            first_retry: Duration::from_millis(800),
            longest_retry: Duration::from_secs(30),
            relist: Duration::from_secs(3),
            absent: Duration::from_secs(30),
            forget: Duration::from_secs(300),
            silence: Duration::from_secs(100),
            mended: Duration::from_secs(5),
            patience: Duration::from_secs(2),
            keep: Duration::from_secs(10),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_origin_is_given_and_not_two() {
        let (directory, cluster) = (|| Some(PathBuf::from("/etc/mesh")), || Some(Cluster::default()));
        assert!(matches!(Origin::choose(directory(), None), Ok(Origin::Directory(_))));
        assert!(matches!(Origin::choose(None, cluster()), Ok(Origin::Cluster(_))));
        assert!(matches!(Origin::choose(None, None), Err(Error::NoOrigin)));
        assert!(matches!(Origin::choose(directory(), cluster()), Err(Error::TwoOrigins)));
    }
}
