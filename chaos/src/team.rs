//! The team in a home of its own: its files, its commands, its processes. Dropping it ends everything.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::Read;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use musher_bench::{proc_fs, wait};
use rustix::process::{getegid, geteuid};
use serde_json::Value;
use tempfile::TempDir;

use crate::apps::{APPS, App, Language};
use crate::foreground::{self, Foreground};

/// How long anything may take that is going to happen at all.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A variable by which everything that was started here is found.
const MARK: &str = "CHAOS_TEAM";

/// What is run.
#[derive(Debug)]
pub(crate) struct Tools {
    pub(crate) musher: PathBuf,
    /// The server of `examples/hyper`.
    pub(crate) hyper: PathBuf,
    /// What `cargo xtask` installed from npm and PyPI.
    pub(crate) packages: PathBuf,
    /// As whom musher runs, where it is another user: uid and gid.
    pub(crate) user: Option<(u32, u32)>,
    /// Whether it is run by `musher run`.
    pub(crate) foreground: bool,
}

/// The team.
#[derive(Debug)]
pub(crate) struct Team {
    directory: TempDir,
    tools: Tools,
    /// One for each app.
    ports: Vec<u16>,
    /// Whether the home is a file system of its own, which can be filled.
    pub(crate) can_fill: bool,
    /// Keys that this build of musher knows.
    pub(crate) knows: Knows,
    /// The command that runs it, if it is one.
    pub(crate) foreground: Option<Foreground>,
}

/// What this build of musher can do.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Knows {
    pub(crate) limits_memory: bool,
    pub(crate) on_uncaught: bool,
    pub(crate) upgrade: bool,
}

/// What a command said.
#[derive(Clone, Debug)]
pub(crate) struct Said {
    pub(crate) words: String,
    /// None when it hung and was killed.
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// What of an app's process file changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) workers: usize,
    pub(crate) build: u32,
}

/// A run: its processes, the first of which is musher's child.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    pub(crate) slot: String,
    pub(crate) processes: Vec<u32>,
}

impl Team {
    /// The directories and files of a team; nothing runs yet. `disk`: the home becomes a file system of this size.
    pub(crate) fn prepare(tools: Tools, disk: Option<u64>) -> Result<Team> {
        let directory = tempfile::Builder::new().prefix("musher-chaos-").tempdir_in("/tmp")?;
        let ports = APPS.iter().map(|_| free_port()).collect::<Result<Vec<u16>>>()?;
        let foreground = match tools.foreground {
            true => Some(Foreground::new(directory.path(), free_port()?)),
            false => None,
        };
        let mut team = Team { directory, tools, ports, can_fill: false, knows: Knows::default(), foreground };
        for name in ["home", "counters", "orders", "state"] {
            fs::create_dir(team.path().join(name))?;
        }
        if let Some(bytes) = disk {
            let (uid, gid) = team.tools.user.unwrap_or((geteuid().as_raw(), getegid().as_raw()));
            let options = format!("size={bytes},mode=700,uid={uid},gid={gid}");
            let mount = ["-t", "tmpfs", "-o", &options, "tmpfs"];
            let status = Command::new("mount").args(mount).arg(team.home()).stdin(Stdio::null()).status()?;
            team.can_fill = status.success();
        }
        team.give_away()?;
        // The process files depend on it.
        team.knows = team.ask_what_it_knows()?;
        for (number, app) in APPS.iter().enumerate() {
            team.prepare_app(number, app)?;
        }
        Ok(team)
    }

    /// What the user has to write to becomes the user's.
    fn give_away(&self) -> Result<()> {
        let Some((uid, gid)) = self.tools.user else { return Ok(()) };
        for directory in [self.path().to_owned(), self.home(), self.counters(), self.path().join("state")] {
            std::os::unix::fs::chown(&directory, Some(uid), Some(gid))
                .with_context(|| format!("{} for another user (only root can)", directory.display()))?;
        }
        Ok(())
    }

    fn prepare_app(&self, number: usize, app: &App) -> Result<()> {
        let directory = self.app_directory(number);
        fs::create_dir(&directory)?;
        for file in app.files {
            let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("apps").join(file);
            fs::copy(&from, directory.join(file)).with_context(|| from.display().to_string())?;
        }
        if app.language == Language::Node {
            let modules = self.tools.packages.join("node_modules");
            ensure!(
                modules.join("express").exists(),
                "{} lacks Express: cargo xtask test installs it",
                modules.display()
            );
            std::os::unix::fs::symlink(modules.canonicalize()?, directory.join("node_modules"))?;
        }
        self.version(number, "1")?;
        self.write_file(number, Wanted { workers: app.workers, build: 0 }, None)
    }

    fn ask_what_it_knows(&self) -> Result<Knows> {
        let knows = |key: &str| -> Result<bool> {
            let file = self.path().join("knows.toml");
            fs::write(&file, format!("[[app]]\nname = \"a\"\ncommand = \"sleep 1\"\n{key}\n"))?;
            Ok(self.run([OsStr::new("start"), OsStr::new("--dry-run"), file.as_os_str()]).code == Some(0))
        };
        ensure!(knows("")?, "{} does not run: {:?}", self.tools.musher.display(), self.run(["--version"]));
        Ok(Knows {
            limits_memory: knows("limits = { memory = \"1GiB\" }")?,
            on_uncaught: knows("on_uncaught = \"drain\"").unwrap_or(false)
                || self.run(["start", "--help"]).out.contains("on-uncaught"),
            upgrade: self.run(["upgrade", "--help"]).code == Some(0),
        })
    }

    /// The directory of everything.
    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn home(&self) -> PathBuf {
        self.path().join("home")
    }

    pub(crate) fn counters(&self) -> PathBuf {
        self.path().join("counters")
    }

    pub(crate) fn musher(&self) -> &Path {
        &self.tools.musher
    }

    pub(crate) fn port(&self, app: usize) -> u16 {
        self.ports[app]
    }

    fn app_directory(&self, app: usize) -> PathBuf {
        self.path().join(APPS[app].name)
    }

    /// Says which version of an app is the next to start.
    pub(crate) fn version(&self, app: usize, version: &str) -> Result<()> {
        // Never half written: a worker may start at any time.
        let directory = self.app_directory(app);
        fs::write(directory.join("version.new"), version)?;
        Ok(fs::rename(directory.join("version.new"), directory.join("version"))?)
    }

    /// The process file of an app.
    pub(crate) fn file(&self, app: usize) -> PathBuf {
        self.app_directory(app).join("musher.toml")
    }

    /// Writes the process file of an app, or that of a bad build.
    pub(crate) fn write_file(&self, number: usize, wanted: Wanted, bad: Option<&str>) -> Result<()> {
        let (app, port) = (&APPS[number], self.ports[number]);
        let program = match app.language {
            Language::Node => format!("script = \"{}\"\nargs = [\"{port}\"]", app.files[0]),
            Language::Python => {
                format!("command = [{}, \"wsgi:app\"]\nlisten = \"tcp://127.0.0.1:{port}\"", self.gunicorn())
            }
            Language::Rust if bad.is_some() => format!("command = \"false\"\nlisten = \"tcp://127.0.0.1:{port}\""),
            Language::Rust => {
                format!("command = [\"{}\"]\nlisten = \"tcp://127.0.0.1:{port}\"", self.tools.hyper.display())
            }
        };
        let build = bad.map_or_else(|| wanted.build.to_string(), str::to_owned);
        let canary = if bad == Some("late") { "reload = { canary = { slots = 1, wait = \"4s\" } }" } else { "" };
        let limits = if self.knows.limits_memory { "limits = { memory = \"400MiB\" }" } else { "" };
        let logs = self.foreground.as_ref().map_or("max_size = \"1MiB\", keep = 1000", |_| foreground::LOGS);
        let text = format!(
            "[[app]]\nname = \"{}\"\n{program}\ninstances = {}\n{}\n{limits}\n{canary}\n\
             env = {{ BUILD = \"{build}\", COUNTERS = \"{}\", ORDERS = \"{}\", PYTHONPATH = \"{}\" }}\n\
             stop = {{ drain = \"20s\", grace = \"20s\" }}\n\
             restart = {{ max_restarts = 10000, max_delay = \"1s\" }}\n\
             logs = {{ {logs} }}\n",
            app.name,
            wanted.workers,
            app.keys,
            self.counters().display(),
            self.path().join("orders").display(),
            self.packages_of_python().unwrap_or_default().display(),
        );
        Ok(fs::write(self.file(number), text)?)
    }

    /// The words that start gunicorn. Another user may not be allowed to execute the interpreter that it was installed with.
    fn gunicorn(&self) -> String {
        match self.tools.user {
            Some(_) => "\"/usr/bin/python3\", \"-m\", \"gunicorn\"".to_owned(),
            None => format!("\"{}\"", self.tools.packages.join("venv/bin/gunicorn").display()),
        }
    }

    fn packages_of_python(&self) -> Option<PathBuf> {
        let versions = fs::read_dir(self.tools.packages.join("venv/lib")).ok()?;
        let mut places = versions.flatten().map(|version| version.path().join("site-packages"));
        places.find(|place| self.tools.user.is_some() && place.join("gunicorn").is_dir())
    }

    fn command<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Command {
        let mut command = Command::new(&self.tools.musher);
        command.args(args).current_dir(self.path()).stdin(Stdio::null());
        for (key, _) in std::env::vars() {
            if key.starts_with("MUSHER") || key.starts_with("NODE_") || key.starts_with("CARGO") {
                command.env_remove(key);
            }
        }
        if let Some((uid, gid)) = self.tools.user {
            command.uid(uid).gid(gid);
        }
        command.env("HOME", self.path()).env("MUSHER_HOME", self.home()).env(MARK, self.path());
        command
    }

    /// Runs a command of musher to its end.
    pub(crate) fn run<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Said {
        let mut command = self.command(args);
        let words: Vec<String> = command.get_args().map(|word| word.to_string_lossy().into_owned()).collect();
        let words = words.join(" ");
        let failed = |error: std::io::Error| Said {
            words: words.clone(),
            code: None,
            out: String::new(),
            err: error.to_string(),
        };
        let mut child = match command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn() {
            Ok(child) => child,
            Err(error) => return failed(error),
        };
        let (out, err) = (child.stdout.take().map(read_all), child.stderr.take().map(read_all));
        let status = wait::until(PATIENCE, || child.try_wait().ok().flatten());
        if status.is_none() {
            let _ = child.kill();
            let _ = child.wait();
        }
        let text = |reader: Option<JoinHandle<String>>| reader.and_then(|r| r.join().ok()).unwrap_or_default();
        Said { words, code: status.and_then(|status| status.code()), out: text(out), err: text(err) }
    }

    /// Starts all apps and waits until they serve.
    pub(crate) fn start(&self) -> Result<()> {
        if let Some(foreground) = &self.foreground {
            let mut words: Vec<OsString> = foreground.words().into_iter().map(OsString::from).collect();
            words.extend((0..APPS.len()).map(|app| self.file(app).into_os_string()));
            return foreground.start(self.command(words));
        }
        for (number, app) in APPS.iter().enumerate() {
            let said = self.run([OsStr::new("start"), self.file(number).as_os_str()]);
            ensure!(said.code == Some(0), "{}: {said}", app.name);
        }
        Ok(())
    }

    /// Rows of `list --json` of an app, asked again while there is no supervisor to answer.
    pub(crate) fn rows(&self, app: usize) -> Result<Vec<Value>> {
        let mut last = None;
        let rows = wait::until_every(Duration::from_millis(100), PATIENCE, || {
            let said = self.run(["list", "--json"]);
            let rows = serde_json::from_str::<Value>(&said.out).ok().filter(|_| said.code == Some(0));
            last = Some(said);
            match rows {
                Some(Value::Array(rows)) => Some(rows),
                _ => None,
            }
        });
        let Some(rows) = rows else { bail!("no list in {PATIENCE:?}: {last:?}") };
        Ok(rows.into_iter().filter(|row| row["app"] == APPS[app].name).collect())
    }

    /// Pids of keeper and supervisor, when the supervisor answers.
    pub(crate) fn daemon(&self) -> Option<(u32, u32)> {
        let said = self.run(["status", "--json"]);
        let status: Value = serde_json::from_str(&said.out).ok()?;
        let pid = |role: &str| u32::try_from(status[role]["pid"].as_u64()?).ok();
        Some((pid("keeper")?, pid("supervisor")?))
    }

    /// All runs of an app, also those that start or drain, by the environment of their processes.
    pub(crate) fn runs(&self, app: usize) -> BTreeMap<String, Run> {
        let name = format!("MUSHER_APP={}", APPS[app].name);
        let mut runs: BTreeMap<String, Run> = BTreeMap::new();
        for pid in self.processes() {
            let variables = proc_fs::environ(pid);
            let value = |key: &str| variables.iter().find_map(|v| v.strip_prefix(key)?.strip_prefix('='));
            if let (true, Some(run)) = (variables.contains(&name), value("MUSHER_RUN")) {
                let slot = value("MUSHER_SLOT").unwrap_or_default().to_owned();
                runs.entry(run.to_owned()).or_insert(Run { slot, processes: Vec::new() }).processes.push(pid);
            }
        }
        for run in runs.values_mut() {
            // Musher's child first: the one whose parent is none of them.
            let all = run.processes.clone();
            run.processes.sort_by_key(|pid| (proc_fs::parent(*pid).is_some_and(|parent| all.contains(&parent)), *pid));
        }
        runs
    }

    /// Every process that was started here: daemons have the home in their environment, the rest the mark.
    pub(crate) fn processes(&self) -> BTreeSet<u32> {
        let home = format!("MUSHER_HOME={}", self.home().display());
        let mark = format!("{MARK}={}", self.path().display());
        proc_fs::with_variable(&[home, mark]).into_iter().collect()
    }

    /// Writes an order for a worker that obeys orders, and tells it to look.
    pub(crate) fn order(&self, pid: u32, order: &str) -> Result<()> {
        fs::write(self.path().join("orders").join(pid.to_string()), order)?;
        Ok(proc_fs::signal(pid, rustix::process::Signal::USR2)?)
    }

    /// Processes that obey orders.
    pub(crate) fn obedient(&self) -> BTreeSet<u32> {
        let names = fs::read_dir(self.counters()).into_iter().flatten().flatten();
        names.filter_map(|name| name.file_name().to_str()?.rsplit('.').next()?.parse().ok()).collect()
    }
}

impl Drop for Team {
    fn drop(&mut self) {
        if !self.processes().is_empty() {
            self.run(["kill"]);
        }
        // The daemon heals itself, so one round is not always enough.
        wait::until(Duration::from_secs(20), || {
            let left = self.processes();
            for pid in &left {
                let _ = proc_fs::kill9(*pid);
            }
            left.is_empty().then_some(())
        });
        if self.can_fill {
            let _ = Command::new("umount").arg("-l").arg(self.home()).stdin(Stdio::null()).status();
        }
    }
}

impl std::fmt::Display for Said {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let code = self.code.map_or_else(|| format!("no end in {PATIENCE:?}"), |code| format!("exit code {code}"));
        write!(f, "`musher {}`: {code}: {}", self.words, self.err.trim().replace('\n', " | "))
    }
}

/// Waits until these are the daemon's processes no more and others answer; whether they did.
pub(crate) fn wait_replaced(team: &Team, dead: &[u32]) -> Option<Duration> {
    let started = Instant::now();
    wait::until(PATIENCE, || {
        let (keeper, supervisor) = team.daemon()?;
        let fresh = !dead.contains(&keeper) && !dead.contains(&supervisor);
        (fresh && proc_fs::is_alive(keeper) && proc_fs::is_alive(supervisor)).then(|| started.elapsed())
    })
}

fn read_all(mut stream: impl Read + Send + 'static) -> JoinHandle<String> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        // What was read before an error is what the command said.
        let _ = stream.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

fn free_port() -> Result<u16> {
    Ok(std::net::TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}
