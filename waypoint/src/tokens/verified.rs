//! Tokens whose signatures were verified, so that each is once. How many are remembered is bounded; those that are asked for
//! stay. Knows tokens by their fingerprints alone.

use std::collections::HashMap;
use std::sync::Arc;

use ambit_identity::jose::{Keys, Token};

/// So many are remembered of late, and as many from before.
const MOST: usize = 1024;

/// A token, and the keys that it was verified by. By any others it has to be verified again.
type Proved = (Arc<Token>, Arc<Keys>);

/// Tokens whose signatures were verified.
#[derive(Default)]
pub(crate) struct Verified {
    late: HashMap<[u8; 32], Proved>,
    before: HashMap<[u8; 32], Proved>,
}

impl Verified {
    /// The token that goes by `fingerprint`, if it was verified.
    pub(super) fn find(&mut self, fingerprint: &[u8; 32]) -> Option<Proved> {
        if let Some(proved) = self.late.get(fingerprint) {
            return Some(proved.clone());
        }
        let proved = self.before.remove(fingerprint)?;
        self.put(*fingerprint, proved.clone());
        Some(proved)
    }

    /// Remembers a token.
    pub(super) fn put(&mut self, fingerprint: [u8; 32], proved: Proved) {
        if self.late.len() >= MOST {
            self.before = std::mem::take(&mut self.late);
        }
        self.late.insert(fingerprint, proved);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_stays_and_what_is_not_goes() {
        // {"alg":"RS256"}.{}
        let token = Arc::new(Token::parse("eyJhbGciOiJSUzI1NiJ9.e30.AA").unwrap());
        let keys = br#"{"keys":[{"kty":"OKP","crv":"Ed25519","x":"AA"}]}"#;
        let keys = Arc::new(Keys::parse(keys).unwrap());
        let name = |number: usize| {
            let mut name = [0; 32];
            name[..8].copy_from_slice(&number.to_be_bytes());
            name
        };
        let mut verified = Verified::default();
        for number in 0..5 * MOST {
            verified.put(name(number), (token.clone(), keys.clone()));
            assert!(verified.find(&name(0)).is_some(), "{number}");
            assert!(verified.late.len() + verified.before.len() <= 2 * MOST);
        }
        assert!(verified.find(&name(1)).is_none());
        assert!(verified.find(&name(5 * MOST - 1)).is_some());
    }
}
