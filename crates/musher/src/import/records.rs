//! Records of PM2 as apps of its process files.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Map, Value};

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
    "instance_var",
    "increment_var",
    "log_date_format",
    "log_type",
    "uid",
    "gid",
];

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
    let mut apps: Vec<(String, Found)> = Vec::new();
    for record in records {
        // A dump has what a list has below `pm2_env`.
        let env = record.get("pm2_env").unwrap_or(record);
        if env["pmx_module"] == true {
            continue;
        }
        let (Some(name), Some(script)) = (env["name"].as_str(), env["pm_exec_path"].as_str()) else { continue };
        let id = env["pm_id"].as_u64().unwrap_or(apps.len() as u64);
        let runs = !matches!(env["status"].as_str(), Some("stopped" | "errored"));
        let same = apps.iter_mut().find(|(path, app)| path == script && app.app["name"] == name);
        if let Some((_, app)) = same {
            app.ids.push(id);
            app.running.extend(runs.then_some(id));
            continue;
        }
        let renamed = apps.iter().any(|(_, app)| app.name == name);
        let new = if renamed { format!("{name}-{id}") } else { name.to_owned() };
        let app = described(&new, env, home, shell);
        let running = runs.then_some(id).into_iter().collect();
        apps.push((script.to_owned(), Found { name: new, app, ids: vec![id], running, renamed }));
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
    app.insert("script".into(), env["pm_exec_path"].clone());
    app.insert("cwd".into(), env["pm_cwd"].clone());
    app.insert("interpreter".into(), env["exec_interpreter"].clone());
    for key in SAME {
        if let Some(value) = env.get(*key).filter(|value| !value.is_null()) {
            app.insert((*key).to_owned(), value.clone());
        }
    }
    // Files in PM2's own home are not to be written by another program.
    for (key, field) in [("out_file", "pm_out_log_path"), ("error_file", "pm_err_log_path")] {
        if let Some(path) = env[field].as_str().filter(|path| !Path::new(path).starts_with(home)) {
            app.insert(key.into(), path.into());
        }
    }
    app.insert("env".into(), Value::Object(variables(env, shell)));
    Value::Object(app)
}

/// The variables of an app: those that the shell has, too, are inherited anyway.
fn variables(env: &Value, shell: &BTreeMap<String, String>) -> Map<String, Value> {
    let Value::Object(all) = &env["env"] else { return Map::new() };
    let own = all.iter().filter(|(name, value)| {
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let scalar = value.is_string() || value.is_number() || value.is_boolean();
        let pm2s = name.starts_with("PM2_") || name.starts_with("MUSHER_") || NOT_THE_APPS.contains(&name.as_str());
        scalar && !pm2s && shell.get(*name) != Some(&text)
    });
    own.map(|(name, value)| (name.clone(), value.clone())).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::Path;

    use serde_json::json;

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
        assert_eq!(names, ["web", "jobs", "web-3", "dumped"]);
        let web = &apps[0];
        assert_eq!((web.ids.as_slice(), web.running.as_slice(), web.renamed), (&[0, 1][..], &[0][..], false));
        assert_eq!(web.app["env"], json!({ "A": "1", "N": 3 }));
        assert_eq!((&web.app["instances"], &web.app["autostart"]), (&json!(2), &json!(true)));
        assert_eq!(web.app["error_file"], "/var/log/x.log");
        assert!(web.app.get("out_file").is_none() && web.app.get("restart_delay").is_none());
        assert_eq!(apps[1].app["autostart"], false);
        assert!(apps[2].renamed);
    }
}
