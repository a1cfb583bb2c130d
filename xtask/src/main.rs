//! The project's tasks. `cargo xtask` alone lists them; each is a module.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "tasks talk to a person")]

mod chaos;
mod demo;
mod needs;
mod run;
mod test;

use std::process::ExitCode;

use run::{Run, Task};

/// A task: its word, what follows the word, what it does.
struct Entry {
    word: &'static str,
    arguments: &'static str,
    about: &'static str,
    action: fn(&[String]) -> Task,
}

const TASKS: &[Entry] = &[
    Entry {
        word: "demo",
        arguments: "[--rust] [--keep]",
        about: "Build musher, run the example team, kill and reload it under load, print what was lost (nothing)",
        action: demo::demo,
    },
    Entry {
        word: "test",
        arguments: "[--only lint|unit|sim|integration|e2e|examples|chaos]... [-- FILTER...]",
        about: "Install what tests need; format, lints, unit, simulation, integration and end-to-end tests, examples of pages, a short chaos",
        action: test::test,
    },
    Entry {
        word: "chaos",
        arguments: "[--minutes N] [--seed S] [--faults A,B] [--musher PATH] [--release]",
        about: "Kill, stop, reload, fill and flood a team under load by a seeded schedule; count the fate of every request",
        action: chaos::chaos,
    },
    Entry {
        word: "bench",
        arguments: "[--quick] [--only CONTENDER] [--json FILE]",
        about: "Measure musher against PM2, Node's own cluster and gunicorn, in the same run",
        action: bench,
    },
    Entry {
        word: "docs",
        arguments: "",
        about: "Write the pages of docs/reference that are made from the code",
        action: docs,
    },
    Entry { word: "fmt", arguments: "", about: "Format the code", action: fmt },
    Entry {
        word: "lint",
        arguments: "",
        about: "Check the format, then clippy with warnings as errors",
        action: |_| test::lint(),
    },
];

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let Some((word, rest)) = words.split_first() else {
        list();
        return ExitCode::SUCCESS;
    };
    let Some(task) = TASKS.iter().find(|task| task.word == word) else {
        eprintln!("cargo xtask: there is no task {word:?}\n");
        list();
        return ExitCode::from(2);
    };
    match (task.action)(rest) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("\ncargo xtask {word}: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn list() {
    println!("Tasks:");
    for task in TASKS {
        println!("  cargo xtask {} {}", task.word, task.arguments);
        println!("      {}", task.about);
    }
}

fn bench(words: &[String]) -> Task {
    Run::cargo(["build", "--release", "-p", "musher"]).go()?;
    // By themselves, so that the daemon has no more features than when it is installed.
    let examples = ["--bin", "cluster-primary", "--bin", "cluster-axum"];
    Run::cargo(["build", "--release", "-p", "cluster-rust"]).args(examples).go()?;
    Run::cargo(["build", "--release", "-p", "musher-process", "--example", "channel_rate"]).go()?;
    Run::cargo(["run", "--release", "-p", "musher-bench", "--", "all"]).args(words).go()
}

/// A test compares these pages with what the code says, and writes them when it is asked to.
fn docs(_: &[String]) -> Task {
    Run::cargo(["test", "--quiet", "-p", "musher", "--bin", "musher", "reference"]).env("MUSHER_WRITE_DOCS", "1").go()
}

fn fmt(_: &[String]) -> Task {
    Run::cargo(["fmt", "--all"]).go()
}
