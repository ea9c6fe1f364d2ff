//! What the mesh's proxies share of the way between them: where certificates come from, how a peer is dialled, a
//! transport that ends when its peer is revoked, and why any of it failed. Knows nothing of what is carried.
#![forbid(unsafe_code)]

pub mod credentials;
pub mod dial;
pub mod failure;
pub mod secured;

pub use failure::Failure;
pub use secured::Secured;
