//! What flags change about apps that exist: `pm2 restart web --node-args … --name …`.

use std::collections::BTreeMap;

use musher_api::{Action, Mode};
use musher_core::spec::{AppSpec, SpecFault};
use serde_json::{Map, Value, json};

use super::actions::act;
use super::failed;
use super::processes::Processes;
use super::start::send;
use super::view::Process;
use crate::config::{self, Overrides, Surroundings, namesake};
use crate::failure::Failure;

/// What is to be other from now on.
pub(super) struct Change {
    /// Keys of PM2's process files.
    pub(super) keys: Map<String, Value>,
    /// Whether the variables of the caller are taken.
    pub(super) update_env: bool,
    pub(super) around: Surroundings,
}

impl Change {
    pub(super) fn is_none(&self) -> bool {
        self.keys.is_empty() && !self.update_env
    }

    /// Makes the apps of some workers run that way.
    pub(super) async fn carry_out(&self, processes: &Processes, chosen: &[&Process]) -> Result<(), Failure> {
        let mut keys = self.keys.clone();
        let name = keys.remove("name").and_then(|name| name.as_str().map(str::to_owned));
        let mut taken: Vec<String> = processes.list.iter().map(|process| process.app_name().to_owned()).collect();
        let (mut specs, mut renamed) = (Vec::new(), Vec::new());
        for app in Processes::apps(chosen) {
            let Some(process) = chosen.iter().find(|process| process.app_name() == app) else { continue };
            let mut spec = with(process, &keys, &self.around)?;
            if self.update_env {
                spec = renewed(spec, &self.around.env);
            }
            if let Some(name) = name.as_deref().filter(|name| *name != process.name()) {
                // That of the old name is made for it; the new one gets its own.
                let made = processes.home().join("pids").join(format!("{}.pid", spec.name));
                spec.pid_file = spec.pid_file.filter(|path| *path != made);
                spec.name = namesake::free(name, |name| taken.iter().any(|other| other == name));
                spec.check().map_err(faults)?;
                taken.push(spec.name.clone());
                renamed.push((app, spec.name.clone()));
            }
            specs.push(spec);
        }
        // A name is what an app is known by here: under another one it is another app, which needs the ports of the first.
        let old: Vec<String> = renamed.iter().map(|(old, _)| old.clone()).collect();
        let before: Vec<AppSpec> = processes
            .list
            .iter()
            .filter(|process| old.iter().any(|old| old == process.app_name()))
            .map(|process| AppSpec { instances: instances(process), ..process.app.spec.clone() })
            .collect();
        act(processes, Action::Delete, old).await?;
        let started = send(processes, specs).await;
        if started.is_err() && !before.is_empty() {
            // What worked is not taken down for what does not.
            let new = renamed.iter().map(|(_, new)| new.clone()).collect();
            let _ = act(processes, Action::Delete, new).await;
            send(processes, one_each(before)).await?;
            return started;
        }
        processes.take_over_ids(&renamed).await?;
        started
    }
}

/// Each app once, whatever the number of its workers.
fn one_each(specs: Vec<AppSpec>) -> Vec<AppSpec> {
    let mut each: Vec<AppSpec> = Vec::new();
    for spec in specs {
        if each.iter().all(|other| other.name != spec.name) {
            each.push(spec);
        }
    }
    each
}

fn faults(faults: Vec<SpecFault>) -> Failure {
    let all: Vec<String> = faults.iter().map(|fault| format!("{}: {}", fault.field, fault.message)).collect();
    failed(&all.join("; "))
}

/// The spec of a worker's app with what the keys of PM2 change about it.
///
/// A spec does not tell which of its values were given. So the keys are taken by two apps that are alike but for them, and what
/// makes these two differ is put into the spec.
fn with(process: &Process, keys: &Map<String, Value>, around: &Surroundings) -> Result<AppSpec, Failure> {
    let spec = &process.app.spec;
    let mut spec = AppSpec { instances: instances(process), ..spec.clone() };
    if keys.is_empty() {
        return Ok(spec);
    }
    let mut plain = plain(process);
    let before = decoded(&plain, around)?;
    // `null` takes back what was set.
    let given = keys.iter().filter(|(_, value)| *value != "null" && !value.is_null());
    plain.extend(given.map(|(key, value)| (key.clone(), value.clone())));
    for (key, _) in keys.iter().filter(|(_, value)| *value == "null" || value.is_null()) {
        plain.remove(key);
    }
    let after = decoded(&plain, around)?;
    let mut value = serde_json::to_value(&spec).map_err(|error| failed(&error.to_string()))?;
    put(&mut value, &before, &after);
    // Whoever asks for watching what is watched wants an end of it.
    if keys.get("watch") == Some(&Value::Bool(true)) && spec.watch.is_some() {
        let wanted = if process.app.running { None } else { spec.watch.as_ref() };
        value["watch"] = serde_json::to_value(wanted).map_err(|error| failed(&error.to_string()))?;
    }
    spec = serde_json::from_value(value).map_err(|error| failed(&error.to_string()))?;
    spec.check().map_err(faults)?;
    Ok(spec)
}

/// Gives an app the variables of a shell.
fn renewed(spec: AppSpec, env: &BTreeMap<String, String>) -> AppSpec {
    let mut spec = AppSpec { base_env: config::inherited(env), ..spec };
    for (key, value) in &mut spec.env {
        if let Some(new) = env.get(key) {
            value.clone_from(new);
        }
    }
    spec
}

fn instances(process: &Process) -> u32 {
    u32::try_from(process.app.slots.len()).unwrap_or(process.app.spec.instances)
}

/// The app as keys of PM2, without what flags may say.
fn plain(process: &Process) -> Map<String, Value> {
    let spec = &process.app.spec;
    let (before, behind) = process.arguments();
    let runs_script = spec.exec.script.is_some() && spec.exec.script.as_ref() != Some(&spec.exec.program);
    let interpreter = if runs_script { spec.exec.program.to_string_lossy() } else { "none".into() };
    let app = json!({
        "script": process.script().to_string_lossy(),
        "name": spec.name,
        "interpreter": interpreter,
        "args": behind,
        "cwd": spec.cwd.to_string_lossy(),
        "exec_mode": if process.app.mode == Mode::Cluster { "cluster" } else { "fork" },
        "instances": instances(process),
        "node_args": before,
        "merge_logs": !spec.logs.per_worker,
    });
    if let Value::Object(app) = app { app } else { Map::new() }
}

fn decoded(app: &Map<String, Value>, around: &Surroundings) -> Result<Value, Failure> {
    let text = json!({ "apps": [app] }).to_string();
    let loaded = config::from_described(&text, &Overrides::default(), around)?;
    let spec = loaded.specs.first().ok_or_else(|| failed("there is nothing to change"))?;
    serde_json::to_value(spec).map_err(|error| failed(&error.to_string()))
}

/// Makes `value` differ from what it was as `after` differs from `before`.
fn put(value: &mut Value, before: &Value, after: &Value) {
    let (Value::Object(fields), Value::Object(old), Value::Object(new)) = (&mut *value, before, after) else {
        *value = after.clone();
        return;
    };
    for (key, new) in new.iter().filter(|(key, new)| old.get(*key) != Some(new)) {
        match old.get(key) {
            Some(old) => put(fields.entry(key).or_insert(Value::Null), old, new),
            None => drop(fields.insert(key.clone(), new.clone())),
        }
    }
    for key in old.keys().filter(|key| !new.contains_key(*key)) {
        fields.remove(key);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::put;

    #[test]
    fn only_what_differs_is_put() {
        let mut value = json!({ "a": 1, "b": { "c": [1], "d": 4, "e": 0 }, "n": null });
        let before = json!({ "a": 0, "b": { "c": [], "d": 2 }, "gone": 1, "n": null });
        let after = json!({ "a": 0, "b": { "c": [7], "d": 2 }, "new": 2, "n": { "x": 1 } });
        put(&mut value, &before, &after);
        assert_eq!(value, json!({ "a": 1, "b": { "c": [7], "d": 4, "e": 0 }, "n": { "x": 1 }, "new": 2 }));
    }
}
