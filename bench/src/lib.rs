//! What measures musher from outside: clients that count every lost request, and readings of `/proc`.
//!
//! Nothing here uses the product's code, so a fault of the product cannot hide itself. The end-to-end tests and the
//! `musher-bench` program stand on it.

pub mod load;
pub mod proc_fs;
pub mod wait;
