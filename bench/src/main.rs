//! The figures of musher against PM2.
fn main() {}
