//! What the fuzz targets feed: functions that must neither panic nor hang, whatever they are given. The tests of the
//! crates that they are about call them as well.

pub mod hbone;
pub mod identity;
pub mod requests;
pub mod translation;
