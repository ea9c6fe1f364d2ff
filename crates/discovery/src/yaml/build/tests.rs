//! Tests of the tree and its bounds.
