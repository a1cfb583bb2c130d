//! From what was written to a valid [`AppSpec`]: paths made absolute, programs found, defaults filled in, checked.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use musher_core::spec::{
    AppSpec, AutoScale, Canary, Listen, ListenAddress, Logs, Probe, ReadyWhen, Reload, Restart, RestartPolicy, Runtime,
    Schedule, SlotVariables, User, WatchFiles, check_name, is_mushers_own,
};
use musher_process::lookup::{lookup_group, lookup_user};

use super::fault::Faults;
use super::program::{
    Place, Script, Unrunnable, helpful_variables, of_command, of_script, similar_files, with_program,
};
use super::raw::{
    Account, Filter, Instances, Proof, RawApp, RawCommand, RawLogs, RawProbe, RawReady, RawReload, RawSchedule,
    RawWatch,
};
use super::{Surroundings, values};

/// Variables that belong to the process that had them, or that musher sets itself.
const NOT_INHERITED: &[&str] = &[
    "NODE_CHANNEL_FD",
    "NODE_CHANNEL_SERIALIZATION_MODE",
    "NODE_UNIQUE_ID",
    "NODE_APP_INSTANCE",
    "LISTEN_FDS",
    "LISTEN_PID",
    "LISTEN_PIDFDID",
    "LISTEN_FDNAMES",
    "NOTIFY_SOCKET",
    "WATCHDOG_USEC",
    "WATCHDOG_PID",
    "JOURNAL_STREAM",
    "INVOCATION_ID",
    "SYSTEMD_EXEC_PID",
    "MAINPID",
    "PWD",
    "OLDPWD",
    "_",
];

/// The specs of `apps`, whose paths are relative to `base`.
pub(super) fn specs(apps: &[RawApp], base: &Path, around: &Surroundings, faults: &mut Faults) -> Vec<AppSpec> {
    let mut names: BTreeMap<String, &RawApp> = BTreeMap::new();
    let mut specs = Vec::new();
    for app in apps {
        let Some(spec) = (Resolver { app, around, faults }).spec(base) else { continue };
        if let Some(first) = names.insert(spec.name.clone(), app) {
            let line = match first.at {
                super::fault::Origin::Place { line, .. } => format!(" (the other is in line {line})"),
                _ => String::new(),
            };
            faults.add(app.place("name"), "name", format!("two apps are called {:?}{line}", spec.name));
        }
        specs.push(spec);
    }
    specs
}

struct Resolver<'a> {
    app: &'a RawApp,
    around: &'a Surroundings,
    faults: &'a mut Faults,
}

impl Resolver<'_> {
    fn fault(&mut self, key: &str, message: impl Into<String>, hint: impl Into<String>) {
        let at = self.app.place(key);
        self.faults.add(at, key, message).hint(hint);
    }

    fn spec(mut self, base: &Path) -> Option<AppSpec> {
        let app = self.app;
        let cwd: PathBuf = base.join(app.cwd.as_deref().unwrap_or_default()).components().collect();
        if !cwd.is_dir() {
            let what = if cwd.exists() { "is not a directory" } else { "does not exist" };
            let hint = if cwd.exists() { String::new() } else { similar_files(&cwd) };
            self.fault("cwd", format!("{} {what}", cwd.display()), hint);
            return None;
        }
        let env = self.env(&cwd);
        let mut base_env = inherited(&self.around.env);
        if let Some(filter) = &app.filter_env {
            base_env.retain(|name, _| !is_kept_back(filter, name));
        }
        let path = env.get("PATH").or_else(|| base_env.get("PATH")).map(String::as_str);
        let place_path = path.map(str::to_owned);
        let name = self.name();
        let exec = self.exec(Place { cwd: &cwd, path });
        let account = self.user();
        base_env.extend(account.iter().flat_map(|(_, variables)| variables.clone()));
        let user = account.map(|(user, _)| user);
        let (name, exec) = (name?, exec?);
        for (variable, value) in helpful_variables(&exec) {
            base_env.entry(variable).or_insert(value);
        }
        let place = Place { cwd: &cwd, path: place_path.as_deref() };
        let mut spec = AppSpec { env, base_env, user, ..AppSpec::new(name, exec, &cwd) };
        spec.instances = match app.instances {
            None => 1,
            Some(Instances::Exactly(number)) => number,
            Some(Instances::Max) => self.around.cores,
            Some(Instances::Between(raw)) => {
                let min = raw.min.unwrap_or(1);
                let usual = AutoScale::between(min, raw.max.unwrap_or(self.around.cores.max(min)));
                spec.scale = Some(AutoScale {
                    up_after: raw.up_after.unwrap_or(usual.up_after),
                    down_after: raw.down_after.unwrap_or(usual.down_after),
                    ..usual
                });
                min
            }
        };
        spec.namespace = app.namespace.clone().unwrap_or(spec.namespace);
        spec.slot_variables = SlotVariables {
            number: app.instance_var.clone().filter(|name| name != SlotVariables::NUMBER),
            increment: app.increment_var.clone(),
        };
        spec.autostart = app.autostart.unwrap_or(spec.autostart);
        spec.watch = app.watch.as_ref().map(|raw| watch(raw, &cwd));
        spec.schedule = app.schedule.as_ref().and_then(|raw| schedule(raw, self.around));
        spec.depends_on = app.depends_on.clone();
        spec.depends_timeout = app.depends_timeout.unwrap_or(spec.depends_timeout);
        spec.balance = app.balance.unwrap_or_default();
        spec.listen = listen(app, &cwd);
        self.ready(&mut spec);
        if spec.is_job() {
            spec.restart.policy = RestartPolicy::Never;
        }
        restart(app, &mut spec.restart);
        spec.stop.signal = app.stop.signal.unwrap_or(spec.stop.signal);
        spec.stop.message = app.stop.message.unwrap_or(spec.stop.message);
        spec.stop.tree = app.stop.tree.unwrap_or(spec.stop.tree);
        spec.stop.grace = app.stop.grace.unwrap_or(spec.stop.grace);
        spec.stop.drain = app.stop.drain.unwrap_or(spec.stop.drain);
        spec.stop.uncaught = app.stop.uncaught.unwrap_or(spec.stop.uncaught);
        spec.on_uncaught = app.on_uncaught;
        spec.preload = app.preload.unwrap_or(spec.preload);
        spec.reload = reload(&app.reload);
        self.limits(&mut spec);
        self.health(&mut spec, place);
        self.hooks(&mut spec, place);
        spec.pid_file = app.pid_file.as_ref().map(|path| cwd.join(path));
        logs(&app.logs, &cwd, &mut spec.logs);
        for fault in spec.check().err().unwrap_or_default() {
            // One fault of a key is enough: the first is the nearer one.
            if !self.faults.has_key(app.place(fault.field), fault.field) {
                self.fault(fault.field, fault.message, "");
            }
        }
        Some(spec)
    }

    fn name(&mut self) -> Option<String> {
        if let Some(name) = &self.app.name {
            return match check_name(name) {
                Ok(()) => Some(name.clone()),
                Err(message) => {
                    self.fault("name", message, "");
                    None
                }
            };
        }
        let stem = name_of(self.app)?;
        match check_name(&stem) {
            Ok(()) => Some(stem),
            Err(message) => {
                let message = format!("the app needs a name, for that of its program will not do: {message}");
                self.fault("name", message, "set name");
                None
            }
        }
    }

    fn exec(&mut self, place: Place<'_>) -> Option<musher_core::spec::Exec> {
        let app = self.app;
        let wanted = Script {
            script: app.script.as_deref().unwrap_or_default(),
            args: &app.args,
            interpreter: app.interpreter.as_deref(),
            interpreter_args: &app.interpreter_args,
            cluster: app.cluster,
        };
        let exec = match (&app.script, &app.command) {
            (Some(script), None) if script.is_empty() => {
                self.fault("script", "the path is empty", "");
                return None;
            }
            (Some(_), None) => of_script(wanted, place),
            (None, Some(command)) => of_command(command, wanted, place),
            (Some(_), Some(_)) => {
                self.fault(
                    "command",
                    "an app has a script or a command, not both",
                    "put the script's arguments into args",
                );
                return None;
            }
            (None, None) => {
                // A script or command that was given but wrong has been reported.
                if !app.places.contains_key("script") && !app.places.contains_key("command") {
                    let at = app.at;
                    self.faults
                        .add(at, "", "an app needs a script or a command")
                        .hint("for example script = \"server.js\"");
                }
                return None;
            }
        };
        match exec {
            Ok(exec) => Some(exec),
            Err(Unrunnable { key, message, hint }) => {
                self.fault(key, message, hint);
                None
            }
        }
    }

    fn env(&mut self, cwd: &Path) -> BTreeMap<String, String> {
        let mut env = BTreeMap::new();
        for file in &self.app.env_file {
            let path = cwd.join(file);
            match read_text(&path) {
                Ok(text) => match values::env_file(&text) {
                    Ok(variables) => env.extend(variables),
                    Err(message) => self.fault("env_file", format!("{}: {message}", path.display()), ""),
                },
                Err(error) => {
                    let hint = similar_files(&path);
                    self.fault("env_file", format!("{}: {error}", path.display()), hint);
                }
            }
        }
        env.extend(self.app.env.clone());
        let own: Vec<String> = env.keys().filter(|name| is_mushers_own(name)).cloned().collect();
        for name in own {
            env.remove(&name);
            self.fault(&format!("env.{name}"), "musher sets this variable itself for each worker", "leave it out");
        }
        env
    }

    fn ready(&mut self, spec: &mut AppSpec) {
        let RawReady { proof, timeout } = &self.app.ready;
        spec.ready.timeout = timeout.unwrap_or(spec.ready.timeout);
        spec.ready.when = match proof.clone().unwrap_or(Proof::Auto) {
            Proof::Auto => ReadyWhen::Auto,
            Proof::Listening => ReadyWhen::Listening,
            Proof::Message => ReadyWhen::Message,
            Proof::Notify => ReadyWhen::Notify,
            Proof::Tcp(address) => ReadyWhen::Tcp { address },
            Proof::Http(address, path) => ReadyWhen::Http { address, path },
            Proof::After(after) => ReadyWhen::Alive { after_ms: millis(after) },
        };
        // Asking to be ready after longer than the default timeout is no contradiction that the user made.
        if let (ReadyWhen::Alive { after_ms }, None) = (&spec.ready.when, timeout) {
            spec.ready.timeout = spec.ready.timeout.max(Duration::from_millis(*after_ms) + Duration::from_secs(30));
        }
    }

    fn limits(&mut self, spec: &mut AppSpec) {
        let limits = &self.app.limits;
        spec.limits.open_files = limits.open_files;
        spec.limits.address_space_bytes = limits.address_space;
        spec.limits.core_bytes = limits.core;
        spec.limits.processes = limits.processes;
        spec.limits.nice = limits.nice;
        spec.limits.memory_bytes = limits.memory;
        spec.limits.cpu_percent = limits.cpu_percent;
        spec.limits.cpu_for = limits.cpu_for.unwrap_or(spec.limits.cpu_for);
        spec.limits.cpu_seconds = limits.cpu.map(|time| time.as_secs());
        if limits.cpu.is_some_and(|time| time.as_secs() == 0 || time.subsec_nanos() != 0) {
            self.fault("limits.cpu", "CPU time is limited in whole seconds, at least one", "");
        }
        if limits.address_space.is_some() && spec.exec.runtime != Runtime::Plain {
            let hint = "leave it out; --max-old-space-size in interpreter_args bounds the heap";
            self.fault("limits.address_space", "Node reserves gigabytes of address space that it never uses", hint);
        }
    }

    fn health(&mut self, spec: &mut AppSpec, place: Place<'_>) {
        let raw = &self.app.health;
        let health = &mut spec.health;
        health.interval = raw.interval.unwrap_or(health.interval);
        health.timeout = raw.timeout.unwrap_or(health.timeout);
        health.failures = raw.failures.unwrap_or(health.failures);
        health.delay = raw.delay.unwrap_or(health.delay);
        health.event_loop = raw.event_loop.map(millis);
        health.watchdog = raw.watchdog.map(millis);
        health.liveness = match &raw.liveness {
            None => None,
            Some(RawProbe::Http(address, path)) => Some(Probe::Http { address: *address, path: path.clone() }),
            Some(RawProbe::Tcp(address)) => Some(Probe::Tcp { address: *address }),
            Some(RawProbe::Exec(words)) => {
                self.command("health.liveness", words, place).map(|command| Probe::Exec { command })
            }
        };
    }

    fn hooks(&mut self, spec: &mut AppSpec, place: Place<'_>) {
        let raw = &self.app.hooks;
        spec.hooks.timeout = raw.timeout.unwrap_or(spec.hooks.timeout);
        for (name, command) in &raw.commands {
            let command = match command {
                RawCommand::Line(line) => Some(vec!["/bin/sh".into(), "-c".into(), line.clone()]),
                RawCommand::Words(words) => self.command(&format!("hooks.{name}"), words, place),
            };
            let hooks = &mut spec.hooks;
            match *name {
                "crash" => hooks.crash = command,
                "pre_start" => hooks.pre_start = command,
                "post_start" => hooks.post_start = command,
                "pre_reload" => hooks.pre_reload = command,
                "post_reload" => hooks.post_reload = command,
                "pre_stop" => hooks.pre_stop = command,
                "post_stop" => hooks.post_stop = command,
                _ => hooks.giveup = command,
            }
        }
    }

    /// A command whose program is looked up.
    fn command(&mut self, key: &str, words: &[String], place: Place<'_>) -> Option<Vec<String>> {
        match with_program(words, place) {
            Ok(command) => Some(command),
            Err((message, hint)) => {
                self.fault(key, message, hint);
                None
            }
        }
    }

    /// The account of the workers, and the variables that name it.
    fn user(&mut self) -> Option<(User, Vec<(String, String)>)> {
        let app = self.app;
        let group = app.group.as_ref().and_then(|group| self.group(group));
        let Some(account) = &app.user else {
            if app.group.is_some() {
                self.fault("group", "a group goes with a user", "set user, too");
            }
            return None;
        };
        let text = match account {
            Account::Name(name) => name.clone(),
            Account::Id(id) => id.to_string(),
        };
        match lookup_user(&text) {
            Ok(Some(entry)) => {
                let gid = group.unwrap_or(entry.gid);
                // As login(1) and systemd do, so that programs find what is theirs and not what is the caller's.
                let path = |path: Option<PathBuf>| path.and_then(|path| path.into_os_string().into_string().ok());
                let variables = [
                    ("HOME", path(entry.home)),
                    ("SHELL", path(entry.shell)),
                    ("USER", Some(entry.name.clone())),
                    ("LOGNAME", Some(entry.name)),
                ];
                let given = variables.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
                Some((User { uid: entry.uid, gid, groups: entry.groups }, given.collect()))
            }
            Ok(None) => {
                self.fault("user", format!("the user {text:?} cannot be found"), "");
                None
            }
            Err(error) => {
                self.fault("user", format!("users cannot be looked up: {error}"), "");
                None
            }
        }
    }

    fn group(&mut self, account: &Account) -> Option<u32> {
        let text = match account {
            Account::Id(id) => return Some(*id),
            Account::Name(name) => name,
        };
        match lookup_group(text) {
            Ok(Some(gid)) => Some(gid),
            Ok(None) => {
                self.fault("group", format!("there is no group {text:?}"), "");
                None
            }
            Err(error) => {
                self.fault("group", format!("groups cannot be looked up: {error}"), "");
                None
            }
        }
    }
}

/// The name that an app has or gets by default, whether it is valid or not.
pub(super) fn name_of(app: &RawApp) -> Option<String> {
    if let Some(name) = &app.name {
        return Some(name.clone());
    }
    let program = app.script.as_ref().or_else(|| default_name_word(app.command.as_ref()?))?;
    Some(Path::new(program).file_stem()?.to_string_lossy().into_owned())
}

/// The word of a command that people would call the app by: `server.js` in `node server.js`.
fn default_name_word(command: &[String]) -> Option<&String> {
    let program = command.first()?;
    let stem = Path::new(program).file_stem()?.to_str()?;
    let interpreter = ["node", "nodejs", "bun", "deno", "bash", "sh", "ruby", "perl", "php"].contains(&stem)
        || stem.starts_with("python");
    let script = command.iter().skip(1).find(|word| !word.starts_with('-') && Path::new(word).extension().is_some());
    if interpreter { script.or(Some(program)) } else { Some(program) }
}

/// What workers inherit of the environment of whoever starts them.
pub(crate) fn inherited(env: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    env.iter()
        .filter(|(name, _)| !NOT_INHERITED.contains(&name.as_str()) && !name.starts_with("MUSHER_"))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

/// Whether a variable of the caller is kept from the workers.
fn is_kept_back(filter: &Filter, name: &str) -> bool {
    match filter {
        // Without these no program finds anything.
        Filter::All => !matches!(name, "PATH" | "HOME"),
        Filter::Containing(words) => words.iter().any(|word| !word.is_empty() && name.contains(word.as_str())),
    }
}

fn watch(raw: &RawWatch, cwd: &Path) -> WatchFiles {
    let paths = match &raw.paths {
        None => vec![cwd.to_owned()],
        // Without the "." of "./src": what the kernel tells of has none.
        Some(paths) => paths.iter().map(|path| cwd.join(path).components().collect()).collect(),
    };
    let usual = WatchFiles::of(paths);
    let endings = raw.extensions.iter().flat_map(|words| words.split(','));
    let endings = endings.map(|ending| ending.trim().trim_start_matches('.')).filter(|ending| !ending.is_empty());
    let loaded = raw.loaded.unwrap_or(usual.loaded);
    WatchFiles {
        ignore: raw.ignore.clone(),
        extensions: endings.map(str::to_owned).collect(),
        loaded,
        // What is built is often both named there and loaded.
        gitignore: raw.gitignore.unwrap_or(usual.gitignore && !loaded),
        delay: raw.delay.unwrap_or(usual.delay),
        on_change: raw.on_change.unwrap_or(usual.on_change),
        ..usual
    }
}

fn schedule(raw: &RawSchedule, around: &Surroundings) -> Option<Schedule> {
    Some(Schedule {
        cron: raw.cron.clone()?,
        timezone: raw.timezone.clone().unwrap_or_else(|| around.zone.clone()),
        action: raw.action.unwrap_or_default(),
        missed: raw.missed.unwrap_or_default(),
    })
}

fn listen(app: &RawApp, cwd: &Path) -> Vec<Listen> {
    app.listen
        .iter()
        .map(|raw| Listen {
            address: match &raw.address {
                ListenAddress::Unix(path) => ListenAddress::Unix(cwd.join(path)),
                other => other.clone(),
            },
            name: raw.name.clone(),
            backlog: raw.backlog.unwrap_or(511),
        })
        .collect()
}

fn logs(raw: &RawLogs, cwd: &Path, logs: &mut Logs) {
    let path = |path: &Option<String>| path.as_ref().map(|path| cwd.join(path));
    logs.out = path(&raw.out);
    logs.err = path(&raw.err);
    logs.combined = path(&raw.combined);
    logs.per_worker = raw.per_worker.unwrap_or_default();
    logs.format = raw.format.unwrap_or_default();
    logs.date_format.clone_from(&raw.date_format);
    logs.max_bytes = raw.max_size.unwrap_or(logs.max_bytes);
    logs.max_age = raw.max_age;
    logs.keep = raw.keep.unwrap_or(logs.keep);
    logs.keep_for = raw.keep_for;
    logs.max_total_bytes = raw.max_total.unwrap_or_default();
    logs.compress = raw.compress.unwrap_or_default();
    logs.limit = raw.limit;
    logs.journald = path(&raw.journald);
    logs.otlp.clone_from(&raw.otlp);
}

fn restart(app: &RawApp, restart: &mut Restart) {
    let raw = &app.restart;
    restart.policy = raw.policy.unwrap_or(restart.policy);
    restart.stop_exit_codes = raw.stop_exit_codes.clone();
    restart.min_uptime = raw.min_uptime.unwrap_or(restart.min_uptime);
    restart.window = raw.window.unwrap_or(restart.window);
    restart.max_restarts = raw.max_restarts.unwrap_or(restart.max_restarts);
    let backoff = &mut restart.backoff;
    backoff.initial = raw.delay.unwrap_or(backoff.initial);
    // A first wait longer than the default cap raises the cap.
    backoff.max = raw.max_delay.unwrap_or(backoff.max.max(backoff.initial));
    backoff.factor_percent = raw.factor.map_or(backoff.factor_percent, percent);
    backoff.jitter_percent = raw.jitter.map_or(backoff.jitter_percent, percent);
}

fn reload(raw: &RawReload) -> Reload {
    let usual = Reload::default();
    let canary = raw.canary.as_ref().map(|raw| {
        let usual = Canary::default();
        Canary {
            slots: raw.slots.unwrap_or(usual.slots),
            wait: raw.wait.unwrap_or(usual.wait),
            max_errors_permille: raw.max_errors.map_or(usual.max_errors_permille, |part| percent(part * 10.0)),
            max_latency_percent: raw.max_latency.map_or(usual.max_latency_percent, percent),
        }
    });
    Reload {
        max_surge: raw.max_surge.unwrap_or(usual.max_surge),
        max_unavailable: raw.max_unavailable.unwrap_or(usual.max_unavailable),
        canary,
    }
}

/// The bounds were checked: 0 to 100.
fn percent(number: f64) -> u32 {
    (number * 100.0).round() as u32
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn read_text(path: &Path) -> std::io::Result<String> {
    use std::io::Read;
    let mut text = String::new();
    std::fs::File::open(path)?.take(super::tree::MAX_FILE as u64).read_to_string(&mut text)?;
    Ok(text)
}
