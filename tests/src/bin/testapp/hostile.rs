//! An HBONE peer that shares no code with the mesh: well-behaved, or with one defect of its certificate, its TLS or its
//! HTTP/2. It says what it sees of being refused.

mod client;
mod face;
mod server;

use serde::Serialize;

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    role: Role,
}

#[derive(clap::Subcommand)]
enum Role {
    /// Asks for one stream, sends a few bytes on it and expects them back.
    Client(client::Args),
    /// Takes streams and sends back what it receives on them.
    Server(server::Args),
}

pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    match args.role {
        Role::Client(args) => client::run(args).await,
        Role::Server(args) => server::run(args).await,
    }
}

/// How a connection failed.
#[derive(Debug, Default, Serialize)]
struct Refused {
    /// The TLS alert that the other side sent, such as `UnknownCA`.
    alert: Option<String>,
    /// What else was seen.
    error: Option<String>,
}

impl From<&std::io::Error> for Refused {
    fn from(error: &std::io::Error) -> Self {
        let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
        match tls {
            Some(rustls::Error::AlertReceived(alert)) => Self { alert: Some(format!("{alert:?}")), error: None },
            _ => Self { alert: None, error: Some(crate::failure::name(error)) },
        }
    }
}
