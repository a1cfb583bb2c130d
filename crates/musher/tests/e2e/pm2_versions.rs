//! `pm2 pull`, `forward` and `backward` on real repositories; and what else `pm2` tells of workers and tells them.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::pm2::ours;
use crate::support::{Home, Output, command, wait_until};

/// Listens, so that it is known to be ready; says its version, and that it was told to open its log files.
const SERVER: &str = "\
require('http').createServer((_, answer) => answer.end()).listen(0);
process.on('message', message => message.type === 'log:reload' && console.log('told to reload'));
";

struct Ground {
    home: Home,
    work: PathBuf,
    /// What somebody else pushes from.
    other: PathBuf,
}

impl Ground {
    /// An app whose directory is a repository with two commits, all pushed.
    fn new() -> Ground {
        let home = ours();
        let directory = home.app_directory();
        git(&directory, &["init", "-q", "--bare", "-b", "main", "bare.git"]);
        git(&directory, &["clone", "-q", "bare.git", "other"]);
        let ground = Ground { work: directory.join("work"), other: directory.join("other"), home };
        ground.push("1", SERVER, "cp version updated");
        ground.push("2", SERVER, "cp version updated");
        git(&directory, &["clone", "-q", "bare.git", "work"]);
        ground
    }

    /// A commit that somebody pushes.
    fn push(&self, version: &str, program: &str, post_update: &str) {
        fs::write(self.other.join("version"), version).unwrap();
        fs::write(self.other.join("index.js"), program).unwrap();
        let file = format!("{{apps: [{{name: 'web', script: 'index.js', post_update: ['{post_update}']}}]}}");
        fs::write(self.other.join("ecosystem.json"), file).unwrap();
        git(&self.other, &["add", "-A"]);
        git(&self.other, &["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-q", "-m", version]);
        git(&self.other, &["push", "-q", "origin", "HEAD:main"]);
    }

    /// `pm2` in the app's directory.
    fn pm2(&self, words: &[&str]) -> Output {
        let mut line = self.home.command(words);
        line.current_dir(&self.work);
        crate::support::Background::of(line).wait()
    }

    /// The version that is checked out, that for which `post_update` ran last, and whether PM2's record has its commit.
    fn state(&self) -> (String, String, bool) {
        let read = |name: &str| fs::read_to_string(self.work.join(name)).unwrap_or_default();
        let head = command("git").args(["rev-parse", "HEAD"]).current_dir(&self.work).output().unwrap();
        let head = String::from_utf8(head.stdout).unwrap();
        let list = self.home.ok(["jlist"]).json();
        (read("version"), read("updated"), list[0]["pm2_env"]["versioning"]["revision"] == head.trim())
    }
}

fn git(at: &Path, words: &[&str]) {
    assert!(command("git").args(words).current_dir(at).status().unwrap().success(), "git {words:?}");
}

fn state(version: &str, updated: &str) -> (String, String, bool) {
    (version.to_owned(), updated.to_owned(), true)
}

#[test]
fn commits_are_gone_through_and_one_that_fails_is_left_again() {
    let ground = Ground::new();
    ground.pm2(&["start", "index.js", "--name", "web", "-i", "1", "-s"]).succeeded();
    let pid = || ground.home.ok(["pid", "web"]).out;
    assert_eq!(ground.state(), state("2", ""));

    let before = pid();
    ground.pm2(&["backward", "web"]).succeeded();
    assert_eq!(ground.state(), state("1", "1"));
    assert_ne!(pid(), before, "it was reloaded");
    ground.pm2(&["backward", "web"]).failed(1, &["first commit"]);
    ground.pm2(&["forward", "web", "-s"]).succeeded();
    assert_eq!(ground.state(), state("2", "2"));
    let told = ground.pm2(&["pull", "web"]).succeeded();
    assert!(told.out.contains("Already up-to-date"), "{told:?}");

    let before = pid();
    ground.push("3", SERVER, "false");
    ground.pm2(&["pull", "web"]).failed(1, &["`false` failed", "is checked out again"]);
    ground.push("4", "process.exit(3)", "cp version updated");
    ground.pm2(&["pull", "web"]).failed(1, &["exit code 3", "is checked out again"]);
    assert_eq!(ground.state(), state("2", "4"), "what post_update did is not undone, and that is said");
    assert_eq!(pid(), before, "the worker of the version that works serves on");

    // What is not committed is not thrown away.
    fs::write(ground.work.join("version"), "mine").unwrap();
    ground.pm2(&["backward", "web"]).failed(1, &["git reset failed"]);
    assert_eq!(ground.state().0, "mine");
    ground.home.write("elsewhere.js", SERVER);
    ground.home.ok(["start", "elsewhere.js", "-i", "1", "-s"]);
    ground.home.run(["pull", "all"]).failed(1, &["one app at a time"]);
    ground.home.run(["pull", "elsewhere"]).failed(1, &["No versioning system found"]);
}

#[test]
fn workers_are_described_told_of_their_logs_and_opened_to_inspectors() {
    let home = ours();
    home.write("index.js", SERVER);
    home.ok(["start", "index.js", "--name", "web", "-i", "1", "--node-args", "--inspect-port=0", "-s"]);
    let described = home.ok(["describe", "web"]).out;
    for line in [
        "│ status            │ online",
        "│ script path       │ ",
        "│ exec mode         │ cluster_mode",
        "│ script id         │ 0 ",
    ] {
        assert!(described.contains(line), "{line}: {described}");
    }
    home.ok(["reloadLogs"]);
    wait_until("it was told", || home.ok(["logs", "web", "--nostream", "--raw"]).out.contains("told to reload"));
    let opened = home.ok(["inspect", "web"]).out;
    assert!(opened.contains("[web:0] ws://127.0.0.1:"), "{opened}");
    home.run(["inspect", "nope"]).failed(1, &["nope not found"]);
    let Value::Object(machine) = home.ok(["slist", "--json"]).json() else { panic!("slist is no object") };
    assert!(machine["RAM Total"]["value"].as_f64() > Some(0.0), "{machine:?}");
    home.run(["create"]).failed(1, &["command not found", "pm2 init"]);
}
