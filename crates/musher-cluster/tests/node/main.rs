//! Unmodified Node programs as workers of the cluster thread. Needs `node` on the PATH; more versions are tried when
//! `MUSHER_TEST_NODES` names their executables, separated by colons.

mod crash;
mod drain;
mod hostile;
mod listen;
mod messages;
mod successor;
mod team;
mod versions;
