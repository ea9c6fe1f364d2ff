//! The static token file: whose each token is, a line each as kube-apiserver's `--token-auth-file` has them:
//! `TOKEN,system:node:NAME` or `TOKEN,system:serviceaccount:NAMESPACE:NAME`; what follows a second comma is not read.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use ambit_model::{Identity, TrustDomain};

use crate::caller::{Authenticate, Caller};
use crate::error::{Error, Refusal};

/// Shorter ones can be guessed.
const SHORTEST: usize = 16;

/// Whose each token is.
#[derive(Default)]
pub struct Tokens(Vec<(Vec<u8>, Caller)>);

impl Tokens {
    /// Reads the file `path`; service accounts are those of `trust_domain`.
    ///
    /// # Errors
    /// [`Error::TokenFileIo`], [`Error::TokenFileExposed`] if group or others can access it,
    /// [`Error::TokenFileDamaged`] with the line.
    pub fn open(path: &Path, trust_domain: &TrustDomain) -> Result<Self, Error> {
        let unread = |source| Error::TokenFileIo { path: path.to_owned(), source };
        let mut file = File::open(path).map_err(unread)?;
        let mode = file.metadata().map_err(unread)?.permissions().mode() & 0o7777;
        if mode & 0o077 != 0 {
            return Err(Error::TokenFileExposed { path: path.to_owned(), mode });
        }
        let mut text = String::new();
        file.read_to_string(&mut text).map_err(unread)?;
        Self::read(&text, trust_domain).map_err(|(line, cause)| Error::TokenFileDamaged {
            path: path.to_owned(),
            line,
            cause,
        })
    }

    /// An error has the line and what is wrong with it.
    fn read(text: &str, trust_domain: &TrustDomain) -> Result<Self, (usize, String)> {
        let mut tokens: Vec<(Vec<u8>, Caller)> = Vec::new();
        let lines = (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty() && !line.starts_with('#'));
        for (number, line) in lines {
            let entry = entry(line, trust_domain).map_err(|cause| (number, cause))?;
            if tokens.iter().any(|(token, _)| *token == entry.0) {
                return Err((number, "its token is another line's as well".to_owned()));
            }
            tokens.push(entry);
        }
        Ok(Self(tokens))
    }
}

fn entry(line: &str, trust_domain: &TrustDomain) -> Result<(Vec<u8>, Caller), String> {
    let mut columns = line.split(',').map(str::trim);
    let (token, user) = (columns.next().unwrap_or_default(), columns.next().unwrap_or_default());
    if token.len() < SHORTEST {
        return Err(format!("its token is shorter than {SHORTEST} characters"));
    }
    let caller = match user.split(':').collect::<Vec<_>>()[..] {
        ["system", "node", node] if !node.is_empty() => Caller::Node(node.into()),
        ["system", "serviceaccount", namespace, name] if !namespace.is_empty() && !name.is_empty() => {
            Caller::Workload(Identity::new(trust_domain.clone(), namespace, name))
        }
        _ => {
            let forms = "system:node:NAME or system:serviceaccount:NAMESPACE:NAME";
            return Err(format!("{user:?} is none of {forms}"));
        }
    };
    Ok((token.as_bytes().to_vec(), caller))
}

impl Authenticate for Tokens {
    async fn authenticate(&self, token: &str) -> Result<Caller, Refusal> {
        // Every token is compared to its end, so that the time taken says nothing.
        let mut found = None;
        for (known, caller) in &self.0 {
            if same(known, token.as_bytes()) {
                found = Some(caller.clone());
            }
        }
        found.ok_or_else(|| Refusal::Unauthenticated("no such token".to_owned()))
    }
}

fn same(known: &[u8], given: &[u8]) -> bool {
    let differences = known.iter().zip(given).fold(0, |differences, (one, other)| differences | (one ^ other));
    known.len() == given.len() && differences == 0
}

/// How many there are, never which.
impl std::fmt::Debug for Tokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tokens").field("callers", &self.0.iter().map(|(_, caller)| caller).collect::<Vec<_>>()).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn read(text: &str) -> Result<Tokens, (usize, String)> {
        Tokens::read(text, &"cluster.local".parse().unwrap())
    }

    #[tokio::test]
    async fn a_token_is_its_lines_callers_and_nobody_elses() {
        let text =
            "# nodes\n0123456789abcdef,system:node:a,uid-1\n\nfedcba9876543210,system:serviceaccount:shop:waypoint\n";
        let tokens = read(text).unwrap();
        assert_eq!(tokens.authenticate("0123456789abcdef").await, Ok(Caller::Node("a".into())));
        let waypoint = "spiffe://cluster.local/ns/shop/sa/waypoint".parse().unwrap();
        assert_eq!(tokens.authenticate("fedcba9876543210").await, Ok(Caller::Workload(waypoint)));
        for other in ["", "0123456789abcde", "0123456789abcdef0", "0123456789abcdeF", "# nodes"] {
            let refusal = tokens.authenticate(other).await.unwrap_err();
            assert_eq!(refusal, Refusal::Unauthenticated("no such token".to_owned()), "{other}");
        }
        assert!(!format!("{tokens:?}").contains("0123456789"));
    }

    #[test]
    fn a_bad_line_is_named_and_its_token_is_not() {
        for (text, line, said) in [
            ("short,system:node:a", 1, "shorter than 16"),
            ("\n0123456789abcdef", 2, "is none of"),
            ("0123456789abcdef,system:node:", 1, "is none of"),
            ("0123456789abcdef,admin", 1, "\"admin\" is none of"),
            ("0123456789abcdef,system:node:a\n0123456789abcdef,system:node:b", 2, "another line's"),
        ] {
            let (at, cause) = read(text).unwrap_err();
            assert!(at == line && cause.contains(said) && !cause.contains("0123456789"), "{text}: {at} {cause}");
        }
    }

    #[test]
    fn a_file_that_others_can_read_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("tokens");
        fs::write(&path, "0123456789abcdef,system:node:a").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let domain = "cluster.local".parse().unwrap();
        assert!(Tokens::open(&path, &domain).unwrap_err().to_string().contains("chmod 600"));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        assert_eq!(Tokens::open(&path, &domain).unwrap().0.len(), 1);
    }
}
