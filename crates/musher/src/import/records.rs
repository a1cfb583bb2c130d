//! Records of PM2 as apps of its process files: what a file said, or a command line.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Map, Value};

use crate::config::namesake;

/// Keys that have the same name and meaning in a record and in a process file.
const SAME: &[&str] = &[
    "namespace",
    "args",
    "node_args",
    "exec_mode",
    "autorestart",
    "max_restarts",
    "min_uptime",
    "restart_delay",
    "exp_backoff_restart_delay",
    "max_memory_restart",
    "kill_timeout",
    "treekill",
    "shutdown_with_message",
    "wait_ready",
    "listen_timeout",
    "stop_exit_codes",
    "cron_restart",
    "watch",
    "ignore_watch",
    "watch_delay",
    "filter_env",
    "source_map_support",
    "disable_logs",
    "instance_var",
    "increment_var",
    "log_date_format",
    "log_type",
    "uid",
    "gid",
];

/// Processes in which all of this is the same are those of one app.
const WHAT_RUNS: &[&str] = &["name", "namespace", "pm_exec_path", "pm_cwd", "exec_interpreter", "args", "node_args"];

/// Variables that belong to a shell, to PM2, or to whoever started that, not to an app.
const NOT_THE_APPS: &[&str] = &[
    "_",
    "PWD",
    "OLDPWD",
    "SHLVL",
    "unique_id",
    "NODE_APP_INSTANCE",
    "NODE_CHANNEL_FD",
    "NODE_CHANNEL_SERIALIZATION_MODE",
    "NODE_UNIQUE_ID",
    "NOTIFY_SOCKET",
    "LISTEN_FDS",
    "LISTEN_PID",
    "LISTEN_FDNAMES",
    "WATCHDOG_USEC",
    "WATCHDOG_PID",
];

/// One app of PM2.
pub(crate) struct Found {
    pub(crate) name: String,
    /// As an app of a process file.
    pub(crate) app: Value,
    /// The ids of its processes there.
    pub(crate) ids: Vec<u64>,
    /// Those that run there.
    pub(crate) running: Vec<u64>,
    /// Whether its name had to be changed, because another app has it.
    pub(crate) renamed: bool,
}

/// The apps of these records, in their order. PM2's modules are none.
pub(crate) fn found(records: &[Value], home: &Path, shell: &BTreeMap<String, String>) -> Vec<Found> {
    let mut apps: Vec<(&Value, Found)> = Vec::new();
    for record in records {
        // A dump has what a list has below `pm2_env`.
        let env = record.get("pm2_env").unwrap_or(record);
        if env["pmx_module"] == true {
            continue;
        }
        let (Some(name), Some(_)) = (env["name"].as_str(), env["pm_exec_path"].as_str()) else { continue };
        let id = env["pm_id"].as_u64().unwrap_or(apps.len() as u64);
        let runs = !matches!(env["status"].as_str(), Some("stopped" | "errored"));
        let same = apps.iter_mut().find(|(first, _)| WHAT_RUNS.iter().all(|key| first[*key] == env[*key]));
        if let Some((_, app)) = same {
            app.ids.push(id);
            app.running.extend(runs.then_some(id));
            continue;
        }
        let new = namesake::free(name, |name| apps.iter().any(|(_, app)| app.name == name));
        let renamed = new != name;
        let app = described(&new, env, home, shell);
        let running = runs.then_some(id).into_iter().collect();
        apps.push((env, Found { name: new, app, ids: vec![id], running, renamed }));
    }
    let mut found: Vec<Found> = apps.into_iter().map(|(_, app)| app).collect();
    for app in &mut found {
        app.app["instances"] = app.ids.len().into();
        app.app["autostart"] = (!app.running.is_empty()).into();
    }
    found
}

fn described(name: &str, env: &Value, home: &Path, shell: &BTreeMap<String, String>) -> Value {
    let mut app = Map::new();
    app.insert("name".into(), name.into());
    app.insert("cwd".into(), env["pm_cwd"].clone());
    for key in SAME {
        if let Some(value) = env.get(*key).filter(|value| !value.is_null()) {
            app.insert((*key).to_owned(), value.clone());
        }
    }
    program(&mut app, env);
    log_files(&mut app, env, home);
    app.insert("env".into(), Value::Object(variables(env, shell)));
    Value::Object(app)
}

/// What runs: a script, a line for the shell, or the server of files that PM2 has inside.
fn program(app: &mut Map<String, Value>, env: &Value) {
    let path = env["pm_exec_path"].as_str().unwrap_or_default();
    let line = env["args"].as_array().map(Vec::as_slice).and_then(|args| match args {
        [flag, line] if flag == "-c" => line.as_str(),
        _ => None,
    });
    if serves_files(env) {
        app.insert("script".into(), "serve".into());
        app.remove("node_args");
        return;
    }
    if let Some(line) =
        line.filter(|line| path.ends_with("/bash") && env["exec_interpreter"] == "none" && line.contains(' '))
    {
        app.insert("script".into(), line.into());
        app.remove("args");
        return;
    }
    app.insert("script".into(), path.into());
    app.insert("interpreter".into(), env["exec_interpreter"].clone());
}

fn serves_files(env: &Value) -> bool {
    let path = env["pm_exec_path"].as_str().unwrap_or_default();
    path.ends_with("/lib/API/Serve.js") && env["env"].get("PM2_SERVE_PORT").is_some()
}

/// The files that it writes; but for those in PM2's own home, which are not to be written by another program.
fn log_files(app: &mut Map<String, Value>, env: &Value, home: &Path) {
    let merged = env["merge_logs"] == true;
    let mut apart = false;
    let files = [("out_file", "pm_out_log_path"), ("error_file", "pm_err_log_path"), ("log_file", "pm_log_path")];
    for (key, field) in files {
        let Some(path) = env[field].as_str().filter(|path| !Path::new(path).starts_with(home)) else { continue };
        let whole = if merged { None } else { without_id(path, env) };
        apart |= whole.is_some();
        app.insert(key.into(), whole.unwrap_or_else(|| path.to_owned()).into());
    }
    if apart {
        app.insert("merge_logs".into(), false.into());
    }
    if let Some(path) = env["pm_pid_path"].as_str().filter(|path| !Path::new(path).starts_with(home)) {
        app.insert("pid_file".into(), without_id(path, env).unwrap_or_else(|| path.to_owned()).into());
    }
}

/// A path without the id that PM2 put into it: `out-3.log` as `out.log`.
fn without_id(path: &str, env: &Value) -> Option<String> {
    // A dump has no ids, but files of which each has one.
    let of_pid_file =
        || env["pm_pid_path"].as_str()?.strip_suffix(".pid")?.rsplit_once('-').map(|(_, id)| id.to_owned());
    let id = env["pm_id"].as_u64().map(|id| id.to_string()).or_else(of_pid_file)?;
    let (directory, file) = path.rsplit_once('/').unwrap_or(("", path));
    // PM2 puts it before these only: before another ending it is part of the name.
    let (stem, extension) = file.rsplit_once('.').filter(|(_, extension)| ["log", "pid"].contains(extension))?;
    let stem = stem.strip_suffix(&id)?.strip_suffix('-')?;
    Some(format!("{directory}/{stem}.{extension}"))
}

/// The variables of an app: those that the shell has, too, are inherited anyway.
fn variables(env: &Value, shell: &BTreeMap<String, String>) -> Map<String, Value> {
    let Value::Object(all) = &env["env"] else { return Map::new() };
    let own = all.iter().filter(|(name, value)| {
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let scalar = value.is_string() || value.is_number() || value.is_boolean();
        let served = name.starts_with("PM2_SERVE_") && serves_files(env);
        let pm2s = (name.starts_with("PM2_") && !served)
            || name.starts_with("MUSHER_")
            || NOT_THE_APPS.contains(&name.as_str());
        scalar && !pm2s && shell.get(*name) != Some(&text)
    });
    let mut own: Map<String, Value> = own.map(|(name, value)| (name.clone(), value.clone())).collect();
    // The first process that is left may be one of a higher number.
    if let Some(name) = env["increment_var"].as_str()
        && let Some(value) = own.get(name).and_then(number)
    {
        let slot = number(&env[env["instance_var"].as_str().unwrap_or("NODE_APP_INSTANCE")]).unwrap_or(0);
        own.insert(name.to_owned(), value.saturating_sub(slot).into());
    }
    own
}

fn number(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| value.as_str()?.parse().ok())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::Path;

    use serde_json::{Value, json};

    use super::found;

    #[test]
    fn processes_of_one_name_and_script_are_one_app() {
        let record = |id: u64, name: &str, script: &str, status: &str| {
            json!({ "pm2_env": {
                "pm_id": id, "name": name, "pm_exec_path": script, "pm_cwd": "/srv", "exec_interpreter": "node",
                "exec_mode": "cluster_mode", "status": status, "args": ["a"], "restart_delay": null,
                "pm_out_log_path": "/h/.pm2/logs/x-out.log", "pm_err_log_path": "/var/log/x.log",
                "env": { "A": "1", "HOME": "/h", "PM2_USAGE": "CLI", "MUSHER_HOME": "/m", "web": {}, "_": "pm2", "N": 3 },
            } })
        };
        let records = [
            record(0, "web", "/srv/web.js", "online"),
            record(1, "web", "/srv/web.js", "errored"),
            record(2, "jobs", "/srv/jobs.js", "stopped"),
            record(3, "web", "/srv/other.js", "online"),
            json!({ "name": "dumped", "pm_exec_path": "/x.js", "pm_id": 9, "status": "online" }),
            json!({ "pm2_env": { "name": "pm2-logrotate", "pm_exec_path": "/m.js", "pmx_module": true } }),
        ];
        let shell = BTreeMap::from([("HOME".to_owned(), "/h".to_owned())]);
        let apps = found(&records, Path::new("/h/.pm2"), &shell);
        let names: Vec<&str> = apps.iter().map(|app| app.name.as_str()).collect();
        assert_eq!(names, ["web", "jobs", "web::2", "dumped"]);
        let web = &apps[0];
        assert_eq!((web.ids.as_slice(), web.running.as_slice(), web.renamed), (&[0, 1][..], &[0][..], false));
        assert_eq!(web.app["env"], json!({ "A": "1", "N": 3 }));
        assert_eq!((&web.app["instances"], &web.app["autostart"]), (&json!(2), &json!(true)));
        assert_eq!(web.app["error_file"], "/var/log/x.log");
        assert!(web.app.get("out_file").is_none() && web.app.get("restart_delay").is_none());
        assert_eq!(apps[1].app["autostart"], false);
        assert!(apps[2].renamed);
    }

    fn one(record: Value) -> Value {
        found(&[record], Path::new("/h/.pm2"), &BTreeMap::new()).remove(0).app
    }

    #[test]
    fn what_a_command_line_said_is_in_the_record() {
        // As PM2 7 has it after `pm2 start app.js -i 2 -o /srv/m.log --watch --ignore-watch "logs tmp" --watch-delay 300 …`.
        let app = one(json!({
            "name": "many", "pm_id": 3, "pm_exec_path": "/srv/app.js", "pm_cwd": "/srv", "exec_interpreter": "node",
            "exec_mode": "cluster_mode", "instances": 2, "status": "online", "watch": true, "ignore_watch": ["logs", "tmp"],
            "watch_delay": 300_000, "filter_env": ["SECRET"], "source_map_support": true, "cron_restart": "0 4 * * *",
            "pm_out_log_path": "/srv/m-3.log", "pm_err_log_path": "/h/.pm2/logs/many-error-3.log", "pm_log_path": "/srv/c-3.log",
            "pm_pid_path": "/run/many-3.pid", "increment_var": "PORT", "NODE_APP_INSTANCE": 2, "env": { "PORT": "3002" },
        }));
        for (key, value) in [
            ("ignore_watch", json!(["logs", "tmp"])),
            ("watch_delay", json!(300_000)),
            ("filter_env", json!(["SECRET"])),
            ("source_map_support", json!(true)),
            ("cron_restart", json!("0 4 * * *")),
            ("out_file", json!("/srv/m.log")),
            ("log_file", json!("/srv/c.log")),
            ("merge_logs", json!(false)),
            ("pid_file", json!("/run/many.pid")),
            ("env", json!({ "PORT": 3000 })),
        ] {
            assert_eq!(app[key], value, "{key}");
        }
        assert!(app.get("error_file").is_none(), "{app}");
    }

    #[test]
    fn a_dump_has_ids_in_its_files_only_and_merged_files_have_none() {
        let record = |merged: bool, out: &str| {
            json!({
                "name": "a", "pm_exec_path": "/a.js", "merge_logs": merged, "pm_out_log_path": out,
                "pm_pid_path": "/h/.pm2/pids/a-12.pid",
            })
        };
        assert_eq!(one(record(false, "/var/log/a-12.log"))["out_file"], "/var/log/a.log");
        assert_eq!(one(record(false, "/var/log/a-1.log"))["out_file"], "/var/log/a-1.log");
        assert_eq!(one(record(false, "/var/log/a-12.txt"))["out_file"], "/var/log/a-12.txt");
        assert_eq!(one(record(true, "/var/log/a-12.log"))["out_file"], "/var/log/a-12.log");
        assert!(one(record(true, "/var/log/a.log")).get("merge_logs").is_none());
    }

    #[test]
    fn a_line_is_one_again_and_a_served_folder_is_served_by_musher() {
        let line = one(json!({
            "name": "line", "pm_exec_path": "/usr/bin/bash", "args": ["-c", "node app.js --x 1"], "exec_interpreter": "none",
        }));
        assert_eq!(
            (&line["script"], line.get("args"), line.get("interpreter")),
            (&json!("node app.js --x 1"), None, None)
        );
        let site = one(json!({
            "name": "site", "pm_exec_path": "/usr/lib/node_modules/pm2/lib/API/Serve.js", "exec_interpreter": "node",
            "node_args": [], "env": { "PM2_SERVE_PORT": "8099", "PM2_SERVE_PATH": "/srv/pub", "PM2_HOME": "/h/.pm2" },
        }));
        assert_eq!(site["script"], "serve");
        assert_eq!(site["env"], json!({ "PM2_SERVE_PORT": "8099", "PM2_SERVE_PATH": "/srv/pub" }));
    }

    #[test]
    fn the_same_script_with_other_arguments_is_another_app() {
        let record =
            |id: u64, args: &[&str]| json!({ "name": "q", "pm_id": id, "pm_exec_path": "/q.js", "args": args });
        let records = [record(0, &["a"]), record(1, &["b"]), record(2, &["a"])];
        let apps = found(&records, Path::new("/h/.pm2"), &BTreeMap::new());
        let told: Vec<_> = apps.iter().map(|app| (app.name.as_str(), app.ids.as_slice())).collect();
        assert_eq!(told, [("q", &[0, 2][..]), ("q::2", &[1][..])]);
    }
}
