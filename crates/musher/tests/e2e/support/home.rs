//! A musher home of a test's own, and the executable run in it.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fmt::{self, Debug};
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;
use std::time::Duration;

use musher_bench::{proc_fs, wait};
use serde_json::Value;
use tempfile::TempDir;

use super::{PATIENCE, command, reaper, wait_for};

/// A variable by which every worker that a test started is found.
const MARK: &str = "END_TO_END_TEST";

/// A command that takes longer than this hangs.
const COMMAND_LIMIT: Duration = Duration::from_secs(90);

/// A home in a directory of its own. When it is dropped, everything that was started in it is ended; when the test is
/// killed, too.
pub(crate) struct Home {
    directory: TempDir,
    home: PathBuf,
    /// What the executable is run under: another user, another mount namespace.
    prefix: Vec<String>,
    executable: PathBuf,
    variables: Vec<(String, String)>,
}

/// What a command said.
pub(crate) struct Output {
    /// None when a signal ended it.
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
    command: String,
}

/// A command that still runs. Dropping it kills it.
pub(crate) struct Background {
    child: Child,
    out: Option<JoinHandle<String>>,
    err: Option<JoinHandle<String>>,
    command: String,
}

/// A row of `list --json`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Row {
    pub(crate) app: String,
    pub(crate) id: u64,
    pub(crate) slot: u64,
    pub(crate) pid: Option<u32>,
    pub(crate) status: String,
    pub(crate) restarts: u64,
    pub(crate) uptime_ms: u64,
    pub(crate) memory_bytes: u64,
    pub(crate) cpu_percent: f64,
}

impl Home {
    pub(crate) fn new() -> Home {
        let directory = tempfile::Builder::new().prefix("musher-").tempdir_in("/tmp").unwrap();
        fs::create_dir(directory.path().join("app")).unwrap();
        let home = directory.path().join("home");
        reaper::ends(&format!("{MARK}={}", directory.path().display()));
        reaper::ends(&format!("MUSHER_HOME={}", home.display()));
        reaper::removes(directory.path());
        Home {
            home,
            directory,
            prefix: Vec::new(),
            executable: env!("CARGO_BIN_EXE_musher").into(),
            variables: Vec::new(),
        }
    }

    /// The home at another path than the usual one.
    pub(crate) fn at(mut self, home: impl Into<PathBuf>) -> Home {
        self.home = home.into();
        reaper::ends(&format!("MUSHER_HOME={}", self.home.display()));
        self
    }

    /// Runs every command under `prefix`.
    pub(crate) fn under<S: Into<String>>(mut self, prefix: impl IntoIterator<Item = S>) -> Home {
        self.prefix = prefix.into_iter().map(Into::into).collect();
        self
    }

    /// Runs this copy of the executable.
    pub(crate) fn executable(mut self, path: impl Into<PathBuf>) -> Home {
        self.executable = path.into();
        self
    }

    /// Sets a variable for every command.
    pub(crate) fn variable(mut self, key: &str, value: impl Into<String>) -> Home {
        self.variables.push((key.into(), value.into()));
        self
    }

    /// The directory of this test; also holds the directory `app`.
    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Working directory of every command, hence of the apps.
    pub(crate) fn app_directory(&self) -> PathBuf {
        self.directory.path().join("app")
    }

    /// MUSHER_HOME.
    pub(crate) fn path(&self) -> &Path {
        &self.home
    }

    /// Writes a file into the app directory, or below it.
    pub(crate) fn write(&self, name: &str, content: &str) -> PathBuf {
        let path = self.app_directory().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        path
    }

    /// Says which build of the test app is the next to start.
    pub(crate) fn version(&self, version: &str) {
        self.write("version", version);
    }

    /// A command as a user of this home would give it, not started yet.
    pub(crate) fn command<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Command {
        let mut words: Vec<PathBuf> = self.prefix.iter().map(PathBuf::from).collect();
        words.push(self.executable.clone());
        let mut command = command(&words[0]);
        command.args(&words[1..]).args(args);
        for (key, _) in std::env::vars() {
            if key.starts_with("MUSHER") || key.starts_with("NODE_") || key.starts_with("CARGO") || key == "NO_COLOR" {
                command.env_remove(key);
            }
        }
        command
            .current_dir(self.app_directory())
            .env("HOME", self.directory.path())
            .env("MUSHER_HOME", &self.home)
            .env(MARK, self.directory.path())
            .envs(self.variables.iter().map(|(key, value)| (key, value)))
            .stdin(Stdio::null());
        command
    }

    /// Starts a command and does not wait for it.
    #[track_caller]
    pub(crate) fn spawn<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Background {
        Background::of(self.command(args))
    }

    /// Runs a command to its end.
    #[track_caller]
    pub(crate) fn run<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Output {
        self.spawn(args).wait()
    }

    /// Runs a command that has to succeed.
    #[track_caller]
    pub(crate) fn ok<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Output {
        self.run(args).succeeded()
    }

    /// `list --json`.
    #[track_caller]
    pub(crate) fn list(&self) -> Vec<Row> {
        let output = self.ok(["list", "--json"]);
        let Value::Array(rows) = output.json() else { panic!("not an array: {}", output.out) };
        rows.iter().map(Row::from_json).collect()
    }

    /// The rows of one app.
    #[track_caller]
    pub(crate) fn slots(&self, app: &str) -> Vec<Row> {
        self.list().into_iter().filter(|row| row.app == app).collect()
    }

    /// The pids of one app's workers, by slot.
    #[track_caller]
    pub(crate) fn pids(&self, app: &str) -> Vec<u32> {
        self.slots(app).iter().filter_map(|row| row.pid).collect()
    }

    /// Waits until all slots of an app, `count` of them, are online.
    #[track_caller]
    pub(crate) fn wait_online(&self, app: &str, count: usize) -> Vec<Row> {
        let mut last = Vec::new();
        let online = wait::until(PATIENCE, || {
            last = self.slots(app);
            (last.len() == count && last.iter().all(|row| row.status == "online")).then(|| last.clone())
        });
        online.unwrap_or_else(|| panic!("{app} has no {count} workers online; last: {last:#?}"))
    }

    /// `status --json`.
    #[track_caller]
    pub(crate) fn status(&self) -> Value {
        self.ok(["status", "--json"]).json()
    }

    #[track_caller]
    pub(crate) fn supervisor(&self) -> u32 {
        pid_of(&self.status(), "supervisor")
    }

    #[track_caller]
    pub(crate) fn keeper(&self) -> u32 {
        pid_of(&self.status(), "keeper")
    }

    /// `kill -9` of the supervisor; its pid. Returns when the process is gone.
    #[track_caller]
    pub(crate) fn kill_supervisor(&self) -> u32 {
        kill_and_wait(self.supervisor())
    }

    /// `kill -9` of the keeper; its pid. Returns when the process is gone.
    #[track_caller]
    pub(crate) fn kill_keeper(&self) -> u32 {
        kill_and_wait(self.keeper())
    }

    /// Every process of this home except the commands that test runs itself.
    pub(crate) fn processes(&self) -> BTreeSet<u32> {
        // The daemon has the one, its workers have the other.
        let home = format!("MUSHER_HOME={}", self.home.display());
        let mark = format!("{MARK}={}", self.directory.path().display());
        proc_fs::with_variable(&[home, mark]).into_iter().collect()
    }

    /// The processes that are workers or descend from one.
    pub(crate) fn worker_processes(&self) -> BTreeSet<u32> {
        let is_worker = |pid: &u32| proc_fs::environ(*pid).iter().any(|v| v.starts_with("MUSHER_RUN="));
        self.processes().into_iter().filter(is_worker).collect()
    }

    /// What the daemon itself logged.
    pub(crate) fn daemon_log(&self) -> String {
        fs::read_to_string(self.home.join("musher.log")).unwrap_or_default()
    }

    /// A log file of an app.
    pub(crate) fn log(&self, app: &str, name: &str) -> String {
        fs::read_to_string(self.home.join("logs").join(app).join(name)).unwrap_or_default()
    }

    /// Waits until the daemon and all that it started is gone.
    #[track_caller]
    pub(crate) fn wait_gone(&self) {
        wait_for("all processes of the home are gone", || self.processes().is_empty().then_some(()));
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- musher.log of the failed test ---\n{}", tail(&self.daemon_log(), 60));
        }
        if !self.processes().is_empty()
            && let Ok(mut child) = self.command(["kill"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn()
        {
            let limit = Duration::from_secs(10);
            if wait::until(limit, || child.try_wait().ok().flatten()).is_none() {
                let _ = child.kill();
            }
            let _ = child.wait();
        }
        // What is left is a fault of the product or of the test; either way it must not outlive the test. The tree
        // heals itself, so one round is not always enough.
        let _ = wait::until(Duration::from_secs(10), || {
            let left = self.processes();
            for pid in &left {
                let _ = proc_fs::kill9(*pid);
            }
            left.is_empty().then_some(())
        });
    }
}

impl Background {
    /// Starts this command.
    #[track_caller]
    pub(crate) fn of(mut command: Command) -> Background {
        let words = command.get_args().map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ");
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let out = child.stdout.take().map(read_all);
        let err = child.stderr.take().map(read_all);
        Background { child, out, err, command: words }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Waits for the end.
    #[track_caller]
    pub(crate) fn wait(mut self) -> Output {
        let (output, hung) = self.wait_or_kill(COMMAND_LIMIT);
        assert!(!hung, "hangs for {COMMAND_LIMIT:?}: {output:#?}");
        output
    }

    /// Waits for the end, and kills it when that takes longer; then None.
    #[track_caller]
    pub(crate) fn wait_within(&mut self, limit: Duration) -> Option<Output> {
        let (output, hung) = self.wait_or_kill(limit);
        (!hung).then_some(output)
    }

    fn wait_or_kill(&mut self, limit: Duration) -> (Output, bool) {
        let status = wait::until(limit, || self.child.try_wait().unwrap());
        (self.end(status.and_then(|status| status.code())), status.is_none())
    }

    /// Kills it, and returns what it had said.
    pub(crate) fn stop(mut self) -> Output {
        self.end(None)
    }

    fn end(&mut self, code: Option<i32>) -> Output {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let text = |reader: Option<JoinHandle<String>>| reader.and_then(|r| r.join().ok()).unwrap_or_default();
        Output { code, out: text(self.out.take()), err: text(self.err.take()), command: self.command.clone() }
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Output {
    #[track_caller]
    pub(crate) fn succeeded(self) -> Output {
        assert_eq!(self.code, Some(0), "{self:#?}");
        self
    }

    /// Failed with this documented exit code, and said so on stderr with each of these words.
    #[track_caller]
    pub(crate) fn failed(self, code: i32, words: &[&str]) -> Output {
        assert_eq!(self.code, Some(code), "{self:#?}");
        for word in words {
            assert!(self.err.contains(word), "stderr does not say {word:?}: {self:#?}");
        }
        assert!(!self.err.contains("panicked"), "a panic is not a message: {self:#?}");
        self
    }

    /// All that it said.
    pub(crate) fn out_and_err(&self) -> String {
        format!("{}{}", self.out, self.err)
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("not JSON: {error}: {self:#?}"))
    }
}

impl Debug for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "$ musher {}\n{}{}exit code {:?}", self.command, self.out, self.err, self.code)
    }
}

impl Row {
    #[track_caller]
    fn from_json(value: &Value) -> Row {
        let number = |key: &str| value[key].as_u64().unwrap_or_else(|| panic!("{key} is no number: {value}"));
        let text = |key: &str| value[key].as_str().unwrap_or_else(|| panic!("{key} is no text: {value}")).to_owned();
        assert!(value["pid"].is_null() || value["pid"].is_u64(), "pid is a number or null: {value}");
        Row {
            app: text("app"),
            id: number("id"),
            slot: number("slot"),
            pid: value["pid"].as_u64().map(|pid| u32::try_from(pid).unwrap()),
            status: text("status"),
            restarts: number("restarts"),
            uptime_ms: number("uptime_ms"),
            memory_bytes: number("memory_bytes"),
            cpu_percent: value["cpu_percent"].as_f64().unwrap_or_else(|| panic!("cpu_percent is no number: {value}")),
        }
    }
}

#[track_caller]
fn pid_of(status: &Value, role: &str) -> u32 {
    let pid = status[role]["pid"].as_u64().unwrap_or_else(|| panic!("no pid of the {role}: {status}"));
    u32::try_from(pid).unwrap()
}

#[track_caller]
fn kill_and_wait(pid: u32) -> u32 {
    proc_fs::kill9(pid).unwrap();
    wait_for("the killed process is gone", || (!proc_fs::is_alive(pid)).then_some(()));
    pid
}

fn read_all(mut stream: impl Read + Send + 'static) -> JoinHandle<String> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        // What was read before an error is what the command said.
        let _ = stream.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

fn tail(text: &str, lines: usize) -> String {
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}
