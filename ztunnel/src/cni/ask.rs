//! What plugin and agent say to one another over the agent's socket: one question and one answer, each a line of JSON.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ambit_model::PodUid;
use serde::{Deserialize, Serialize};

/// The longest line that is read.
pub(super) const LONGEST: u64 = 64 << 10;

/// What the plugin asks of the agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ask {
    /// What is done with the pod.
    pub(crate) about: About,
    /// Its namespace.
    pub(crate) namespace: String,
    /// Its name.
    pub(crate) name: String,
    /// `metadata.uid`, which tells it from the one of its name before it; none from runtimes that do not say.
    #[serde(with = "as_text")]
    pub(crate) uid: Option<PodUid>,
    /// The container that holds its network, as the runtime calls it.
    pub(crate) container: String,
    /// Where its network namespace is found on the node; none once it is gone.
    pub(crate) netns: Option<PathBuf>,
}

/// What is done with a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum About {
    /// It is being made: nothing of it runs until the answer.
    Add,
    /// Whether it is still as it should be.
    Check,
    /// It is gone.
    Del,
}

/// What the agent answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Reply {
    /// It is captured.
    Captured,
    /// It is not in the mesh, or gone: nothing is to be done.
    Outside,
    /// It is in the mesh and not captured, for this reason, which may pass.
    Waits(String),
}

mod as_text {
    use ambit_model::PodUid;
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<S: Serializer>(uid: &Option<PodUid>, to: S) -> Result<S::Ok, S::Error> {
        uid.as_ref().map(ToString::to_string).serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<PodUid>, D::Error> {
        let text = Option::<String>::deserialize(from)?;
        text.map(|uid| uid.parse().map_err(D::Error::custom)).transpose()
    }
}

impl Ask {
    /// Asks the agent at `socket`, for at most `patience`.
    ///
    /// # Errors
    /// Nobody listens there, or it says nothing that is understood.
    pub(super) fn put(&self, socket: &Path, patience: Duration) -> io::Result<Reply> {
        let mut stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(patience))?;
        stream.set_write_timeout(Some(patience))?;
        let mut line = serde_json::to_vec(self)?;
        line.push(b'\n');
        stream.write_all(&line)?;
        let mut answer = String::new();
        BufReader::new(stream.take(LONGEST)).read_line(&mut answer)?;
        if answer.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        serde_json::from_str(&answer).map_err(io::Error::from)
    }
}
