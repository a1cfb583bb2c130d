//! `cargo xtask test`: every check that a change has to pass, in stages.
//!
//! All stages run even when one fails, so that one run tells everything. With cargo-nextest each test is a process of its
//! own; without it `cargo test` does the same more slowly.

use std::time::{Duration, Instant};

use crate::chaos;
use crate::needs;
use crate::run::{Run, Task, target};

/// One stage.
struct Stage {
    word: &'static str,
    about: &'static str,
    /// Which tests: nextest's filter, and cargo test's arguments.
    nextest: &'static str,
    cargo: &'static [&'static str],
}

const LINT: &str = "lint";
const INTEGRATION: &str = "integration";
const E2E: &str = "e2e";
const CHAOS: &str = "chaos";
const EXAMPLES: &str = "examples";
/// Long enough for every kind of fault to come.
const CHAOS_WORDS: [&str; 4] = ["--seconds", "45", "--seed", "13"];

const STAGES: &[Stage] = &[
    Stage { word: LINT, about: "format and clippy, and that the fuzz targets compile", nextest: "", cargo: &[] },
    Stage {
        word: "unit",
        about: "unit and property tests, and the house's own rules",
        nextest: "kind(lib) or kind(bin) or package(xtask)",
        cargo: &["--workspace", "--lib", "--bins", "--test", "tidy"],
    },
    Stage {
        word: "sim",
        about: "the core under a seeded simulation with faults",
        nextest: "package(musher-core) and kind(test)",
        cargo: &["-p", "musher-core", "--test", "*"],
    },
    Stage {
        word: INTEGRATION,
        about: "each crate against the real operating system",
        nextest: "kind(test) and not binary(e2e) and not package(musher-core) and not package(xtask)",
        cargo: &["--workspace", "--exclude", "musher", "--exclude", "musher-core", "--exclude", "xtask", "--test", "*"],
    },
    Stage {
        word: E2E,
        about: "the executable with real Node, Python and clients that count every lost request",
        nextest: "binary(e2e)",
        cargo: &["-p", "musher", "--test", "*"],
    },
    Stage {
        word: EXAMPLES,
        about: "the examples in the libraries' pages",
        nextest: "",
        cargo: &["-p", "musher-process", "-p", "musher-cluster", "--features", "musher-cluster/http", "--doc"],
    },
    Stage { word: CHAOS, about: "a team under load and a short schedule of faults", nextest: "", cargo: &[] },
];

/// What a stage came to.
struct Outcome {
    word: &'static str,
    took: Duration,
    totals: Totals,
    result: Task,
}

#[derive(Clone, Copy, Default)]
struct Totals {
    passed: u64,
    failed: u64,
    skipped: u64,
    /// Passed, but not at the first try.
    flaky: u64,
}

#[expect(clippy::print_stderr, reason = "the summary")]
pub(crate) fn test(words: &[String]) -> Task {
    let (stages, filters) = asked(words)?;
    let nextest = Run::cargo(["nextest", "--version"]).quietly();
    if !nextest {
        eprintln!("cargo-nextest is not installed: using cargo test (cargo install --locked cargo-nextest is faster)");
    }
    let started = Instant::now();
    let mut outcomes = Vec::new();
    for stage in stages {
        eprintln!("\n=== {}: {} ===", stage.word, stage.about);
        let started = Instant::now();
        let mut totals = Totals::default();
        let result = match stage.word {
            LINT => lint(),
            CHAOS => chaos::chaos(&CHAOS_WORDS.map(str::to_owned)),
            INTEGRATION => needs::install().and_then(|()| tests(stage, nextest, &filters, &mut totals)),
            // One of the servers that they put through it, and the version to upgrade to: the tests would build that, too,
            // but within their time.
            E2E => needs::install()
                .and_then(|()| Run::cargo(["build", "-p", "team-hyper"]).go())
                .and_then(|()| Run::cargo(["build", "-p", "musher", "--bin", "musher-next", "--features", "next"]).go())
                .and_then(|()| tests(stage, nextest, &filters, &mut totals)),
            // nextest runs none of them.
            EXAMPLES => tests(stage, false, &filters, &mut totals),
            _ => tests(stage, nextest, &filters, &mut totals),
        };
        outcomes.push(Outcome { word: stage.word, took: started.elapsed(), totals, result });
    }
    summary(&outcomes, started.elapsed())
}

/// The stages and filters of the command line.
fn asked(words: &[String]) -> Result<(Vec<&'static Stage>, Vec<String>), String> {
    let mut chosen: Vec<&str> = Vec::new();
    let mut words = words.iter();
    let mut filters = Vec::new();
    while let Some(word) = words.next() {
        match word.as_str() {
            "--only" => {
                let wanted = words.next().map(String::as_str).unwrap_or_default();
                let known: Vec<&str> = STAGES.iter().map(|stage| stage.word).collect();
                if !known.contains(&wanted) {
                    return Err(format!("--only takes one of {}", known.join(", ")));
                }
                chosen.push(wanted);
            }
            "--" => filters.extend(words.by_ref().cloned()),
            other => return Err(format!("unknown argument {other:?}")),
        }
    }
    let stages = STAGES.iter().filter(|stage| chosen.is_empty() || chosen.contains(&stage.word)).collect();
    Ok((stages, filters))
}

pub(crate) fn lint() -> Task {
    Run::cargo(["fmt", "--all", "--check"]).go()?;
    Run::cargo(["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]).go()?;
    // The fuzz targets are outside of the workspace. That they fit what they call needs no C++ compiler: naming a library
    // that is linked later keeps the fuzzer's own from being built.
    Run::cargo(["check", "--manifest-path", "fuzz/Cargo.toml", "--bins", "--target-dir"])
        .args([target()])
        .env("CUSTOM_LIBFUZZER_PATH", "/nowhere/libfuzzer.a")
        .go()
}

fn tests(stage: &Stage, nextest: bool, filters: &[String], totals: &mut Totals) -> Task {
    let run = if nextest {
        let profile = if std::env::var_os("CI").is_some() { "ci" } else { "default" };
        let expression = ["-E", stage.nextest, "--no-fail-fast", "--no-tests=pass"];
        Run::cargo(["nextest", "run", "--workspace", "--profile", profile]).args(expression).args(filters)
    } else {
        let threads: &[&str] = if stage.word == E2E { &["--", "--test-threads=2"] } else { &["--"] };
        Run::cargo(["test", "--no-fail-fast"]).args(stage.cargo).args(threads.iter().copied()).args(filters)
    };
    // One Node is whatever PATH has; what has to hold for every version is tested with all of them.
    let mut run = run.env("MUSHER_TEST_NODES", needs::nodes());
    if stage.word == E2E {
        run = run.env("MUSHER_TEST_NEXT", target().join("debug/musher-next"));
    }
    run.watched(&mut |line| totals.add(line, nextest))
}

impl Totals {
    /// Takes the numbers from the summary of nextest, or from each of cargo test's (which nextest shows, too, within the
    /// output of a failed test).
    fn add(&mut self, line: &str, nextest: bool) {
        let line = line.trim();
        let counts = match nextest {
            true => line.strip_prefix("Summary [").and_then(|rest| rest.split_once(" run:")),
            false => line.strip_prefix("test result: ").and_then(|rest| rest.split_once(". ")),
        };
        let counts = counts.map(|(_, counts)| counts);
        let Some(counts) = counts else { return };
        for part in counts.split([',', ';', '(', ')']) {
            let mut words = part.split_whitespace();
            let (Some(Ok(number)), Some(word)) = (words.next().map(str::parse::<u64>), words.next()) else { continue };
            match word {
                "passed" => self.passed += number,
                "failed" | "timed" => self.failed += number,
                "ignored" => self.skipped += number,
                "flaky" => self.flaky += number,
                _ => {}
            }
        }
    }
}

#[expect(clippy::print_stderr, reason = "the summary")]
fn summary(outcomes: &[Outcome], took: Duration) -> Task {
    let mut all = Totals::default();
    let mut failed = Vec::new();
    eprintln!();
    for Outcome { word, took, totals, result } in outcomes {
        let said = if result.is_ok() { "ok" } else { "FAILED" };
        let counts = match *word {
            LINT | CHAOS => String::new(),
            _ if totals.flaky > 0 => {
                format!(
                    "{} passed, {} of them at the second try, {} failed",
                    totals.passed, totals.flaky, totals.failed
                )
            }
            _ => format!("{} passed, {} failed", totals.passed, totals.failed),
        };
        eprintln!("{word:>12}  {said:<6}  {:>7.1} s  {counts}", took.as_secs_f64());
        all.passed += totals.passed;
        all.failed += totals.failed;
        all.skipped += totals.skipped;
        failed.extend(result.as_ref().err().map(|why| format!("{word}: {why}")));
    }
    let Totals { passed, failed: wrong, skipped, .. } = all;
    eprintln!("------------");
    eprintln!(
        "     Summary [{:>8.3}s] {} tests run: {passed} passed, {wrong} failed, {skipped} skipped",
        took.as_secs_f64(),
        passed + wrong
    );
    if failed.is_empty() { Ok(()) } else { Err(failed.join("\n  ")) }
}

#[cfg(test)]
mod tests {
    use super::Totals;

    #[test]
    fn totals_are_read_from_both_runners() {
        let mut totals = Totals::default();
        totals.add(
            "     Summary [   0.412s] 56 tests run: 53 passed (1 slow, 4 flaky), 2 failed, 1 timed out, 7 skipped",
            true,
        );
        assert_eq!((totals.passed, totals.failed, totals.skipped, totals.flaky), (53, 3, 0, 4));
        let line = "test result: FAILED. 3 passed; 1 failed; 2 ignored; 0 measured; 9 filtered out; finished in 0.33s";
        totals.add(line, true);
        assert_eq!(totals.passed, 53);
        totals.add(line, false);
        assert_eq!((totals.passed, totals.failed, totals.skipped), (56, 4, 2));
        totals.add("test values::a ... ok", false);
        assert_eq!(totals.passed, 56);
    }
}
