//! `musher convert`

use std::io::Write;

use crate::args::ConvertArgs;
use crate::config::{self, Flags, Overrides, Surroundings};
use crate::failure::Failure;
use crate::output::{note, sanitize};

/// Prints PM2's process file as a musher.toml; tells what is not the same.
pub(crate) fn run(args: &ConvertArgs) -> Result<(), Failure> {
    let around = Surroundings::current()
        .map_err(|error| Failure::environment(format!("the working directory cannot be used: {error}")))?;
    let flags = Flags { env: args.env.clone().into_iter().collect(), ..Flags::default() };
    let overrides = Overrides { flags, ..Overrides::default() };
    let (toml, notes) = config::convert(&args.file, &overrides, &around)?;
    for told in notes {
        note(&sanitize(&told));
    }
    let mut out = std::io::stdout().lock();
    out.write_all(toml.as_bytes())?;
    out.flush()?;
    Ok(())
}
