//! The CA in force: opened from its directory and put into its place at the desk and in the server's own certificate,
//! again when its files change and before that certificate runs out. What cannot be used changes nothing.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use ambit_ca::{Authenticate, Desk, Tokens};
use ambit_identity::authority::FILES;
use ambit_identity::{Authority, channel};
use ambit_process::files::Files;
use tracing::{error, info, warn};

use crate::settings::Settings;

/// The files to be followed, as they were before they were read.
pub(crate) struct Watched {
    /// The CA's.
    pub(crate) authority: Files,
    /// The tokens'.
    pub(crate) tokens: Files,
}

impl Watched {
    /// Looks at them.
    pub(crate) fn new(settings: &Settings) -> Self {
        let paths: Vec<PathBuf> = FILES.iter().map(|name| settings.ca_dir.join(name)).collect();
        let authority = Files::new(paths.iter().map(PathBuf::as_path));
        Self { authority, tokens: Files::new([settings.tokens.as_path()]) }
    }
}

/// Opens the CA, making it on first start, and has the server certified by it.
///
/// # Errors
/// What is wrong with the directory or the server's names.
pub(crate) fn open(settings: &Settings, server: &channel::Server) -> anyhow::Result<Authority> {
    let now = SystemTime::now();
    let authority = Authority::open_or_create_directory(&settings.ca_dir, &settings.trust_domain, now)?;
    server.certify(&authority, &settings.server_names, settings.certificate_ttl, now)?;
    info!(directory = %settings.ca_dir.display(), ?authority, "CA in force");
    Ok(authority)
}

/// Keeps the CA in force what its directory says, and the server's certificate valid.
pub(crate) async fn follow<A: Authenticate>(
    settings: Settings,
    mut files: Files,
    server: channel::Server,
    desk: Arc<Desk<A>>,
) {
    loop {
        tokio::select! {
            () = files.changed() => {}
            () = tokio::time::sleep(settings.certificate_ttl / 2) => {}
        }
        let now = SystemTime::now();
        let opened = match Authority::open_directory(&settings.ca_dir, &settings.trust_domain, now) {
            Ok(authority) => Some(authority),
            Err(cause) => {
                warn!("the CA stays as it is: {cause}");
                None
            }
        };
        // The server's own certificate is renewed by whoever is in force.
        let in_force = opened.map_or_else(|| desk.authority(), Arc::new);
        match server.certify(&in_force, &settings.server_names, settings.certificate_ttl, now) {
            Ok(()) => {
                info!(authority = ?in_force, "CA in force");
                desk.replace_authority(in_force);
            }
            Err(cause) => error!("the CA stays as it is, the server cannot be certified by the new one: {cause}"),
        }
    }
}

/// Keeps whose tokens are whose what the file says.
pub(crate) async fn follow_tokens(settings: Settings, mut files: Files, desk: Arc<Desk<Tokens>>) {
    loop {
        files.changed().await;
        match Tokens::open(&settings.tokens, &settings.trust_domain) {
            Ok(tokens) => {
                info!(?tokens, "tokens read anew");
                desk.replace_authenticator(tokens);
            }
            Err(cause) => warn!("the tokens stay as they are: {cause}"),
        }
    }
}
