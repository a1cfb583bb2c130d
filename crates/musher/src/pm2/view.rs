//! Workers as PM2 shows them: its records, its table, its lines.

use std::cell::OnceCell;
use std::path::Path;
use std::rc::Rc;

use musher_api::{AppDetail, Mode, SlotDetail, SlotStatus};
use musher_core::SlotId;
use musher_core::spec::{AppSpec, LogFormat, ReadyWhen, RestartPolicy, SlotVariables};
use serde_json::{Map, Value, json};

use super::repository::Repository;
use crate::config::namesake;
use crate::output::{sanitize, units};

/// What a record does not have without a value.
const OPTIONAL: [&str; 16] = [
    "max_memory_restart",
    "restart_delay",
    "exp_backoff_restart_delay",
    "log_type",
    "stop_exit_codes",
    "uid",
    "gid",
    "node_version",
    "pm_pid_path",
    "cron_restart",
    "log_date_format",
    "pm_log_path",
    "ignore_watch",
    "watch_delay",
    "wait_ready",
    "listen_timeout",
];

/// One worker with its number.
pub(super) struct Process {
    pub(super) id: u32,
    /// How often a command restarted it.
    pub(super) asked: u32,
    /// Of a Node program: which.
    pub(super) node_version: Option<String>,
    /// The repository that its directory is in, read once for all with that directory.
    pub(super) versioning: Rc<OnceCell<Value>>,
    pub(super) slot: SlotDetail,
    pub(super) app: Rc<AppDetail>,
}

impl Process {
    /// The name that PM2 would show.
    pub(super) fn name(&self) -> &str {
        namesake::shown(&self.app.app)
    }

    /// The name that musher knows.
    pub(super) fn app_name(&self) -> &str {
        &self.app.app
    }

    /// PM2's word for the state.
    pub(super) fn status(&self) -> &'static str {
        match self.slot.row.status {
            SlotStatus::Starting => "launching",
            SlotStatus::Online => "online",
            SlotStatus::Draining => "stopping",
            SlotStatus::Stopped | SlotStatus::Exited | SlotStatus::Scheduled | SlotStatus::Unknown => "stopped",
            SlotStatus::Backoff | SlotStatus::Waiting => "waiting restart",
            SlotStatus::GaveUp => "errored",
        }
    }

    /// Restarts of every kind, as PM2 counts them.
    pub(super) fn restarts(&self) -> u32 {
        self.slot.row.restarts.saturating_add(self.asked)
    }

    fn cpu(&self) -> f64 {
        (self.slot.row.cpu_percent * 10.0).round() / 10.0
    }

    /// When its worker was started, in milliseconds since 1970.
    pub(super) fn started_ms(&self) -> u64 {
        self.slot.runs.iter().map(|run| run.started_ms).next_back().unwrap_or(self.app.added_ms)
    }

    fn mode(&self) -> &'static str {
        if self.app.mode == Mode::Cluster { "cluster_mode" } else { "fork_mode" }
    }

    pub(super) fn script(&self) -> &Path {
        let exec = &self.app.spec.exec;
        exec.script.as_deref().unwrap_or(&exec.program)
    }

    /// What the script gets, and what its interpreter gets before.
    pub(super) fn arguments(&self) -> (&[String], &[String]) {
        let exec = &self.app.spec.exec;
        let script = exec.script.as_deref().map(Path::to_string_lossy);
        match script.and_then(|script| exec.args.iter().position(|arg| *arg == script)) {
            Some(at) => (&exec.args[..at], &exec.args[at + 1..]),
            None => (&[], &exec.args),
        }
    }

    fn user(&self) -> String {
        let own = || std::env::var("USER").or_else(|_| std::env::var("LOGNAME")).ok();
        let uid = self.app.spec.user.as_ref().map_or_else(|| rustix::process::getuid().as_raw(), |user| user.uid);
        let known = musher_process::lookup::lookup_user(&uid.to_string()).ok().flatten().map(|user| user.name);
        known.or_else(own).unwrap_or_else(|| uid.to_string())
    }

    /// The variables that the worker has, but for those of musher itself.
    pub(super) fn environment(&self) -> Map<String, Value> {
        let spec = &self.app.spec;
        let all = spec.base_env.iter().chain(&spec.env);
        let mut env: Map<String, Value> = all.map(|(name, value)| (name.clone(), value.as_str().into())).collect();
        let number = spec.slot_variables.number.as_deref().unwrap_or(SlotVariables::NUMBER);
        env.insert(number.to_owned(), self.slot.row.slot.into());
        if let Some(name) = &spec.slot_variables.increment {
            let first: i64 = spec.env.get(name).and_then(|value| value.parse().ok()).unwrap_or(0);
            env.insert(name.clone(), first.saturating_add(self.slot.row.slot.into()).to_string().into());
        }
        env
    }

    /// The record of `pm2 jlist`.
    pub(super) fn record(&self) -> Value {
        let row = &self.slot.row;
        let pid = row.pid.unwrap_or(0);
        json!({
            "pid": pid,
            "name": self.name(),
            "pm_id": self.id,
            "monit": { "memory": row.memory_bytes, "cpu": if row.pid.is_some() { self.cpu() } else { 0.0 } },
            "pm2_env": self.pm2_env(),
        })
    }

    /// The same for anybody who asks: what it is, and nothing of its environment, which may have secrets.
    pub(super) fn public_record(&self) -> Value {
        let row = &self.slot.row;
        let mut about = self.own_fields(&self.app.spec);
        about.insert("env".into(), json!({}));
        json!({
            "pid": row.pid.unwrap_or(0),
            "name": self.name(),
            "pm_id": self.id,
            "monit": { "memory": row.memory_bytes, "cpu": if row.pid.is_some() { self.cpu() } else { 0.0 } },
            "pm2_env": about,
        })
    }

    /// What of it is under `pm2_env`.
    pub(super) fn pm2_env(&self) -> Value {
        // The variables stand there twice, as with PM2; what it says itself wins.
        let mut env = self.environment();
        let mut inner = env.clone();
        // A variable is no setting that was not made, whatever it is called.
        env.retain(|name, _| !OPTIONAL.contains(&name.as_str()));
        env.extend(self.own_fields(&self.app.spec));
        // Scripts count how often the name occurs.
        inner.insert(self.name().to_owned(), json!({}));
        env.insert("env".into(), Value::Object(inner));
        Value::Object(env)
    }

    fn own_fields(&self, spec: &AppSpec) -> Map<String, Value> {
        let all = [self.what_runs(spec), self.how_it_is_kept(spec)];
        let fields = all.into_iter().filter_map(|part| if let Value::Object(part) = part { Some(part) } else { None });
        fields.flatten().filter(|(key, value)| !value.is_null() || !OPTIONAL.contains(&key.as_str())).collect()
    }

    fn what_runs(&self, spec: &AppSpec) -> Value {
        let (before, behind) = self.arguments();
        let logs = &self.app.log_files;
        let runs_script = spec.exec.script.is_some() && spec.exec.script.as_ref() != Some(&spec.exec.program);
        let interpreter = spec.exec.program.file_name().map(|name| name.to_string_lossy().into_owned());
        json!({
            "name": self.name(),
            "namespace": spec.namespace,
            "pm_id": self.id,
            "status": self.status(),
            "pm_uptime": self.started_ms(),
            "created_at": self.app.added_ms,
            "restart_time": self.restarts(),
            "unstable_restarts": 0,
            "exit_code": self.slot.last_death.as_ref().and_then(|death| death.code).unwrap_or(0),
            "exec_mode": self.mode(),
            "instances": self.app.slots.len(),
            "pm_exec_path": self.script().to_string_lossy(),
            "pm_cwd": spec.cwd.to_string_lossy(),
            "exec_interpreter": if runs_script { interpreter.unwrap_or_default() } else { "none".into() },
            "node_args": before,
            "args": behind,
            "pm_out_log_path": self.log_file(&logs.out),
            "pm_err_log_path": self.log_file(&logs.err),
            "pm_log_path": logs.combined.as_ref().map(|combined| self.log_file(combined)),
            "pm_pid_path": spec.pid_file_of(SlotId(self.slot.row.slot)),
            "node_version": self.node_version,
            "version": package_version(self.script()).unwrap_or_else(|| "N/A".into()),
            "username": self.user(),
            "uid": spec.user.as_ref().map(|user| user.uid),
            "gid": spec.user.as_ref().map(|user| user.gid),
            "unique_id": format!("{}-{}-{}", self.app.id, self.app.added_ms, self.slot.row.slot),
        })
    }

    /// The file of this very worker, if each has its own.
    fn log_file(&self, path: &str) -> String {
        match path.rsplit_once('.').filter(|_| self.app.log_files.per_worker && path != "/dev/null") {
            Some((stem, extension)) if !extension.contains('/') => format!("{stem}-{}.{extension}", self.slot.row.slot),
            _ => path.to_owned(),
        }
    }

    /// Whether a change of its files replaces it: what is stopped is left alone.
    fn is_watched(&self) -> bool {
        self.app.running && self.app.spec.watch.is_some()
    }

    /// What of its files is watched: all, or which.
    fn watched(&self) -> Value {
        let cwd = &self.app.spec.cwd;
        match self.app.spec.watch.as_ref().filter(|_| self.is_watched()) {
            Some(watch) if watch.paths.iter().any(|path| path != cwd) => {
                let below = |path: &Path| path.strip_prefix(cwd).unwrap_or(path).to_string_lossy().into_owned();
                watch.paths.iter().map(|path| below(path)).collect()
            }
            watch => watch.is_some().into(),
        }
    }

    fn how_it_is_kept(&self, spec: &AppSpec) -> Value {
        let backoff = &spec.restart.backoff;
        let millis = |time: std::time::Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        json!({
            "watch": self.watched(),
            "ignore_watch": spec.watch.as_ref().map(|watch| &watch.ignore).filter(|ignore| !ignore.is_empty()),
            "watch_delay": spec.watch.as_ref().map(|watch| millis(watch.delay)),
            "wait_ready": (spec.ready.when == ReadyWhen::Message).then_some(true),
            "listen_timeout": millis(spec.ready.timeout),
            "autorestart": spec.restart.policy != RestartPolicy::Never,
            "autostart": spec.autostart,
            "treekill": spec.stop.tree,
            "shutdown_with_message": spec.stop.message,
            "kill_timeout": millis(spec.stop.grace),
            "kill_retry_time": 100,
            "merge_logs": !spec.logs.per_worker,
            "log_type": matches!(spec.logs.format, LogFormat::Json | LogFormat::Pm2Json).then_some("json"),
            "log_date_format": spec.logs.date_format,
            "max_memory_restart": spec.limits.memory_bytes,
            "max_restarts": spec.restart.max_restarts,
            "exp_backoff_restart_delay": (backoff.factor_percent == 150).then(|| millis(backoff.initial)),
            "restart_delay": (backoff.factor_percent == 100).then(|| millis(backoff.initial)),
            "stop_exit_codes": (!spec.restart.stop_exit_codes.is_empty()).then_some(&spec.restart.stop_exit_codes),
            "instance_var": spec.slot_variables.number.as_deref().unwrap_or(SlotVariables::NUMBER),
            "filter_env": [],
            "vizion": true, "pmx": false, "automation": false, "km_link": false, "windowsHide": true,
            "_pm2_version": musher_supervisor::VERSION,
            "versioning": self.versioning.get_or_init(|| {
                Repository::around(&spec.cwd).map_or(Value::Null, |repository| repository.described())
            }),
            "axm_actions": self.custom_actions(), "axm_monitor": self.custom_metrics(), "axm_dynamic": {},
            "axm_options": { "module_name": self.name() },
        })
    }

    /// What its program does when it is asked to, in PM2's words.
    fn custom_actions(&self) -> Vec<Value> {
        let actions = self.slot.runs.last().map_or(&[][..], |run| &run.custom_actions);
        let of = |action: &musher_api::CustomAction| json!({ "action_name": action.name, "action_type": action.kind, "arity": action.arity });
        actions.iter().map(of).collect()
    }

    /// What its program measures, in PM2's words.
    fn custom_metrics(&self) -> Map<String, Value> {
        let metrics = self.slot.runs.last().into_iter().flat_map(|run| &run.custom_metrics);
        let of = |metric: &musher_api::CustomMetric| json!({ "value": metric.value, "type": metric.kind, "unit": metric.unit });
        metrics.map(|(name, metric)| (name.clone(), of(metric))).collect()
    }

    fn cells(&self) -> [String; 13] {
        let row = &self.slot.row;
        let up = row.pid.is_some();
        [
            self.id.to_string(),
            sanitize(self.name()),
            sanitize(&self.app.spec.namespace),
            package_version(self.script()).unwrap_or_else(|| "N/A".into()),
            self.mode().trim_end_matches("_mode").to_owned(),
            row.pid.unwrap_or(0).to_string(),
            if up { units::uptime(row.uptime_ms) } else { "0".into() },
            self.restarts().to_string(),
            self.status().to_owned(),
            format!("{}%", self.cpu()),
            if up { memory(row.memory_bytes) } else { "0b".into() },
            self.user(),
            if self.is_watched() { "enabled" } else { "disabled" }.to_owned(),
        ]
    }

    /// A worker as `pm2 list -m` tells of it.
    pub(super) fn mini(&self) -> String {
        let row = &self.slot.row;
        let up = row.pid.is_some();
        format!(
            "+--- {}\nnamespace : {}\nversion : {}\npid : {}\npm2 id : {}\nstatus : {}\nmode : {}\nrestarted : {}\n\
             uptime : {}\nmemory usage : {}\nerror log : {}\nwatching : {}\n",
            sanitize(self.name()),
            sanitize(&self.app.spec.namespace),
            package_version(self.script()).unwrap_or_else(|| "N/A".into()),
            row.pid.unwrap_or(0),
            self.id,
            self.status(),
            self.mode().trim_end_matches("_mode"),
            self.restarts(),
            if up { units::uptime(row.uptime_ms) } else { "0".into() },
            if up { memory(row.memory_bytes) } else { "0b".into() },
            self.app.log_files.err,
            if self.is_watched() { "yes" } else { "no" },
        )
    }

    /// What `pm2 list --sort FIELD` sorts by.
    pub(super) fn sort_key(&self, field: &str) -> Option<(f64, String)> {
        let row = &self.slot.row;
        let number = |number: f64| Some((number, String::new()));
        let text = |text: &str| Some((0.0, text.to_owned()));
        match field {
            "id" => number(f64::from(self.id)),
            "pid" => number(f64::from(row.pid.unwrap_or(0))),
            "cpu" => number(row.cpu_percent),
            "memory" => number(row.memory_bytes as f64),
            "uptime" => number(row.uptime_ms as f64),
            "name" => text(self.name()),
            "namespace" => text(&self.app.spec.namespace),
            "status" => text(self.status()),
            _ => None,
        }
    }
}

/// `52.1mb`
fn memory(bytes: u64) -> String {
    let (mut number, mut unit) = (bytes as f64, "b");
    for next in ["kb", "mb", "gb"] {
        if number < 1024.0 {
            break;
        }
        (number, unit) = (number / 1024.0, next);
    }
    if unit == "b" { format!("{bytes}b") } else { format!("{number:.1}{unit}") }
}

const HEADS: [&str; 13] =
    ["id", "name", "namespace", "version", "mode", "pid", "uptime", "↺", "status", "cpu", "mem", "user", "watching"];

/// The table of `pm2 list`.
pub(super) fn table(processes: &[Process]) -> String {
    let rows: Vec<[String; 13]> = processes.iter().map(Process::cells).collect();
    let width = |n: usize| {
        let longest = rows.iter().map(|row| row[n].chars().count()).max().unwrap_or(0);
        longest.max(HEADS[n].chars().count())
    };
    let widths: Vec<usize> = (0..HEADS.len()).map(width).collect();
    let rule = |left: char, middle: char, right: char| {
        let parts: Vec<String> = widths.iter().map(|width| "─".repeat(width + 2)).collect();
        format!("{left}{}{right}\n", parts.join(&middle.to_string()))
    };
    let line = |cells: &[String; 13]| {
        let cells = cells.iter().zip(&widths).map(|(cell, width)| format!(" {cell:width$} ", width = *width));
        format!("│{}│\n", cells.collect::<Vec<_>>().join("│"))
    };
    let mut text = rule('┌', '┬', '┐') + &line(&HEADS.map(str::to_owned));
    if !rows.is_empty() {
        text += &rule('├', '┼', '┤');
    }
    rows.iter().for_each(|row| text += &line(row));
    text + &rule('└', '┴', '┘')
}

/// The version in the nearest package.json above a script.
fn package_version(script: &Path) -> Option<String> {
    use std::io::Read;
    let file = script.ancestors().skip(1).take(8).map(|directory| directory.join("package.json"));
    let file = file.into_iter().find(|path| path.is_file())?;
    let mut text = String::new();
    std::fs::File::open(file).ok()?.take(1 << 20).read_to_string(&mut text).ok()?;
    let package: Value = serde_json::from_str(&text).ok()?;
    package["version"].as_str().map(sanitize)
}

#[cfg(test)]
mod tests {
    use super::{memory, table};

    #[test]
    fn sizes_are_those_of_pm2() {
        assert_eq!([memory(0), memory(1536), memory(54_600_000), memory(3 << 30)], ["0b", "1.5kb", "52.1mb", "3.0gb"]);
    }

    #[test]
    fn an_empty_table_has_only_its_head() {
        let text = table(&[]);
        assert_eq!(text.lines().count(), 3);
        assert!(text.lines().nth(1).unwrap().contains("│ status │"), "{text}");
    }
}
