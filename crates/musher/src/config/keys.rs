//! The keys of a process file, in one table: what is known, what it is called near to, and what the reference says.
//!
//! A test holds this table and the decoder together. `docs/reference/process-file.md` and
//! `docs/reference/musher.schema.json` are made from it.

use super::fault::nearest;

/// What a key's value looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Any text.
    Text,
    /// A path; relative to the app's `cwd`.
    Path,
    /// Text that is split into words like a shell does, or a list of words.
    Words,
    /// One text or a list of them.
    Texts,
    /// A table of variables.
    Variables,
    /// `true` or `false`.
    Bool,
    /// A whole number from the first to the second.
    Integer(i64, i64),
    /// A number from the first to the second.
    Number(i64, i64),
    /// A list of whole numbers.
    Integers,
    /// `"500ms"`, `"2s"`, `"1m"`.
    Duration,
    /// `"10MiB"`; 0 needs no unit.
    Size,
    /// A size, where a letter alone (`"200M"`) is a power of 1024.
    Memory,
    /// `true`, or words.
    Filter,
    /// `true`, or a path.
    Socket,
    /// A line for the shell, or a list of words.
    Command,
    /// A path, an address, or a command as a list.
    Probe,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// `true`, paths, or a table.
    Watch,
    /// A pattern of cron, or a table.
    Schedule,
    /// Names of apps, or a table of them.
    Depends,
    /// A number or `"max"`.
    Instances,
    /// A number or the name of a signal.
    Signal,
    /// A user or group: a name or a number.
    Account,
    /// An address, or a list of addresses or tables.
    Listen,
    /// A table of the keys below it; or, when there are words, one of those.
    Table(&'static [&'static str]),
}

/// One key.
#[derive(Clone, Copy, Debug)]
pub(super) struct Key {
    /// With its table: `restart.window`.
    pub(super) path: &'static str,
    pub(super) kind: Kind,
    /// As it would be written; empty when there is none.
    #[cfg_attr(not(test), expect(dead_code, reason = "the reference is made by a test"))]
    pub(super) default: &'static str,
    /// What it is for, one sentence or two.
    #[cfg_attr(not(test), expect(dead_code, reason = "the reference is made by a test"))]
    pub(super) text: &'static str,
}

const fn key(path: &'static str, kind: Kind, default: &'static str, text: &'static str) -> Key {
    Key { path, kind, default, text }
}

pub(super) const BALANCE: &[&str] = &["auto", "kernel", "shared", "round-robin"];
pub(super) const READY: &[&str] = &["auto", "listening", "message", "notify"];
pub(super) const RESTART: &[&str] = &["always", "on-failure", "never"];
pub(super) const ON_UNCAUGHT: &[&str] = &["drain", "exit"];
pub(super) const ON_CHANGE: &[&str] = &["reload", "restart"];
pub(super) const FORMAT: &[&str] = &["raw", "timestamp", "json", "pm2-json"];
pub(super) const HOOKS: &[&str] =
    &["giveup", "crash", "pre_start", "post_start", "pre_reload", "post_reload", "pre_stop", "post_stop"];
pub(super) const ON_TIME: &[&str] = &["start", "restart", "reload"];
pub(super) const MISSED: &[&str] = &["skip", "once"];
pub(super) const CONDITION: &[&str] = &["started", "ready", "exited_ok"];

/// Every key of an app, in the order of the reference.
pub(super) const KEYS: &[Key] = &[
    key(
        "name",
        Kind::Text,
        "the stem of the script or command",
        "What the app is called. Unique in the file and in the home.",
    ),
    key("namespace", Kind::Text, "\"default\"", "A word that several apps share, by which they can be named together."),
    key(
        "script",
        Kind::Path,
        "",
        "The file to run, by the interpreter that its extension names. Either this or `command`.",
    ),
    key(
        "command",
        Kind::Words,
        "",
        "The program to run with its arguments; looked up in the app's PATH. Either this or `script`.",
    ),
    key("args", Kind::Words, "[]", "Arguments of the script or command."),
    key("cwd", Kind::Path, "the directory of the file", "Working directory, relative to the file."),
    key(
        "env",
        Kind::Variables,
        "{}",
        "Variables of the workers. They win over those of the shell that starts the app.",
    ),
    key(
        "env_file",
        Kind::Texts,
        "[]",
        "Files with a `NAME=value` on each line. `env` wins over them, later files over earlier ones.",
    ),
    key(
        "filter_env",
        Kind::Filter,
        "[]",
        "Variables of the shell that are kept from the app: those whose name contains one of these words; `true`: all but PATH \
         and HOME.",
    ),
    key(
        "instance_var",
        Kind::Text,
        "\"NODE_APP_INSTANCE\"",
        "What the variable with the number of the slot is called. The `config` package of Node wants it to be another.",
    ),
    key("increment_var", Kind::Text, "", "A variable of `env` that is larger by one in each further slot: ports, say."),
    key(
        "interpreter",
        Kind::Text,
        "by the extension of the script",
        "What runs the script: a name that is looked up in PATH, a path, or `none`.",
    ),
    key("interpreter_args", Kind::Words, "[]", "Arguments between the interpreter and the script."),
    key(
        "pid_file",
        Kind::Path,
        "",
        "A file for each worker in which its pid stands while it runs: `web.pid` is `web-0.pid` for slot 0.",
    ),
    key(
        "cluster",
        Kind::Bool,
        "true for Node",
        "Whether the workers share their ports as a Node cluster: Node programs, and programs in Rust whose listeners are \
         musher-cluster's.",
    ),
    key(
        "instances",
        Kind::Instances,
        "1",
        "How many workers: 1 to 1000, or `max` for one on each core; `\"2..8\"` or a table: as many as the load needs.",
    ),
    key("instances.min", Kind::Integer(1, 1000), "1", "The least number of workers."),
    key("instances.max", Kind::Integer(1, 1000), "", "The largest number."),
    key("instances.up_after", Kind::Duration, "\"10s\"", "At least this long between a change and growing."),
    key(
        "instances.down_after",
        Kind::Duration,
        "\"60s\"",
        "So long without much load, and after any change, before there is one worker less.",
    ),
    key(
        "watch",
        Kind::Watch,
        "false",
        "Files whose change replaces the workers: `true` for the working directory, paths relative to it, or a table. Names that \
         begin with a dot and `node_modules` never count, nor does what `.gitignore` files name.",
    ),
    key("watch.paths", Kind::Texts, "\".\"", "Directories, with everything below them, and files."),
    key(
        "watch.ignore",
        Kind::Texts,
        "[]",
        "What does not count, as in a `.gitignore`: `*.tmp`, `/build/`, `!keep.tmp`.",
    ),
    key(
        "watch.extensions",
        Kind::Texts,
        "[]",
        "Only files with these endings count: `\"js,json\"`, or `[\"js\", \"json\"]`. None: all do.",
    ),
    key(
        "watch.loaded",
        Kind::Bool,
        "false",
        "Whether only files count that the program has loaded by `require` or `import`, as Node tells, and files that \
         `watch.paths` names. Until a program tells of one, and where it is not Node, all files count.",
    ),
    key(
        "watch.gitignore",
        Kind::Bool,
        "true",
        "Whether what `.gitignore` files name does not count either. With `watch.loaded` it does unless this is `true`.",
    ),
    key(
        "watch.delay",
        Kind::Duration,
        "\"100ms\"",
        "How long nothing may change before the workers are replaced: what changes together is one change.",
    ),
    key(
        "watch.on_change",
        Kind::Choice(ON_CHANGE),
        "\"reload\"",
        "`reload`: a version that does not start leaves the old one serving. `restart`: the old workers end first.",
    ),
    key(
        "autostart",
        Kind::Bool,
        "true",
        "Whether `musher start FILE` starts a new app. `false`: it is added as stopped, and `musher start NAME` starts it.",
    ),
    key(
        "schedule",
        Kind::Schedule,
        "",
        "What is done at certain times. A pattern alone makes the app a job: its workers are started then, and end by \
         themselves.",
    ),
    key(
        "schedule.cron",
        Kind::Text,
        "",
        "When: minute, hour, day, month, weekday, as in crontab(5); six fields begin with seconds; or `@daily` and the like.",
    ),
    key(
        "schedule.timezone",
        Kind::Text,
        "the machine's",
        "The time zone of the pattern: `Europe/Berlin`. In a gap or an overlap of local time: see the guide.",
    ),
    key(
        "schedule.action",
        Kind::Choice(ON_TIME),
        "\"start\"",
        "`start`: the app is a job. `restart`: what runs is restarted, without a gap where the workers share their port. \
         `reload`: it is reloaded.",
    ),
    key(
        "schedule.missed",
        Kind::Choice(MISSED),
        "\"skip\"",
        "What becomes of times at which the daemon did not run, or the machine: `once` makes up for all of them by one.",
    ),
    key(
        "depends_on",
        Kind::Depends,
        "[]",
        "Apps that have to be there before this one is started: names, which are to be `ready`; or a table, as in \
         `{ migrate = \"exited_ok\" }`, with `started`, `ready` or `exited_ok`.",
    ),
    key("depends_timeout", Kind::Duration, "\"5m\"", "How long a start waits for those before it fails."),
    key(
        "balance",
        Kind::Choice(BALANCE),
        "\"auto\"",
        "How connections reach the workers. `auto` is `kernel` for TCP of Node clusters and `shared` otherwise.",
    ),
    key(
        "listen",
        Kind::Listen,
        "[]",
        "Sockets that musher opens and passes to the workers as fd 3 and up, with LISTEN_FDS.",
    ),
    key(
        "listen.address",
        Kind::Text,
        "",
        "`tcp://127.0.0.1:8080`, `udp://0.0.0.0:53`, `unix:///run/app.sock`; a port alone is TCP on all addresses.",
    ),
    key("listen.name", Kind::Text, "", "The socket's name in LISTEN_FDNAMES."),
    key("listen.backlog", Kind::Integer(1, 65_535), "511", "Length of the accept queue."),
    key(
        "ready",
        Kind::Table(READY),
        "\"auto\"",
        "What proves that a new worker serves. Until then the old one stays. A word is the same as `when`.",
    ),
    key(
        "ready.when",
        Kind::Choice(READY),
        "\"auto\"",
        "`auto`: the first of listening, message, notify; without any, a time that it has lived.",
    ),
    key("ready.tcp", Kind::Text, "", "Ready when a connection to this address succeeds."),
    key("ready.http", Kind::Text, "", "Ready when GET of this `http://` URL answers with a status from 200 to 399."),
    key("ready.after", Kind::Duration, "", "Ready when it has lived this long."),
    key("ready.timeout", Kind::Duration, "\"30s\"", "A worker that takes longer has failed to start."),
    key(
        "restart",
        Kind::Table(RESTART),
        "\"always\"",
        "When an exited worker is started again. A word is the same as `policy`.",
    ),
    key("restart.policy", Kind::Choice(RESTART), "\"always\"", "After which exits."),
    key(
        "restart.stop_exit_codes",
        Kind::Integers,
        "[]",
        "Exit codes after which a worker stays down, whatever the policy.",
    ),
    key("restart.min_uptime", Kind::Duration, "\"1s\"", "A run of at least this length is stable and resets the wait."),
    key(
        "restart.delay",
        Kind::Duration,
        "\"100ms\"",
        "The first wait before a restart. A stable worker is restarted at once.",
    ),
    key("restart.factor", Kind::Number(1, 10), "2", "Each wait is this many times the one before; 1 is a fixed delay."),
    key("restart.max_delay", Kind::Duration, "\"5s\"", "The longest wait."),
    key(
        "restart.jitter",
        Kind::Number(0, 1),
        "0.2",
        "The part of a wait that chance takes off, so that workers do not restart in step.",
    ),
    key(
        "restart.max_restarts",
        Kind::Integer(0, 10_000),
        "10",
        "At most this many restarts in any `window`; then the slot gives up.",
    ),
    key("restart.window", Kind::Duration, "\"60s\"", "The window of `max_restarts`."),
    key("stop", Kind::Table(&[]), "", "How a worker is stopped: stop signal, grace, kill."),
    key("stop.signal", Kind::Signal, "\"SIGTERM\"", "The stop signal."),
    key("stop.message", Kind::Bool, "false", "Send Node workers the message `'shutdown'` in place of the stop signal."),
    key(
        "stop.tree",
        Kind::Bool,
        "true",
        "Whether all processes of a worker get the stop signal, or only the first. Those that are left when it has ended are \
         ended in any case.",
    ),
    key("stop.grace", Kind::Duration, "\"5s\"", "From the stop signal to SIGKILL."),
    key(
        "stop.drain",
        Kind::Duration,
        "\"30s\"",
        "How long a Node cluster worker may finish what it has before it gets the stop signal; and how long another one that \
         is scaled away may take to accept what waits at a socket of its own (`balance = \"kernel\"`).",
    ),
    key(
        "stop.uncaught",
        Kind::Duration,
        "\"5s\"",
        "The same, for a worker that reported an exception that nothing caught.",
    ),
    key(
        "on_uncaught",
        Kind::Choice(ON_UNCAUGHT),
        "`drain` for Node cluster workers",
        "What a Node worker does after an exception that nobody catches. `drain`: it takes nothing new, finishes what it has \
         and ends, while its replacement starts. `exit`: it ends at once.",
    ),
    key(
        "preload",
        Kind::Bool,
        "true",
        "Whether Node programs load musher's script, for a drain of cluster workers without loss and `on_uncaught`.",
    ),
    key("reload", Kind::Table(&[]), "", "How workers are replaced."),
    key(
        "reload.max_surge",
        Kind::Integer(0, 1000),
        "1",
        "How many slots have a new worker beside the old one at a time. 0 needs `max_unavailable`.",
    ),
    key(
        "reload.max_unavailable",
        Kind::Integer(0, 1000),
        "0",
        "How many slots may be without a ready worker because the old one ends before the new one starts.",
    ),
    key(
        "reload.canary",
        Kind::Table(&[]),
        "",
        "Try the new version on a few slots first; go back when it is not good.",
    ),
    key("reload.canary.slots", Kind::Integer(1, 1000), "1", "How many slots get it first."),
    key("reload.canary.wait", Kind::Duration, "\"30s\"", "How long they are watched."),
    key(
        "reload.canary.max_errors",
        Kind::Number(0, 1),
        "0.01",
        "How much larger than the old version's the part of its answers may be that are errors.",
    ),
    key(
        "reload.canary.max_latency",
        Kind::Number(1, 100),
        "2",
        "How many times the old version's its latency (95th percentile) may be.",
    ),
    key("limits", Kind::Table(&[]), "", "Limits of each worker process. Nothing given: the limits of the supervisor."),
    key("limits.open_files", Kind::Integer(1, i64::MAX), "", "Open files (RLIMIT_NOFILE)."),
    key(
        "limits.address_space",
        Kind::Size,
        "",
        "Address space (RLIMIT_AS). Not for Node, which reserves gigabytes that it never uses.",
    ),
    key("limits.core", Kind::Size, "", "Size of a core file (RLIMIT_CORE)."),
    key("limits.cpu", Kind::Duration, "", "CPU time of one worker (RLIMIT_CPU), in whole seconds."),
    key("limits.processes", Kind::Integer(1, i64::MAX), "", "Processes of the worker's user (RLIMIT_NPROC)."),
    key("limits.nice", Kind::Integer(-20, 19), "", "Priority, nice(2)."),
    key(
        "limits.memory",
        Kind::Memory,
        "",
        "A worker whose processes together have more memory than this is replaced, without a gap.",
    ),
    key(
        "limits.cpu_percent",
        Kind::Integer(1, 100_000),
        "",
        "A worker whose processes together use more CPU than this is replaced, without a gap; 100 is one core.",
    ),
    key("limits.cpu_for", Kind::Duration, "\"30s\"", "How long `cpu_percent` has to be exceeded."),
    key(
        "health",
        Kind::Table(&[]),
        "",
        "What proves that a worker which serves still does. One that fails is replaced, without a gap.",
    ),
    key(
        "health.liveness",
        Kind::Probe,
        "",
        "What each worker is asked: `\"/health\"` (HTTP) or `\"tcp\"` that very worker; a URL or `tcp://IP:PORT`, for an app \
         with one worker; a list: a command that ends with 0, with the worker's pid in MUSHER_PID.",
    ),
    key("health.interval", Kind::Duration, "\"10s\"", "From one probe to the next."),
    key("health.timeout", Kind::Duration, "\"5s\"", "How long a probe may take."),
    key("health.failures", Kind::Integer(1, 1000), "3", "So many failures in a row make a worker unfit."),
    key("health.delay", Kind::Duration, "\"0s\"", "How long a worker that has become ready is not probed."),
    key(
        "health.event_loop",
        Kind::Duration,
        "",
        "A Node worker whose event loop does not turn for so long is unfit. Any program: it is seen by what the worker reads.",
    ),
    key(
        "health.watchdog",
        Kind::Duration,
        "",
        "A worker that does not notify WATCHDOG=1 for so long is unfit. It is told by WATCHDOG_USEC (sd_watchdog_enabled(3)).",
    ),
    key("hooks", Kind::Table(&[]), "", "Commands that are run when something happens."),
    key(
        "hooks.giveup",
        Kind::Command,
        "",
        "Run when a slot is given up: a line for the shell, or a list of words. It gets the event as JSON on standard input.",
    ),
    key(
        "hooks.crash",
        Kind::Command,
        "",
        "Run when a worker ends that nobody had asked to, with another code than 0, or throws what nobody catches.",
    ),
    key(
        "hooks.pre_start",
        Kind::Command,
        "",
        "Run once for the app before it is started or restarted, of a job before each run. One that fails cancels that.",
    ),
    key("hooks.post_start", Kind::Command, "", "Run when all workers are ready after that."),
    key(
        "hooks.pre_reload",
        Kind::Command,
        "",
        "Run before a reload. One that fails cancels it: the old workers serve on.",
    ),
    key("hooks.post_reload", Kind::Command, "", "Run when all workers are replaced."),
    key("hooks.pre_stop", Kind::Command, "", "Run before the app is stopped or deleted. One that fails cancels that."),
    key("hooks.post_stop", Kind::Command, "", "Run when all workers have ended after that."),
    key("hooks.timeout", Kind::Duration, "\"30s\"", "How long a hook may take, before it is killed."),
    key("logs", Kind::Table(&[]), "", "Where the workers' output goes."),
    key("logs.out", Kind::Path, "`logs/<app>/out.log` in the home", "File of standard output."),
    key("logs.err", Kind::Path, "`logs/<app>/err.log` in the home", "File of standard error."),
    key("logs.combined", Kind::Path, "", "A file that gets both outputs as well, in the order of time."),
    key(
        "logs.per_worker",
        Kind::Bool,
        "false",
        "Whether each slot has files of its own: its number stands before their extension, `out-0.log`.",
    ),
    key(
        "logs.format",
        Kind::Choice(FORMAT),
        "\"raw\"",
        "Form of a line in the file. `timestamp`: RFC 3339 in UTC; `json`: time, app, slot, pid, stream, message; `pm2-json`: \
         message, timestamp, type, process_id, app_name.",
    ),
    key(
        "logs.date_format",
        Kind::Text,
        "",
        "How times are written, in day.js's tokens and local time (`\"YYYY-MM-DD HH:mm:ss.SSS Z\"`): before each line, or in it \
         if it is JSON.",
    ),
    key("logs.max_size", Kind::Size, "\"10MiB\"", "Rotate when the file is larger; 0 for never."),
    key("logs.max_age", Kind::Duration, "", "Rotate when the file is older: `\"24h\"`."),
    key("logs.keep", Kind::Integer(0, 1000), "5", "How many rotated files are kept."),
    key("logs.keep_for", Kind::Duration, "", "Delete rotated files that are older."),
    key(
        "logs.max_total",
        Kind::Size,
        "",
        "How much all log files of the app may have together: the oldest rotated ones are deleted, and files are rotated sooner \
         where that is needed.",
    ),
    key(
        "logs.compress",
        Kind::Bool,
        "false",
        "Whether rotated files are compressed (gzip). `musher logs` reads them, too.",
    ),
    key(
        "logs.limit",
        Kind::Integer(1, 4_294_967_295),
        "",
        "Drop what is more than so many lines a second, of all workers together, and say in the file how many they were. Without \
         it nothing is dropped.",
    ),
    key(
        "logs.journald",
        Kind::Socket,
        "",
        "Send the lines to journald as well: `true`, or the path of its socket. It is done from the files, which must not be off.",
    ),
    key(
        "logs.otlp",
        Kind::Text,
        "",
        "Export the lines as well by OTLP over HTTP with JSON: `\"http://localhost:4318\"`. Headers are taken from \
         OTEL_EXPORTER_OTLP_HEADERS of the daemon.",
    ),
    key(
        "user",
        Kind::Account,
        "the supervisor's",
        "The user that workers run as. Needs a supervisor that runs as root.",
    ),
    key("group", Kind::Account, "the user's", "The group that workers run as."),
];

/// The keys directly in `table`; the empty name is the app itself.
pub(super) fn keys_of(table: &str) -> impl Iterator<Item = &'static Key> + Clone {
    let prefix = if table.is_empty() { String::new() } else { format!("{table}.") };
    KEYS.iter().filter(move |key| key.path.strip_prefix(&prefix).is_some_and(|rest| !rest.contains('.')))
}

/// What people write who come from elsewhere, or think of the same thing by another word.
const ALIASES: &[(&str, &str)] = &[
    ("exec", "script"),
    ("cmd", "command"),
    ("node_args", "interpreter_args"),
    ("exec_mode", "cluster"),
    ("autorestart", "restart.policy"),
    ("max_restarts", "restart.max_restarts"),
    ("min_uptime", "restart.min_uptime"),
    ("restart_delay", "restart.delay"),
    ("exp_backoff_restart_delay", "restart.delay"),
    ("stop_exit_codes", "restart.stop_exit_codes"),
    ("kill_timeout", "stop.grace"),
    ("wait_ready", "ready"),
    ("listen_timeout", "ready.timeout"),
    ("out_file", "logs.out"),
    ("error_file", "logs.err"),
    ("log_file", "logs.combined"),
    ("log_date_format", "logs.date_format"),
    ("log_type", "logs.format"),
    ("merge_logs", "logs.per_worker"),
    ("cron", "schedule.cron"),
    ("cron_restart", "schedule.cron"),
    ("uid", "user"),
    ("gid", "group"),
    ("port", "env.PORT"),
    ("workers", "instances"),
    ("max_memory_restart", "limits.memory"),
    ("max_memory", "limits.memory"),
    ("liveness", "health.liveness"),
    ("watchdog", "health.watchdog"),
];

/// What may have been meant by the unknown key `word` in `table`: a hint, or nothing.
pub(super) fn suggestion(table: &str, word: &str) -> String {
    let snake = word.replace('-', "_");
    let here = keys_of(table).filter_map(|key| key.path.rsplit('.').next());
    if let Some(same) = here.clone().find(|key| *key == snake) {
        return format!("did you mean \"{same}\"?");
    }
    if let Some((_, meant)) = ALIASES.iter().find(|(alias, meant)| {
        let plain = meant.rsplit('.').next().unwrap_or(meant);
        *alias == snake && (table.is_empty() || !meant.contains('.') || plain != snake)
    }) {
        return format!("musher calls this \"{meant}\"");
    }
    let near = nearest(&snake, here.clone());
    if let Some(best) = near.first() {
        return format!("did you mean \"{best}\"?");
    }
    // The right key in the wrong table: `max_size` beside `logs`.
    if let Some(elsewhere) = KEYS.iter().find(|key| key.path.rsplit('.').next() == Some(&snake)) {
        let plain = elsewhere.path;
        return format!("did you mean \"{plain}\"?");
    }
    let mut known: Vec<&str> = here.collect();
    known.sort_unstable();
    format!("known here: {}", known.join(", "))
}
