//! `cargo xtask chaos`: builds the team and what it is put through, and runs it.

use crate::needs;
use crate::run::{Run, Task, target};

pub(crate) fn chaos(words: &[String]) -> Task {
    let release = words.iter().any(|word| word == "--release");
    let profile: &[&str] = if release { &["--release"] } else { &[] };
    let words: Vec<&String> = words.iter().filter(|word| *word != "--release").collect();
    needs::install()?;
    Run::cargo(["build", "-p", "musher", "-p", "musher-chaos", "-p", "team-hyper"])
        .args(profile.iter().copied())
        .go()?;
    let directory = target().join(if release { "release" } else { "debug" });
    Run::new(directory.join("musher-chaos")).args(words).go()
}
