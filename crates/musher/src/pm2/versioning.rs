//! `pull`, `forward`, `backward`: another commit in an app's repository, what its process file says to do then, and a reload.
//!
//! What is changed and not committed stays as it is, or nothing is done (`git reset --keep`). When the commands fail or the new
//! version does not start, the former commit is checked out again: the workers that serve may need its files at any time.

use std::path::Path;
use std::process::{Command, Stdio};

use musher_api::{Action, Mode};

use super::actions::act;
use super::change::Change;
use super::processes::Processes;
use super::repository::Repository;
use super::view::Process;
use super::{Context, failed, start};
use crate::config;
use crate::failure::Failure;
use crate::output::{error_text, sanitize};

/// Where `post_update` is looked for, in this order.
const FILES: [&str; 5] =
    ["ecosystem.config.js", "ecosystem.config.cjs", "ecosystem.json", "process.json", "package.json"];
/// Variables by which git would take another repository than the app's, here and in what `post_update` runs.
const OTHERS: [&str; 8] = [
    "GIT_DIR",
    "GIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_PREFIX",
    "GIT_COMMON_DIR",
    "GIT_OBJECT_DIRECTORY",
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_NAMESPACE",
];

/// One of the three commands.
pub(super) async fn step(context: &Context<'_>, command: &str, words: &[String]) -> Result<(), Failure> {
    let (word, asked) = match words {
        [word] => (word, None),
        [word, commit] if command == "pull" => (word, Some(commit.as_str())),
        _ => return Err(failed(&format!("pm2 {command} NAME{}", if command == "pull" { " [COMMIT]" } else { "" }))),
    };
    let processes = Processes::ask(&context.cli).await?;
    let chosen = processes.chosen(word)?;
    let Some(first) = chosen.first() else { return Err(failed("which app?")) };
    if Processes::apps(&chosen).len() > 1 {
        return Err(failed(&format!("{word} is several apps: one app at a time")));
    }
    let repository = Repository::around(&first.app.spec.cwd).ok_or_else(|| {
        failed(&format!("No versioning system found for process {word}"))
            .with_hint(format!("{} is in no git repository", sanitize(&first.app.spec.cwd.to_string_lossy())))
    })?;
    let root = repository.root.as_path();
    context.say(&format!("Updating repository for process name {word}"));
    let old = answer(root, &["rev-parse", "--verify", "HEAD"])?;
    let Some(new) = wanted(root, command, asked, &old)? else {
        context.say(&format!("Already up-to-date: {word}"));
        return Ok(());
    };
    git(root, &["reset", "--quiet", "--keep", &new])?;
    let mut reloaded = false;
    let renewed = match update(root, first) {
        Ok(()) => {
            let change = Change { keys: Default::default(), update_env: false, around: start::surroundings()? };
            reloaded = true;
            start::renew_gently(&processes, &chosen, &change).await
        }
        Err(fault) => Err(fault),
    };
    if let Err(fault) = renewed {
        let _ = fault.tell();
        git(root, &["reset", "--quiet", "--keep", &old])?;
        error_text(
            &format!("{} is checked out again", short(&old)),
            Some("what post_update did is not undone: it may have to run again"),
        );
        if reloaded && first.app.mode != Mode::Cluster {
            // Its old worker had to stop first: what runs now, if anything does, is of the commit that was left.
            act(&processes, Action::Restart, processes.targets(&chosen)).await?;
        }
        return Err(Failure::told(1));
    }
    context.say(&format!("Process successfully updated {word}"));
    context.say(&format!("Current commit {new}"));
    context.show_list().await
}

/// The commit that is to be checked out; none when it is already.
fn wanted(root: &Path, command: &str, asked: Option<&str>, old: &str) -> Result<Option<String>, Failure> {
    let new = match (command, asked) {
        ("backward", _) => answer(root, &["rev-parse", "--verify", "HEAD^"])
            .map_err(|_| failed(&format!("{} is the first commit: there is none before", short(old))))?,
        ("forward", _) => {
            let range = format!("{old}..@{{upstream}}");
            let newer = answer(root, &["rev-list", "--reverse", "--topo-order", "--ancestry-path", &range])?;
            newer.lines().next().unwrap_or(old).to_owned()
        }
        (_, Some(commit)) => {
            git(root, &["fetch", "--quiet", "--all"])?;
            let commit = format!("{commit}^{{commit}}");
            answer(root, &["rev-parse", "--verify", "--end-of-options", &commit])?
        }
        (_, None) => {
            git(root, &["fetch", "--quiet"])?;
            let new = answer(root, &["rev-parse", "--verify", "@{upstream}"])?;
            if answer(root, &["merge-base", "HEAD", &new])? != old {
                return Err(failed("there are commits here that are not there: they would be lost")
                    .with_hint("push them, or `git rebase` by hand; then `pm2 reload`"));
            }
            new
        }
    };
    // With --end-of-options, git prints the option as well.
    let new = new.lines().last().unwrap_or_default().to_owned();
    Ok((new != old).then_some(new))
}

/// Runs the commands that the process file of the new commit has for this.
fn update(root: &Path, process: &Process) -> Result<(), Failure> {
    let around = start::surroundings()?;
    let names = [process.name(), process.app_name()];
    for file in FILES.iter().map(|name| root.join(name)).filter(|path| path.is_file()) {
        for line in config::post_update(&file, &names, &around)? {
            let status = command("sh").arg("-c").arg(&line).current_dir(root).stdin(Stdio::null()).status();
            let status = status.map_err(|error| failed(&format!("sh cannot be run: {error}")))?;
            if !status.success() {
                return Err(failed(&format!("post_update: `{}` failed: {status}", sanitize(&line))));
            }
        }
    }
    Ok(())
}

fn short(commit: &str) -> &str {
    commit.get(..10).unwrap_or(commit)
}

#[expect(clippy::disallowed_methods, reason = "git and sh of the caller, in the foreground and with its environment")]
fn command(program: &str) -> Command {
    let mut command = Command::new(program);
    for name in OTHERS {
        command.env_remove(name);
    }
    command
}

fn git_in(root: &Path, words: &[&str]) -> Command {
    let mut git = command("git");
    git.arg("-C").arg(root).args(words).stdin(Stdio::null());
    git
}

/// Runs git, which says itself what is wrong.
fn git(root: &Path, words: &[&str]) -> Result<(), Failure> {
    let status = git_in(root, words).status().map_err(|error| failed(&format!("git cannot be run: {error}")))?;
    if status.success() { Ok(()) } else { Err(failed(&format!("git {} failed", words.first().unwrap_or(&"")))) }
}

/// What git answers.
fn answer(root: &Path, words: &[&str]) -> Result<String, Failure> {
    let output = git_in(root, words).output().map_err(|error| failed(&format!("git cannot be run: {error}")))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let said = said.lines().next().unwrap_or("").trim_start_matches("fatal: ").to_owned();
    Err(failed(&format!("git {}: {said}", words.first().unwrap_or(&""))))
}
