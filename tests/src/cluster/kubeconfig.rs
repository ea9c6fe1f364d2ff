//! Kubeconfigs with everything in them, so that they can be copied to where they are used.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use super::certificates::{Authority, Credential};

/// Writes a kubeconfig to `path`: to the API server at `server`, as whom `credential` is for.
pub(crate) fn write(
    path: &Path,
    server: SocketAddr,
    authority: &Authority,
    credential: &Credential,
) -> anyhow::Result<PathBuf> {
    let encode = |pem: &str| STANDARD.encode(pem);
    let cluster = json!({
        "server": format!("https://{server}"),
        "certificate-authority-data": encode(authority.certificate()),
    });
    let user = json!({
        "client-certificate-data": encode(&credential.certificate),
        "client-key-data": encode(&credential.key),
    });
    let kubeconfig = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "ambit", "cluster": cluster}],
        "users": [{"name": "ambit", "user": user}],
        "contexts": [{"name": "ambit", "context": {"cluster": "ambit", "user": "ambit"}}],
        "current-context": "ambit",
    });
    fs::write(path, serde_json::to_vec_pretty(&kubeconfig)?)?;
    Ok(path.to_owned())
}
