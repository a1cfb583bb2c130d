//! How long a child may run, how much it may say, and how what it says is read.

use std::time::Duration;

use super::Command;
use crate::child_process::encoding::Encoding;
use crate::child_process::signal::Signal;

impl Command {
    /// What the child reads as its standard input, for [`output`](Command::output).
    pub fn input(mut self, bytes: impl Into<Vec<u8>>) -> Command {
        self.collect.input = Some(bytes.into());
        self
    }

    /// Sends the [kill signal](Command::kill_signal) when the child has run for so long. [`output`](Command::output) then
    /// waits for nobody else who holds its outputs.
    pub fn timeout(mut self, limit: Duration) -> Command {
        self.timeout = Some(limit);
        self
    }

    /// The signal of [`timeout`](Command::timeout) and [`max_buffer`](Command::max_buffer): SIGTERM if nothing is said.
    pub fn kill_signal(mut self, signal: Signal) -> Command {
        self.collect.kill_signal = signal;
        self
    }

    /// Sends the [kill signal](Command::kill_signal) when the [`Child`] is dropped while it runs. Without it the child
    /// goes on.
    pub fn kill_on_drop(mut self, kill: bool) -> Command {
        self.kill_on_drop = kill;
        self
    }

    /// For [`output`](Command::output): the most bytes of standard output, and of standard error. A child that says more
    /// is killed, and what it said is cut: bytes after so many bytes, [text](super::Output::stdout_text) after so many
    /// characters. 1 MiB if nothing is said; `usize::MAX` for no limit.
    pub fn max_buffer(mut self, bytes: usize) -> Command {
        self.collect.max_buffer = bytes;
        self
    }

    /// For [`output`](Command::output): how its texts are read. UTF-8 if nothing is said; the bytes are there as well.
    pub fn encoding(mut self, encoding: Encoding) -> Command {
        self.collect.encoding = encoding;
        self
    }
}
