//! The daemon of musher.

pub mod control;
pub mod home;
pub mod keeper;
pub mod link;
