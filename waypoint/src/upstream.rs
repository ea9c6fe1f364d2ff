//! Where requests and connections are carried to: endpoints, which of them is next, how many at once, and the
//! connections to them.
