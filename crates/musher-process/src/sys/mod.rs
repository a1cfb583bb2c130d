//! The only `unsafe` code of musher: system calls without a safe wrapper elsewhere.
//!
//! Each function here is safe to call. What it needs to be sound is checked or guaranteed by its types.

pub(crate) mod pidfd;
