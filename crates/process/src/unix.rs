//! Sockets that are named by a path. Knows nothing of what is said there.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;

use tokio::net::UnixListener;

/// Listens at `path`, in the place of whoever did: whoever connects meets one or the other, and never nobody. Only the user
/// that this process runs as (and root) can connect. Makes the directory if there is none.
///
/// # Errors
/// The system's: the directory cannot be made or written, or the name is too long for a socket's (some hundred bytes).
pub fn listen(path: &Path) -> io::Result<UnixListener> {
    if let Some(directory) = path.parent() {
        fs::DirBuilder::new().recursive(true).mode(0o755).create(directory)?;
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let staged = path.with_file_name(format!(".{name}.{}.new", std::process::id()));
    let _ = fs::remove_file(&staged);
    let listener = UnixListener::bind(&staged)?;
    fs::set_permissions(&staged, fs::Permissions::from_mode(0o600))?;
    fs::rename(staged, path)?;
    Ok(listener)
}
