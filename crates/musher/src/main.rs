//! The executable `musher`: every role that it plays, told by its first argument.

mod args;
mod config;
mod exit_codes;
mod failure;
mod import;
mod monit;
mod observed_reference;
mod output;
mod pm2;
#[cfg(test)]
mod reference;
mod roles;
mod session;
mod systemd;
mod verbs;
mod web;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser;

use crate::args::{Cli, Verb};
use crate::failure::Failure;

fn main() -> ExitCode {
    let words: Vec<OsString> = std::env::args_os().collect();
    // The daemon's own roles come first and know nothing of the command line's machinery: they live long.
    if let Some(role) = roles::of(&words) {
        return role.play();
    }
    if pm2::is_api(&words) {
        return pm2::serve_api();
    }
    if let Some(words) = pm2::words_of(&words) {
        return pm2::play(&words);
    }
    let words = pm2::development(&words).unwrap_or(words);
    let cli = match verbs::load::words_of(&words) {
        Some(cli) => cli,
        None => match Cli::try_parse_from(words) {
            Ok(cli) => cli,
            Err(refused) => return output::refused(&refused),
        },
    };
    match run(&cli) {
        Ok(()) => ExitCode::from(exit_codes::OK),
        Err(failure) => failure.tell(),
    }
}

/// One thread and no more: a command is short, and its start is what it costs.
fn run(cli: &Cli) -> Result<(), Failure> {
    // It asks no daemon, and its loop is its own.
    if let Verb::Load(args) = &cli.verb {
        return verbs::load::run(args);
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::environment(format!("cannot begin: {error}")))?;
    runtime.block_on(verbs::run(cli))
}
