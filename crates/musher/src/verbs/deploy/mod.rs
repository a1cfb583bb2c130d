//! `musher deploy`: PM2's way of bringing a program to machines, by git and ssh, which have to be there.

mod script;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

use crate::args::DeployArgs;
use crate::config::{self, Deployment, Surroundings};
use crate::exit_codes;
use crate::failure::Failure;
use crate::output::{note, one_word, sanitize};

use script::{Job, script};

/// What this machine is called in process files.
const HERE: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// Deploys to one machine after the other; the first that fails ends it.
pub(crate) fn run(args: &DeployArgs) -> Result<(), Failure> {
    let around = Surroundings::current()
        .map_err(|error| Failure::environment(format!("the working directory cannot be used: {error}")))?;
    let (file, rest) = match args.words.split_first() {
        Some((first, rest)) if config::is_process_file(Path::new(first)) => (PathBuf::from(first), rest),
        _ => (found(&around)?, args.words.as_slice()),
    };
    let Some((environment, words)) = rest.split_first() else {
        return Err(usage("an environment is missing: musher deploy production"));
    };
    let to = config::deployment(&file, environment, &around)?;
    let job = job(words, &to)?;
    let start = start_line(&file, environment);
    if args.dry_run {
        return shown(&job, &to, &start);
    }
    if matches!(job, Job::Update(_)) {
        if !args.force {
            all_is_pushed()?;
        }
        before_all(&to)?;
    }
    for (n, host) in to.hosts.iter().enumerate() {
        let status = on(host, &to, &script(&job, &to, &start, true))?;
        if !status.success() {
            return Err(failed(host, status, !is_here(host, &to), (&to.hosts[..n], &to.hosts[n + 1..])));
        }
    }
    match job {
        Job::Setup => {
            note(&format!("set up on {}; next: musher deploy {}", to.hosts.join(", "), sanitize(environment)))
        }
        Job::Update(_) | Job::Revert(_) => note(&format!("deployed on {}", sanitize(&to.hosts.join(", ")))),
        _ => {}
    }
    Ok(())
}

fn usage(message: &str) -> Failure {
    Failure::new(exit_codes::USAGE, message).with_hint("`musher deploy --help` shows examples")
}

fn found(around: &Surroundings) -> Result<PathBuf, Failure> {
    config::find_in(&around.cwd).ok_or_else(|| usage("there is no process file here that could say where to deploy"))
}

/// What the words behind the environment mean.
fn job(words: &[String], to: &Deployment) -> Result<Job, Failure> {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    Ok(match words[..] {
        [] | ["update"] => Job::Update(to.reference.clone()),
        ["setup"] => Job::Setup,
        ["revert"] => Job::Revert(1),
        ["revert", count] => {
            Job::Revert(count.parse().map_err(|_| usage("revert N: how many deployments to go back"))?)
        }
        ["curr" | "current"] => Job::Current,
        ["prev" | "previous"] => Job::Previous,
        ["list"] => Job::List,
        ["exec" | "run"] => return Err(usage("exec: a line for the shell is missing")),
        ["exec" | "run", ..] => Job::Exec(words[1..].join(" ")),
        ["ref", reference] | [reference] if !reference.starts_with('-') => Job::Update(reference.to_owned()),
        _ => return Err(usage("these words mean nothing together")),
    })
}

/// What starts the program's apps when there is no `post-deploy`: also when nothing of the file changed, for the program did.
fn start_line(file: &Path, environment: &str) -> String {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let musher = name.ends_with(".toml");
    let environment = if musher { String::new() } else { format!(" --env {}", one_word(environment)) };
    format!("musher start --force {}{environment}", one_word(&name))
}

fn shown(job: &Job, to: &Deployment, start: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    for host in &to.hosts {
        let command = if is_here(host, to) { vec!["bash".to_owned(), "-s".to_owned()] } else { ssh(host, to) };
        writeln!(out, "# {}\n{}", sanitize(&command.join(" ")), sanitize_lines(&script(job, to, start, false)))?;
    }
    out.flush()?;
    note("nothing was done: this is a dry run");
    Ok(())
}

fn sanitize_lines(text: &str) -> String {
    text.lines().map(|line| sanitize(line) + "\n").collect()
}

#[expect(
    clippy::disallowed_methods,
    reason = "git, ssh and bash of the caller, in the foreground and with its environment"
)]
fn command(program: &str) -> Command {
    Command::new(program)
}

/// What is here is what will be there.
fn all_is_pushed() -> Result<(), Failure> {
    let git = |words: &[&str]| {
        let output = command("git").args(words).stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    // Not in a repository, or without git: there is nothing to compare.
    let changed = git(&["status", "--porcelain", "--untracked-files=no"]).is_some_and(|said| !said.is_empty());
    let ahead = git(&["rev-list", "--count", "@{upstream}..HEAD"]).is_some_and(|count| count != "0");
    let what = match (changed, ahead) {
        (true, _) => "changes that are not committed",
        (false, true) => "commits that are not pushed",
        _ => return Ok(()),
    };
    Err(Failure::new(exit_codes::FAILED, format!("this folder has {what}: they would not be deployed"))
        .with_hint("commit and push them, or deploy without them: --force"))
}

/// The hook that runs here.
fn before_all(to: &Deployment) -> Result<(), Failure> {
    let Some(line) = to.hooks.get("pre_deploy_local") else { return Ok(()) };
    let status = command("bash").args(["-c", line]).envs(&to.env).status().map_err(|error| missing("bash", &error))?;
    if status.success() {
        Ok(())
    } else {
        Err(Failure::new(exit_codes::FAILED, format!("pre-deploy-local failed: {status}")))
    }
}

fn missing(program: &str, error: &std::io::Error) -> Failure {
    Failure::environment(format!("{program} cannot be run: {error}"))
}

/// Whether ssh is not needed. An account, a key or a port say that it is: a tunnel may begin here.
fn is_here(host: &str, to: &Deployment) -> bool {
    HERE.contains(&host) && to.user.is_none() && to.port.is_none() && to.key.is_none()
}

/// The command line that runs a script of standard input there.
fn ssh(host: &str, to: &Deployment) -> Vec<String> {
    let mut words = vec!["ssh".to_owned()];
    for option in &to.ssh_options {
        words.extend(["-o".to_owned(), option.clone()]);
    }
    if let Some(port) = to.port {
        words.extend(["-p".to_owned(), port.to_string()]);
    }
    if let Some(key) = &to.key {
        words.extend(["-i".to_owned(), key.clone()]);
    }
    words.extend(to.forward_agent.then(|| "-A".to_owned()));
    words.extend(to.tty.then(|| "-tt".to_owned()));
    let host = to.user.as_ref().map_or_else(|| host.to_owned(), |user| format!("{user}@{host}"));
    words.extend(["--".to_owned(), host]);
    words
}

/// Runs a script on one machine. It goes through standard input, for everybody can read a command line; where the hooks want a
/// terminal that is what standard input is.
fn on(host: &str, to: &Deployment, script: &str) -> Result<ExitStatus, Failure> {
    note(&format!("{}:", sanitize(host)));
    let here = is_here(host, to);
    let mut words = if here { vec!["bash".to_owned()] } else { ssh(host, to) };
    let typed = to.tty && !here;
    match (here, typed) {
        (true, _) => words.push("-s".to_owned()),
        (false, false) => words.push("bash -s".to_owned()),
        (false, true) => words.push(format!("bash -c {}", one_word(&script.replace("} < /dev/null\n", "}\n")))),
    }
    let (program, arguments) = words.split_first().map_or(("bash", &[][..]), |(first, rest)| (first.as_str(), rest));
    let stdin = if typed { Stdio::inherit() } else { Stdio::piped() };
    let mut child = command(program).args(arguments).stdin(stdin).spawn().map_err(|error| missing(program, &error))?;
    if let Some(mut into) = child.stdin.take() {
        // Who does not read it has ended, and says more by its code.
        let _ = into.write_all(script.as_bytes());
    }
    child.wait().map_err(|error| missing(program, &error))
}

fn failed(host: &str, status: ExitStatus, by_ssh: bool, (done, left): (&[String], &[String])) -> Failure {
    let message = match status.code() {
        Some(255) if by_ssh => format!("{} cannot be reached by ssh", sanitize(host)),
        _ => format!("{} failed: {status}", sanitize(host)),
    };
    let list = |hosts: &[String]| if hosts.is_empty() { "none".to_owned() } else { sanitize(&hosts.join(", ")) };
    Failure::new(exit_codes::FAILED, message).with_hint(format!(
        "what it wrote is above. Done before: {}; not begun: {}",
        list(done),
        list(left)
    ))
}
