//! The harness of the end-to-end tests, the demo and the benchmark: nodes and pods made of network namespaces, real
//! processes in them, a capture on the link between the nodes, manifests, and the mesh under test. It knows the mesh
//! only as its users do: by its command line, its files, its ports and its log.
#![forbid(unsafe_code)]

pub mod access_log;
pub mod binaries;
pub mod cluster;
pub mod controller;
pub mod digest;
pub mod http;
pub mod image;
pub mod ip;
pub mod leftovers;
pub mod manifests;
pub mod mesh;
pub mod metrics;
pub mod netns;
pub mod payload;
pub mod place;
pub mod process;
pub mod python;
pub mod topology;
pub mod until;
pub mod waypoint;
pub mod wire;
pub mod yaml;

pub use access_log::AccessLog;
pub use binaries::Binaries;
pub use cluster::Cluster;
pub use controller::Controller;
pub use manifests::Manifests;
pub use mesh::{Agent, Mesh, MeshOptions};
pub use metrics::{Metrics, Sample};
pub use netns::Netns;
pub use place::Place;
pub use process::Process;
pub use topology::{Node, Pod, Topology};
pub use until::until;
pub use waypoint::Waypoint;
pub use wire::Wire;
