//! Tests of looking at a directory.
