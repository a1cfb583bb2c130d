//! What is run on a machine that is deployed to: lines for bash. Pure.

use std::fmt::Write;

use crate::config::Deployment;
use crate::output::one_word;

/// What is to be done there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Job {
    /// Clones the repository.
    Setup,
    /// Goes to a branch, tag or commit.
    Update(String),
    /// Goes to the commit that was deployed so many times before.
    Revert(u32),
    /// A line for the shell.
    Exec(String),
    /// What was deployed: the last, the one before, all.
    Current,
    Previous,
    List,
}

/// The script for one machine. `start`: what is done after an update when the file says nothing.
pub(super) fn script(job: &Job, to: &Deployment, start: &str, secrets: bool) -> String {
    // In braces, so that bash has read all of it before a hook could read from the same standard input.
    let mut lines = "{\nset -e\n".to_owned();
    let _ = writeln!(lines, "place={}", place(&to.path));
    for (name, value) in &to.env {
        let value = if secrets { one_word(value) } else { "...".to_owned() };
        let _ = writeln!(lines, "export {name}={value}");
    }
    let hook = |name: &str| to.hooks.get(name).cloned();
    match job {
        Job::Setup => {
            said(&mut lines, "[ ! -e \"$place/source\" ]", "is set up already: deploy to it without `setup`");
            add(&mut lines, "pre-setup", hook("pre_setup"));
            lines.push_str("mkdir -p \"$place/shared/logs\" \"$place/shared/pids\"\n");
            let depth = if to.fast { " --depth=5" } else { "" };
            let branch = match to.reference.strip_prefix("origin/") {
                Some(branch) if branch != "HEAD" => format!(" --branch {}", one_word(branch)),
                _ => String::new(),
            };
            let clone = format!("git clone{depth}{branch} -- {} \"$place/source\"", one_word(&to.repo));
            add(&mut lines, "clone", Some(clone));
            lines.push_str("ln -sfn source \"$place/current\"\ncd \"$place/current\"\n");
            add(&mut lines, "post-setup", hook("post_setup"));
        }
        Job::Update(reference) => {
            entered(&mut lines);
            update(&mut lines, to, &one_word(reference), start);
        }
        Job::Revert(back) => {
            entered(&mut lines);
            said(
                &mut lines,
                &format!("[ \"$(wc -l < \"$place/.deploys\")\" -gt {back} ]"),
                "was not deployed to so often",
            );
            let _ = writeln!(lines, "commit=$(tail -n {} \"$place/.deploys\" | head -n 1)", back.saturating_add(1));
            update(&mut lines, to, "\"$commit\"", start);
        }
        Job::Exec(line) => {
            entered(&mut lines);
            let _ = writeln!(lines, "{line}");
        }
        Job::Current => lines.push_str("tail -n 1 \"$place/.deploys\"\n"),
        Job::Previous => lines.push_str("tail -n 2 \"$place/.deploys\" | head -n 1\n"),
        Job::List => lines.push_str("cat -n \"$place/.deploys\"\n"),
    }
    lines.push_str("} < /dev/null\n");
    lines
}

fn entered(lines: &mut String) {
    said(lines, "cd \"$place/current\" 2> /dev/null", "is not set up: `musher deploy ENVIRONMENT setup` comes first");
}

/// Ends with a message unless `condition` holds.
fn said(lines: &mut String, condition: &str, message: &str) {
    let _ = writeln!(
        lines,
        "{condition} || {{ echo \"$place {message}\" >&2; exit 65; }}",
        message = message.replace('`', "\\`")
    );
}

fn update(lines: &mut String, to: &Deployment, reference: &str, start: &str) {
    add(lines, "pre-deploy", to.hooks.get("pre_deploy").cloned());
    let depth = if to.fast { " --depth=5" } else { "" };
    add(lines, "fetch", Some(format!("git fetch{depth} --all --tags")));
    // A branch means that of the repository which was fetched, not one of the same name that stays where it was cloned.
    let newest = "git rev-parse -q --verify --end-of-options \"refs/remotes/origin/$ref^{commit}\" || echo \"$ref\"";
    add(lines, "checkout", Some(format!("ref={reference}\ngit reset --hard \"$({newest})\"")));
    lines.push_str("git rev-parse --short HEAD >> \"$place/.deploys\"\n");
    let after = to.hooks.get("post_deploy").cloned().unwrap_or_else(|| start.to_owned());
    add(lines, "post-deploy", Some(after));
}

/// A step, told before it begins.
fn add(lines: &mut String, name: &str, step: Option<String>) {
    if let Some(step) = step {
        let _ = writeln!(lines, "echo '--> {name}' >&2\n{step}");
    }
}

/// A directory there; what does not begin with `/` is below the home of the account, with `~/` or without.
fn place(path: &str) -> String {
    match path.strip_prefix("~/").unwrap_or(path) {
        "~" => "\"$HOME\"".to_owned(),
        path if path.starts_with('/') => one_word(path),
        path => format!("\"$HOME\"/{}", one_word(path)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_file_says_is_no_code_but_where_it_is_meant_to_be() {
        let to = Deployment {
            path: "~/a'; rm -rf /".into(),
            repo: "$(boom)".into(),
            reference: "origin/`x`".into(),
            env: [("KEY".to_owned(), "a'b".to_owned())].into(),
            ..Deployment::default()
        };
        let setup = script(&Job::Setup, &to, "", true);
        assert!(setup.contains("place=\"$HOME\"/'a'\\''; rm -rf /'\n"), "{setup}");
        assert!(setup.contains("export KEY='a'\\''b'\n"), "{setup}");
        assert!(setup.contains("git clone --branch '`x`' -- '$(boom)' \"$place/source\"\n"), "{setup}");
        let shown = script(&Job::Update("v1; x".into()), &to, "musher start", false);
        assert!(shown.contains("export KEY=...\n") && shown.contains("\nref='v1; x'\n"), "{shown}");
        assert_eq!(place("web"), "\"$HOME\"/'web'");
    }
}
