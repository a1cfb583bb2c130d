//! `musher openapi`, `completions`, `man`: documents made from the program itself.

use std::io::Write;
use std::path::Path;

use clap::CommandFactory;

use crate::args::{Cli, CompletionsArgs, ManArgs};
use crate::failure::Failure;
use crate::output::note;

/// `musher openapi`
pub(crate) fn openapi() -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(&musher_api::openapi()).map_err(std::io::Error::from)?;
    let mut out = std::io::stdout().lock();
    writeln!(out, "{text}")?;
    out.flush()?;
    Ok(())
}

/// `musher completions`
pub(crate) fn completions(args: &CompletionsArgs) -> Result<(), Failure> {
    // The generator panics when it cannot write, so it writes into memory.
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "musher", &mut text);
    let mut out = std::io::stdout().lock();
    out.write_all(&text)?;
    out.flush()?;
    Ok(())
}

/// `musher man`
pub(crate) fn man(args: &ManArgs) -> Result<(), Failure> {
    let Some(directory) = &args.directory else {
        let mut out = std::io::stdout().lock();
        clap_mangen::Man::new(Cli::command()).render(&mut out)?;
        out.flush()?;
        return Ok(());
    };
    let directory = Path::new(directory);
    std::fs::create_dir_all(directory)
        .and_then(|()| clap_mangen::generate_to(Cli::command(), directory))
        .map_err(|error| Failure::environment(format!("{}: {error}", directory.display())))?;
    note(&format!("wrote the manual pages into {}", directory.display()));
    Ok(())
}
