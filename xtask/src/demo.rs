//! `cargo xtask demo`: builds what the demonstration shows, and shows it.

use crate::run::{Run, Task, has, target};

pub(crate) fn demo(words: &[String]) -> Task {
    let node = has("node") && !words.iter().any(|word| word == "--rust");
    let mut build = vec!["build", "--release", "-p", "musher", "-p", "musher-demo"];
    if !node {
        build.extend(["-p", "team-rust"]);
    }
    Run::cargo([]).args(build).go()?;
    let release = target().join("release");
    let team = if node { "node" } else { "rust" };
    Run::new(release.join("musher-demo")).args([team]).args(words.iter().filter(|word| *word != "--rust")).go()
}
