//! What the kernel lets this process have open. Knows nothing of what it opens.

use std::io;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Raises the number of files and sockets that this process may have open as far as it may be raised without privilege,
/// and returns it. The usual soft limit, 1024, is kept low for the sake of programs that use `select`.
///
/// # Errors
/// When the kernel refuses; the limit then stays what it was.
pub fn raise_open_files() -> io::Result<u64> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if soft < hard {
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    }
    Ok(hard)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_soft_limit_becomes_the_hard_one() {
        let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        setrlimit(Resource::RLIMIT_NOFILE, hard.min(512), hard).unwrap();
        assert_eq!(raise_open_files().unwrap(), hard);
        assert_eq!(getrlimit(Resource::RLIMIT_NOFILE).unwrap(), (hard, hard));
    }
}
