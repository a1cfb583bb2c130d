//! Unmodified Node programs as workers of the cluster thread. Needs `node` on the PATH.

mod listen;
mod team;
