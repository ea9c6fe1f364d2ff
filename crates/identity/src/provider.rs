//! The one choice of cryptography: aws-lc-rs, TLS 1.3 and nothing older, two cipher suites, three key exchanges. Servers and
//! clients that are not of the mesh are offered more, since nobody here chose what they speak.

use std::sync::{Arc, LazyLock};

use rustls::SupportedProtocolVersion;
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{cipher_suite, default_provider, kx_group};

/// The protocol versions spoken, by both sides.
pub static VERSIONS: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13];

/// What handshakes are made of, most preferred first. AES-128-GCM goes before AES-256-GCM as the cheaper of two that
/// nobody can break; X25519MLKEM768 resists quantum computers where the peer has it too.
#[must_use]
pub fn provider() -> &'static Arc<CryptoProvider> {
    static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| {
        Arc::new(CryptoProvider {
            cipher_suites: vec![cipher_suite::TLS13_AES_128_GCM_SHA256, cipher_suite::TLS13_AES_256_GCM_SHA384],
            kx_groups: vec![kx_group::X25519MLKEM768, kx_group::X25519, kx_group::SECP256R1],
            ..default_provider()
        })
    });
    &PROVIDER
}

/// The same for servers and clients that are not of the mesh: all that is still sound, of TLS 1.2 as well.
#[must_use]
pub fn foreign_provider() -> &'static Arc<CryptoProvider> {
    static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| Arc::new(default_provider()));
    &PROVIDER
}

#[cfg(test)]
mod tests {
    use rustls::{CipherSuite, NamedGroup, ProtocolVersion};

    use super::*;

    #[test]
    fn the_suites_key_exchanges_and_versions_are_exactly_these() {
        let suites: Vec<_> = provider().cipher_suites.iter().map(|suite| suite.suite()).collect();
        assert_eq!(suites, [CipherSuite::TLS13_AES_128_GCM_SHA256, CipherSuite::TLS13_AES_256_GCM_SHA384]);
        let groups: Vec<_> = provider().kx_groups.iter().map(|group| group.name()).collect();
        assert_eq!(groups, [NamedGroup::X25519MLKEM768, NamedGroup::X25519, NamedGroup::secp256r1]);
        let versions: Vec<_> = VERSIONS.iter().map(|supported| supported.version).collect();
        assert_eq!(versions, [ProtocolVersion::TLSv1_3]);
    }
}
