//! A process file that is a program: `ecosystem.config.js` and its kin. The user's own Node evaluates it, in a process of
//! its own and within bounds, and gives what it exports as JSON.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::{Duration, Instant};

use crate::config::program::{Place, find, node_version};
use crate::config::tree::MAX_FILE;
use crate::config::{Surroundings, program};

/// How long a file may take.
const LIMIT: Duration = Duration::from_secs(20);
/// How much of what it writes to standard error is kept.
const ERRORS: u64 = 64 << 10;
/// Stands before the JSON, so that nothing else that is written can be taken for it.
const MARK: u8 = 0x1e;

/// Loads the module, whatever its kind, and writes what it exports. What the module itself writes goes to standard error.
const SCRIPT: &str = r"
const fs = require('fs');
const file = process.argv[1];
process.argv.splice(1, 1, file);
process.stdout.write = process.stderr.write.bind(process.stderr);
const plain = (key, value) =>
  value instanceof RegExp ? String(value) : typeof value === 'bigint' ? String(value) : value;
const give = (text) => {
  const bytes = Buffer.from('\x1e' + text);
  let at = 0;
  while (at < bytes.length) {
    try { at += fs.writeSync(1, bytes, at); } catch (error) { if (error.code !== 'EAGAIN') throw error; }
  }
  process.exit(0);
};
(async () => {
  const module = await import(require('url').pathToFileURL(file).href);
  let value = module.default === undefined ? { ...module } : module.default;
  if (value && value.__esModule && value.default !== undefined) value = value.default;
  value = await (typeof value === 'function' ? value() : value);
  give(JSON.stringify(value, plain) || 'null');
})().catch((error) => {
  process.stderr.write('\x1e' + String((error && error.stack) || error));
  process.exitCode = 1;
  setImmediate(() => process.exit(1));
});
";

/// What is wrong, and what would be right.
type Refused = (String, String);

/// What the file exports, as JSON. `Err`: what is wrong, and what would be right.
pub(in crate::config) fn evaluate(path: &Path, around: &Surroundings) -> Result<Vec<u8>, Refused> {
    let mut command = interpreter(path, around)?;
    let mut child = command
        .arg("-e")
        .arg(SCRIPT)
        .arg(path)
        .current_dir(&around.cwd)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| (format!("node cannot be run: {error}"), String::new()))?;
    let out = collected(child.stdout.take(), MAX_FILE as u64 + 2);
    let errors = collected(child.stderr.take(), ERRORS);
    let deadline = Instant::now() + LIMIT;
    let out = out.recv_timeout(LIMIT).unwrap_or_default();
    let ended = ended_by(&mut child, deadline, out.len() > MAX_FILE);
    let errors = errors.recv_timeout(Duration::from_millis(500)).unwrap_or_default();
    let said = String::from_utf8_lossy(&errors).into_owned();
    if out.len() > MAX_FILE {
        return Err((format!("what it exports is larger than {} MiB", MAX_FILE >> 20), String::new()));
    }
    if !ended {
        let hint = "a process file only describes apps: it must not wait for a server, a lock or standard input";
        return Err((format!("it was not evaluated within {} seconds", LIMIT.as_secs()), hint.into()));
    }
    let Some(json) = out.iter().rposition(|byte| *byte == MARK).map(|at| out[at + 1..].to_vec()) else {
        return Err((format!("node cannot evaluate it: {}", story(&said)), String::new()));
    };
    if !said.is_empty() {
        crate::output::note(&format!("{} wrote: {}", path.display(), crate::output::sanitize(said.trim_end())));
    }
    Ok(json)
}

/// The part of what was written that tells what went wrong: the error and the first place, not the whole stack.
fn story(said: &str) -> String {
    let error = said.rsplit('\x1e').next().unwrap_or(said).trim();
    let lines = error.lines().map(str::trim_end).filter(|line| !line.is_empty());
    let lines: Vec<String> = lines.take(4).map(crate::output::sanitize).collect();
    if lines.is_empty() { "it ended without a word".into() } else { lines.join("\n    ") }
}

/// Node; for TypeScript one that runs it, or Bun.
fn interpreter(path: &Path, around: &Surroundings) -> Result<Command, Refused> {
    let search = Place { cwd: &around.cwd, path: around.env.get("PATH").map(String::as_str) };
    let node = find("node", search).or_else(|fault| find("nodejs", search).map_err(|_| fault));
    if !program::is_typescript(path) {
        let node = node.map_err(|(message, _)| {
            let hint = "musher convert, run where Node is, makes a musher.toml that needs none";
            (format!("a process file in JavaScript is evaluated by Node: {message}"), hint.to_owned())
        })?;
        return Ok(command(node, &[]));
    }
    let version = node.as_ref().ok().and_then(|node| node_version(node));
    match (node, version) {
        (Ok(node), Some((22, 18..) | (23, 6..) | (24.., _))) => Ok(command(node, &["--no-warnings"])),
        (Ok(node), Some((22, 6..) | (23, _))) => Ok(command(node, &["--no-warnings", "--experimental-strip-types"])),
        (_, version) => {
            let found = version.map_or_else(String::new, |(major, minor)| format!(", and node is {major}.{minor}"));
            find("bun", search).map(|bun| command(bun, &[])).map_err(|_| {
                let message = format!("a process file in TypeScript needs Node 22.6 or later, or Bun{found}");
                (message, "compile it to JavaScript, or write a musher.toml".to_owned())
            })
        }
    }
}

fn command(program: PathBuf, args: &[&str]) -> Command {
    #[expect(
        clippy::disallowed_methods,
        reason = "a question to an interpreter before anything is started, not a worker"
    )]
    let mut command = Command::new(program);
    command.args(args);
    command
}

/// Reads to the end, or to the limit, beside.
fn collected(from: Option<impl Read + Send + 'static>, limit: u64) -> Receiver<Vec<u8>> {
    let (sender, receiver) = sync_channel(1);
    if let Some(from) = from {
        std::thread::spawn(move || {
            let mut bytes = Vec::new();
            let _ = from.take(limit).read_to_end(&mut bytes);
            let _ = sender.send(bytes);
        });
    }
    receiver
}

/// Waits for the end, and brings it about at the deadline or when enough was said. False: it did not end by itself.
fn ended_by(child: &mut Child, deadline: Instant, enough: bool) -> bool {
    loop {
        match child.try_wait() {
            Ok(Some(_)) => return true,
            Ok(None) if !enough && Instant::now() < deadline => std::thread::sleep(Duration::from_millis(5)),
            _ => {
                let _ = child.kill();
                let _ = child.wait();
                return false;
            }
        }
    }
}
