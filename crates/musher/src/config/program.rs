//! Which program runs a script or a command, and how musher speaks to it.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use musher_core::spec::{Exec, Runtime};
use musher_process::lookup::{LookupError, find_in_path};

use super::fault::{did_you_mean, nearest};

/// Runtimes that speak Node's channel, but take connections that are handed to them unreliably, or not at all.
const SPEAK_NODES_CHANNEL: &[&str] = &["bun", "deno"];
/// Interpreters by extension; the first that PATH has is taken.
const INTERPRETERS: &[(&str, &[&str])] = &[
    ("js", &["node", "nodejs"]),
    ("cjs", &["node", "nodejs"]),
    ("mjs", &["node", "nodejs"]),
    ("ts", &["node", "nodejs"]),
    ("cts", &["node", "nodejs"]),
    ("mts", &["node", "nodejs"]),
    ("py", &["python3", "python"]),
    ("sh", &["bash", "sh"]),
    ("rb", &["ruby"]),
    ("pl", &["perl"]),
    ("php", &["php"]),
    ("coffee", &["coffee"]),
    ("ls", &["lsc"]),
];

/// Options of node whose value is the next word.
const NODE_OPTIONS_WITH_VALUE: &[&str] = &[
    "-r",
    "--require",
    "--import",
    "--loader",
    "--experimental-loader",
    "-C",
    "--conditions",
    "--env-file",
    "--env-file-if-exists",
    "--title",
    "--inspect-port",
    "--input-type",
    "--icu-data-dir",
    "--openssl-config",
    "--experimental-config-file",
];

/// Options after which node runs no script as it is, or runs it in a child of its own.
const NODE_WITHOUT_SCRIPT: &[&str] = &[
    "-e",
    "--eval",
    "-p",
    "--print",
    "-pe",
    "-c",
    "--check",
    "-i",
    "--interactive",
    "--test",
    "--run",
    "--watch",
    "-",
];

/// What cannot be run: the key that is to blame, what is wrong, what would be right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Unrunnable {
    pub(super) key: &'static str,
    pub(super) message: String,
    pub(super) hint: String,
}

fn unrunnable<T>(key: &'static str, message: impl Into<String>, hint: impl Into<String>) -> Result<T, Unrunnable> {
    Err(Unrunnable { key, message: message.into(), hint: hint.into() })
}

/// Where programs are looked up.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place<'a> {
    pub(super) cwd: &'a Path,
    /// PATH of the resulting environment.
    pub(super) path: Option<&'a str>,
}

/// What the user said about a script.
#[derive(Clone, Copy, Debug)]
pub(super) struct Script<'a> {
    pub(super) script: &'a str,
    pub(super) args: &'a [String],
    pub(super) interpreter: Option<&'a str>,
    pub(super) interpreter_args: &'a [String],
    pub(super) cluster: Option<bool>,
}

/// How to run a script: by its interpreter, or itself.
pub(super) fn of_script(wanted: Script<'_>, place: Place<'_>) -> Result<Exec, Unrunnable> {
    let path = absolute(wanted.script, place.cwd);
    check_file(&path, "script")?;
    if base_name(&path).starts_with("ecosystem.config.") {
        let hint = "give it to `musher start` by itself";
        return unrunnable("script", "this is a process file, not a program", hint);
    }
    let extension = path.extension().and_then(OsStr::to_str).unwrap_or_default().to_ascii_lowercase();
    let names: &[&str] = match wanted.interpreter {
        Some("none") => &[],
        Some(ref name) => std::slice::from_ref(name),
        None => match INTERPRETERS.iter().find(|(known, _)| *known == extension) {
            Some((_, names)) => names,
            None if has_node_shebang(&path) => &["node", "nodejs"],
            None => &[],
        },
    };
    let Some(interpreter) = find_interpreter(names, wanted, place)? else {
        return itself(wanted, path);
    };
    let base = base_name(&interpreter);
    let runtime = runtime(&base, wanted.cluster)?;
    let mut args = wanted.interpreter_args.to_vec();
    if runtime != Runtime::Plain && matches!(extension.as_str(), "ts" | "mts" | "cts") {
        add_type_stripping(&interpreter, &mut args)?;
    }
    if base == "deno" && !matches!(args.first().map(String::as_str), Some("run" | "serve")) {
        args.insert(0, "run".into());
    }
    let Some(script) = path.to_str() else {
        return unrunnable("script", "the path is not UTF-8", "");
    };
    args.push(script.into());
    args.extend_from_slice(wanted.args);
    Ok(Exec { program: interpreter, args, script: Some(path), runtime })
}

/// How to run a command: its first word is looked up, and a script of Node is recognised.
pub(super) fn of_command(words: &[String], wanted: Script<'_>, place: Place<'_>) -> Result<Exec, Unrunnable> {
    let Some((name, rest)) = words.split_first().filter(|(name, _)| !name.is_empty()) else {
        return unrunnable("command", "the command is empty", "write for example \"gunicorn app:app\"");
    };
    if wanted.interpreter.is_some() || !wanted.interpreter_args.is_empty() {
        return unrunnable(
            "interpreter",
            "an interpreter goes with a script, not with a command",
            "name it in the command",
        );
    }
    let program = find(name, place).map_err(|(message, hint)| Unrunnable { key: "command", message, hint })?;
    let base = base_name(&program);
    if Runtime::is_node(&base)
        && let Some(at) = node_script(rest)
    {
        let (options, script) = rest.split_at(at);
        let args: Vec<String> = script[1..].iter().chain(wanted.args).cloned().collect();
        let node = program.to_string_lossy();
        let inner = Script {
            script: &script[0],
            args: &args,
            interpreter: Some(&node),
            interpreter_args: options,
            cluster: wanted.cluster,
        };
        // node finds `node server` as server.js: leave that to node.
        if absolute(&script[0], place.cwd).is_file() {
            return of_script(inner, place);
        }
    }
    let args = rest.iter().chain(wanted.args).cloned().collect();
    Ok(Exec { program, args, script: None, runtime: of_native(wanted.cluster) })
}

/// Variables that an interpreter needs in order to be a good worker; the user's own win over them.
pub(super) fn helpful_variables(exec: &Exec) -> BTreeMap<String, String> {
    let mut variables = BTreeMap::new();
    if base_name(&exec.program).starts_with("python") {
        // Otherwise output into a pipe appears in blocks of 8 KiB, or never.
        variables.insert("PYTHONUNBUFFERED".to_owned(), "1".to_owned());
    }
    variables
}

fn itself(wanted: Script<'_>, path: PathBuf) -> Result<Exec, Unrunnable> {
    if !wanted.interpreter_args.is_empty() {
        return unrunnable("interpreter_args", "there is no interpreter that could take them", "set interpreter");
    }
    if !is_executable(&path) {
        let what = format!("{} is not executable, and its extension names no interpreter", path.display());
        let hint = match path.extension().and_then(OsStr::to_str) {
            Some("tsx" | "jsx") => "set interpreter, for example to bun or tsx".to_owned(),
            _ => format!("set interpreter, or: chmod +x {}", path.display()),
        };
        return unrunnable("script", what, hint);
    }
    let runtime = of_native(wanted.cluster);
    Ok(Exec { program: path.clone(), args: wanted.args.to_vec(), script: Some(path), runtime })
}

fn find_interpreter(names: &[&str], wanted: Script<'_>, place: Place<'_>) -> Result<Option<PathBuf>, Unrunnable> {
    let mut first = None;
    for name in names {
        match find(name, place) {
            Ok(path) => return Ok(Some(path)),
            Err(fault) => {
                first.get_or_insert(fault);
            }
        }
    }
    let Some((message, hint)) = first else { return Ok(None) };
    if wanted.interpreter.is_some() {
        return unrunnable("interpreter", message, hint);
    }
    let name = names.first().copied().unwrap_or_default();
    unrunnable("script", format!("{} needs {name}: {message}", wanted.script), "install it, or set interpreter")
}

/// What to do instead.
const SHARE: &str = "workers share a port by `listen` (deno, python), or by SO_REUSEPORT (bun: reusePort); \
    see docs/guide/other-programs.md";

/// A program without an interpreter speaks the protocol of a cluster if whoever wrote it says so: in Rust by
/// `musher-cluster`.
fn of_native(cluster: Option<bool>) -> Runtime {
    if cluster == Some(true) { Runtime::NodeCluster } else { Runtime::Plain }
}

fn runtime(interpreter: &str, cluster: Option<bool>) -> Result<Runtime, Unrunnable> {
    match (Runtime::is_node(interpreter), cluster) {
        (true, Some(false)) => Ok(Runtime::NodeFork),
        (true, _) => Ok(Runtime::NodeCluster),
        (false, Some(false)) if SPEAK_NODES_CHANNEL.contains(&interpreter) => Ok(Runtime::NodeFork),
        (false, Some(true)) => {
            unrunnable("cluster", format!("{interpreter} has no clusters that musher knows: only node has"), SHARE)
        }
        (false, _) => Ok(Runtime::Plain),
    }
}

/// Which of node's arguments is the script.
fn node_script(args: &[String]) -> Option<usize> {
    let mut n = 0;
    while let Some(arg) = args.get(n) {
        let option = arg.split('=').next().unwrap_or(arg);
        if arg == "--" {
            return (n + 1 < args.len()).then_some(n + 1);
        }
        if NODE_WITHOUT_SCRIPT.contains(&option) {
            return None;
        }
        if !arg.starts_with('-') {
            return Some(n);
        }
        n += if NODE_OPTIONS_WITH_VALUE.contains(&arg.as_str()) { 2 } else { 1 };
    }
    None
}

/// Node runs TypeScript since 22.18 and 23.6 by itself, since 22.6 when asked to.
fn add_type_stripping(node: &Path, args: &mut Vec<String>) -> Result<(), Unrunnable> {
    let has = |names: &[&str]| args.iter().any(|arg| names.contains(&arg.split('=').next().unwrap_or(arg)));
    let own = ["--import", "--loader", "--experimental-loader", "-r", "--require"];
    if has(&own) || has(&["--experimental-strip-types", "--experimental-transform-types", "--strip-types"]) {
        return Ok(());
    }
    let Some(version) = node_version(node) else {
        return unrunnable("interpreter", format!("{} does not tell its version", node.display()), "");
    };
    match version {
        (22, 18..) | (23, 6..) | (24.., _) => Ok(()),
        (22, 6..) | (23, _) => {
            args.push("--experimental-strip-types".into());
            Ok(())
        }
        (major, minor) => unrunnable(
            "script",
            format!("Node {major}.{minor} ({}) does not run TypeScript: that needs 22.6 or later", node.display()),
            "compile it to JavaScript, or set interpreter to a newer node, tsx or bun",
        ),
    }
}

/// Major and minor version of a node executable.
pub(super) fn node_version(node: &Path) -> Option<(u32, u32)> {
    let version = version(node)?;
    let mut numbers = version.split('.').map(|part| part.parse().ok());
    Some((numbers.next()??, numbers.next()??))
}

/// The version that an executable tells of itself as Node does, without its `v`.
pub(crate) fn version(node: &Path) -> Option<String> {
    #[expect(
        clippy::disallowed_methods,
        reason = "a question to an interpreter before anything is started, not a worker"
    )]
    let mut child = Command::new(node)
        .arg("--version")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    let mut stdout = child.stdout.take()?;
    let (sender, receiver) = sync_channel(1);
    std::thread::spawn(move || {
        let mut text = Vec::new();
        let _ = stdout.by_ref().take(100).read_to_end(&mut text);
        let _ = sender.send(text);
    });
    let text = receiver.recv_timeout(Duration::from_secs(10));
    // What is no node may never end; node has by now.
    let _ = child.kill();
    let _ = child.wait();
    let text = String::from_utf8(text.ok()?).ok()?;
    text.trim().strip_prefix('v').map(str::to_owned)
}

/// A command whose first word is the absolute path of its program, or what is wrong and what would be right.
pub(super) fn with_program(words: &[String], place: Place<'_>) -> Result<Vec<String>, (String, String)> {
    let Some((name, rest)) = words.split_first().filter(|(name, _)| !name.is_empty()) else {
        return Err(("the command is empty".to_owned(), String::new()));
    };
    let program = find(name, place)?;
    let Some(program) = program.to_str() else { return Err(("the path is not UTF-8".to_owned(), String::new())) };
    Ok(std::iter::once(program.to_owned()).chain(rest.iter().cloned()).collect())
}

/// The absolute path of a program, or what is wrong and what would be right.
pub(super) fn find(name: &str, place: Place<'_>) -> Result<PathBuf, (String, String)> {
    let is_path = name.contains('/');
    let path = absolute(name, place.cwd);
    if is_path {
        check_file(&path, "").map_err(|fault| (fault.message, fault.hint))?;
    }
    let wanted = if is_path { path.as_os_str() } else { OsStr::new(name) };
    let found = find_in_path(wanted, place.path.map(OsStr::new), place.cwd);
    found.map(|path| path.components().collect()).map_err(|error| {
        let hint = match &error {
            LookupError::NotExecutable { path } => format!("chmod +x {}", path.display()),
            LookupError::NotInPath { .. } if path.is_file() => {
                format!("write ./{name} for the file here")
            }
            LookupError::NotInPath { .. } | LookupError::NoFile { .. } => String::new(),
        };
        (error.to_string(), hint)
    })
}

fn absolute(path: &str, cwd: &Path) -> PathBuf {
    let joined = cwd.join(path);
    // Lexical cleaning of `./`; `..` stays, for a symbolic link may be before it.
    joined.components().collect()
}

/// Whether there is a regular file that can be read.
fn check_file(path: &Path, key: &'static str) -> Result<(), Unrunnable> {
    match std::fs::metadata(path) {
        Ok(file) if file.is_dir() => unrunnable(key, format!("{} is a directory", path.display()), ""),
        Ok(file) if !file.is_file() => unrunnable(key, format!("{} is not a regular file", path.display()), ""),
        Ok(_) => match std::fs::File::open(path) {
            Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied && !is_executable(path) => {
                unrunnable(key, format!("{} cannot be read: {error}", path.display()), "")
            }
            _ => Ok(()),
        },
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            unrunnable(key, format!("there is no file {}", path.display()), similar_files(path))
        }
        Err(error) => unrunnable(key, format!("{}: {error}", path.display()), ""),
    }
}

/// Whether anybody may execute the file.
pub(super) fn is_executable(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|file| file.permissions().mode() & 0o111 != 0)
}

/// "did you mean" of files beside the missing one.
pub(super) fn similar_files(path: &Path) -> String {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name().and_then(OsStr::to_str)) else {
        return String::new();
    };
    let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
    let Ok(directory) = std::fs::read_dir(parent) else {
        return format!("there is no directory {} either", parent.display());
    };
    let names: Vec<String> =
        directory.take(5000).filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect();
    did_you_mean(&nearest(name, names.iter().map(String::as_str)))
}

fn base_name(path: &Path) -> String {
    path.file_name().and_then(OsStr::to_str).unwrap_or_default().to_owned()
}

/// Whether the file's first line is `#!` with node at its end, as that of many programs in `node_modules/.bin`.
fn has_node_shebang(path: &Path) -> bool {
    first_line(path).is_some_and(|line| line.starts_with("#!") && (line.ends_with("/node") || line.ends_with(" node")))
}

/// The first line of a file, as much of it as a `#!` can be long.
pub(super) fn first_line(path: &Path) -> Option<String> {
    let mut start = Vec::new();
    std::fs::File::open(path).and_then(|file| file.take(128).read_to_end(&mut start)).ok()?;
    let line = start.split(|byte| *byte == b'\n').next().unwrap_or_default();
    Some(String::from_utf8_lossy(line).into_owned())
}

/// Whether the file is one in TypeScript, by its name.
pub(super) fn is_typescript(path: &Path) -> bool {
    let extension = path.extension().and_then(OsStr::to_str).unwrap_or_default();
    matches!(extension, "ts" | "mts" | "cts")
}

#[cfg(test)]
mod tests {
    use super::node_script;

    #[test]
    fn the_script_among_the_arguments_of_node_is_found() {
        for (args, expected) in [
            ("server.js", Some("server.js")),
            ("--inspect server.js --x", Some("server.js")),
            ("-r dotenv/config server.js", Some("server.js")),
            ("--import=tsx server.ts", Some("server.ts")),
            ("--max-old-space-size=100 -- -odd.js", Some("-odd.js")),
            ("-e 1", None),
            ("--eval=1 x.js", None),
            ("--watch server.js", None),
            ("--test", None),
            ("", None),
        ] {
            let args: Vec<String> = args.split_whitespace().map(str::to_owned).collect();
            assert_eq!(node_script(&args).map(|n| args[n].as_str()), expected, "{args:?}");
        }
    }
}
