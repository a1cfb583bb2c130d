//! Unmodified Node programs as workers of the cluster thread. Needs `node` on the PATH; more versions are tried when
//! `MUSHER_TEST_NODES` names their executables, separated by colons.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test ends at what it does not expect")]

mod crash;
mod drain;
mod hostile;
mod listen;
mod messages;
mod orphan;
mod policies;
mod successor;
mod team;
mod uncaught;
mod versions;
mod vitals;
mod websocket;
