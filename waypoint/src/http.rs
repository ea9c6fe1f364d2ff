//! Requests: from the bytes of a client's connection to those of an endpoint's and back. `life` is where to begin.

mod answer;
mod body;
mod ending;
mod forward;
mod grpc;
mod head;
mod life;
mod mirror;
mod serve;
mod upgrade;

pub(crate) use answer::Answer as LocalAnswer;
pub(crate) use body::RequestBody;
pub(crate) use ending::Broken;
pub(crate) use grpc::Messages;
pub(crate) use head::{Asked, FieldsOf, ForwardedFor, forwarded_from, is_grpc};
pub(crate) use serve::{IDLE, Version, serve};
