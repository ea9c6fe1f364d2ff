//! The DNS server of captured pods: answers the names that the mesh knows, and passes every other query on to the server
//! that the application asked, and its answer back, as they are. It knows neither workers nor how queries come here.

pub(crate) mod datagram;
mod message;
mod resolver;
pub(crate) mod stream;

pub(crate) use resolver::Resolver;
