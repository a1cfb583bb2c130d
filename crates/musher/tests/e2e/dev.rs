//! `musher dev`: apps while they are being written.

use std::fs;

use rustix::process::Signal;

use crate::support::{Home, proc_fs, wait_equal};

/// A folder with a program that writes down its version, and a place for homes that is otherwise empty.
fn site(first: &str) -> Home {
    let home = Home::new();
    let place = home.directory().join("tmp");
    fs::create_dir(&place).unwrap();
    home.write("site/app.sh", first);
    home.variable("TMPDIR", place.display().to_string())
}

fn told(home: &Home) -> Vec<String> {
    let text = fs::read_to_string(home.app_directory().join("told")).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

fn homes(home: &Home) -> usize {
    fs::read_dir(home.directory().join("tmp")).unwrap().count()
}

#[test]
fn what_changes_is_replaced_and_nothing_is_left_at_the_end() {
    let version = |name: &str| format!("echo {name} >> ../told; echo this is {name}; exec sleep 1000\n");
    let home = site(&version("one"));
    let words = ["dev", "--name", "web", "--cwd", "site", "--ready", "10ms", "--ignore", "*.md,made/"];
    let exec = ["--post-exec", "echo posted >> ../told; echo this is after", "--", "sh", "app.sh"];
    let team = home.spawn(words.into_iter().chain(exec));
    wait_equal("the first", &vec!["one".to_owned(), "posted".to_owned()], || told(&home));
    assert_eq!(homes(&home), 1, "a home of its own");
    // What is ignored comes first.
    home.write("site/notes.md", "x");
    home.write("site/made/x.sh", "x");
    home.write("site/app.sh", &version("two"));
    let all = ["one", "posted", "two", "posted"].map(str::to_owned).to_vec();
    wait_equal("the second", &all, || told(&home));
    proc_fs::signal(team.id(), Signal::INT).unwrap();
    let output = team.wait().succeeded();
    for line in ["web/0 | this is one\n", "web/0 | this is two\n"] {
        assert_eq!(output.out.matches(line).count(), 1, "{output:#?}");
    }
    assert_eq!(output.out.matches("this is after\n").count(), 2, "{output:#?}");
    assert_eq!(homes(&home), 0);
    home.wait_gone();
}

#[test]
fn it_stays_when_the_program_has_ended_and_runs_it_again_when_it_changes() {
    let home = site("echo one >> ../told");
    let words = |more: &[&'static str]| {
        let words = ["dev", "--cwd", "site", "--restart", "never"].iter().chain(more);
        words.chain(&["--raw", "--", "sh", "app.sh"]).copied().collect::<Vec<_>>()
    };
    home.ok(words(&["--auto-exit"]));
    let team = home.spawn(words(&[]));
    wait_equal("the first", &2, || told(&home).len());
    home.write("site/app.sh", "echo two >> ../told; echo plain");
    wait_equal("the second", &["one", "one", "two"].map(str::to_owned).to_vec(), || told(&home));
    proc_fs::signal(team.id(), Signal::INT).unwrap();
    assert_eq!(team.wait().succeeded().out, "plain\n");
    assert_eq!(homes(&home), 0);
}
