//! The daemon of musher.

pub mod control;
