//! musher under systemd: the unit ([`unit`]), the process that stands for it ([`attendant`]), and the questions to
//! systemd itself ([`systemctl`]).
//!
//! Why a process of its own stands for the unit: docs/design/systemd.md.

pub(crate) mod args;
pub(crate) mod attendant;
mod daemon;
pub(crate) mod systemctl;
pub(crate) mod unit;
