//! The only `unsafe` code of musher: system calls without a safe wrapper elsewhere.
//!
//! Each function here is safe to call. What it needs to be sound is checked or guaranteed by its types.

pub(crate) mod bpf;
pub(crate) mod child;
pub(crate) mod clone;
pub(crate) mod credentials;
pub(crate) mod inherit;
pub(crate) mod memory;
pub(crate) mod net;
pub(crate) mod pidfd;
pub(crate) mod raw;
#[cfg(feature = "tokio")]
pub(crate) mod reactor;
pub(crate) mod wait;
