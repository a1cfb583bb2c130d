//! The demonstration: a team of workers answers while its workers are replaced and everything that can be killed is
//! killed. It drives the `musher` executable from outside, as a user would, and counts with clients that know nothing of it.
//!
//! `musher-demo node|rust [--keep]`; `cargo xtask demo` builds and calls it.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "it talks to a person")]

mod scene;
mod team;

use std::process::ExitCode;

use scene::{SCENES, Shown};
use team::{Kind, Team};

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let kind = if words.iter().any(|word| word == "rust") { Kind::Rust } else { Kind::Node };
    let keep = words.iter().any(|word| word == "--keep");
    match show(kind, keep) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("\nthe demonstration failed: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The whole demonstration; how many requests were lost.
fn show(kind: Kind, keep: bool) -> anyhow::Result<usize> {
    println!("\n1. A team starts");
    let mut team = Team::start(kind)?;
    println!("\n2. Who answers on port {}?", team.port);
    for (worker, answers) in team.who_answers(200)? {
        println!("   worker {worker}: {answers} of 200 new connections");
    }
    println!("\n3. Under load ({} new connections a second, {} kept ones)", scene::FRESH_PER_SECOND, scene::KEPT);
    let mut rows = Vec::new();
    for scene in SCENES {
        println!("   {} ...", scene.title);
        rows.push(scene::play(scene, &mut team)?);
    }
    println!();
    let lost = table(&rows);
    team.list()?;
    if keep {
        team.keep();
    } else {
        team.end()?;
    }
    how_to_go_on(&team, keep);
    Ok(lost)
}

/// Prints what became of the requests; how many were lost.
fn table(rows: &[Shown]) -> usize {
    let width = rows.iter().map(|row| row.title.len()).max().unwrap_or(0);
    println!("   {:width$}  {:>7}  {:>8}  {:>4}  {:>4}  {:>9}", "", "sent", "answered", "held", "lost", "longest");
    for row in rows {
        println!(
            "   {:width$}  {:>7}  {:>8}  {:>4}  {:>4}  {:>6} ms   {}",
            row.title,
            row.sent,
            row.answered,
            row.held,
            row.lost,
            row.longest.as_millis(),
            row.what
        );
    }
    println!("\n   held: accepted by the very process that was killed; nobody else can answer those.");
    let lost = rows.iter().map(|row| row.lost).sum();
    match lost {
        0 => println!("   Lost: nothing.\n"),
        lost => println!("   LOST: {lost} requests. That is a bug of musher.\n"),
    }
    lost
}

fn how_to_go_on(team: &Team, keep: bool) {
    // As short as one would type it.
    let here = std::env::current_dir().unwrap_or_default();
    let musher = team.executable.strip_prefix(here).unwrap_or(&team.executable).display();
    if keep {
        println!("The team still runs in a home of its own:");
        println!("  export MUSHER_HOME={}", team.home().display());
        println!("  {musher} list        {musher} logs        {musher} kill");
    }
    println!("\nGo on with your own program:");
    println!("  {musher} start server.js -i max --name web   # a Node server on every core");
    println!("  {musher} start examples/team/team.toml       # several apps from a file");
    println!("  {musher} list        {musher} logs web       {musher} reload web");
    println!("docs/guide/start.md tells the rest.");
}
