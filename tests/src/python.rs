//! Implementations that are not ours, from PyPI: installed on demand below `target/`, where runs after the first find
//! them. It knows nothing of what they are for.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};

/// The interpreter of the environment `name`, in which `requirements` (as pip takes them) are installed.
///
/// # Errors
/// When there is no Python with `venv`, or what is required cannot be had.
pub fn ensure_installed(name: &str, requirements: &[&str]) -> anyhow::Result<PathBuf> {
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target");
    let venv = target.join(format!("{name}-venv"));
    // Tests run in processes of their own: one installs, the others wait.
    fs::create_dir_all(&target)?;
    let lock = File::create(target.join(format!("{name}-venv.lock")))?;
    lock.lock()?;
    let (python, stamp) = (venv.join("bin/python"), venv.join("requirements.txt"));
    let wanted = requirements.join("\n");
    // Written last: what was interrupted is done again.
    if fs::read_to_string(&stamp).is_ok_and(|installed| installed == wanted) {
        return Ok(python);
    }
    run(Command::new("python3").args(["-m", "venv"]).arg(&venv))?;
    run(Command::new(&python).args(["-m", "pip", "install", "--quiet"]).args(requirements))?;
    fs::write(&stamp, wanted)?;
    Ok(python)
}

/// Runs `command` to its end: what it printed.
///
/// # Errors
/// When it cannot be started or fails; the message has what it said.
pub fn run(command: &mut Command) -> anyhow::Result<String> {
    let output = command.output().with_context(|| format!("{command:?}"))?;
    ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
