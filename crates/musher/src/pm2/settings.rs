//! `init`: a process file to begin with. `set`, `get`, `unset`, `conf`: settings of apps.
//!
//! PM2 keeps settings of itself and of its modules, of which there are none here; and those of apps, `set web:key value`, which are
//! variables of their environment. They stand in `module_conf.json` in the home, as with PM2, and are read when an app is started.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use musher_core::spec::AppSpec;
use serde_json::{Map, Value, json};

use super::change::Change;
use super::processes::{Processes, line};
use super::{Context, failed, start};
use crate::args::Cli;
use crate::config::{Surroundings, namesake};
use crate::failure::Failure;
use crate::output::sanitize;
use crate::session;

const SETTINGS: &str = "module_conf.json";
/// More than any settings are.
const MAX_SETTINGS: u64 = 1 << 20;

const FILE: &str = "ecosystem.config.js";

/// What a new process file says.
const TEMPLATE: &str = "\
module.exports = {
  apps: [
    {
      name: 'web',
      script: './server.js',
      // One worker on each core, sharing the port.
      instances: 'max',
      exec_mode: 'cluster',
      env: { PORT: 3000 },
      // pm2 start ecosystem.config.js --env production
      env_production: { NODE_ENV: 'production' },
    },
  ],
};
";

/// `init`: a process file to begin with. One that is there is left alone.
pub(super) fn init(context: &Context<'_>, _words: &[String]) -> Result<(), Failure> {
    let file = std::fs::OpenOptions::new().write(true).create_new(true).open(FILE);
    match file.and_then(|mut file| file.write_all(TEMPLATE.as_bytes())) {
        Ok(()) => {
            context.say(&format!("{FILE} is written: edit it, then `pm2 start {FILE}`"));
            Ok(())
        }
        Err(error) => Err(failed(&format!("{FILE} cannot be written: {error}"))),
    }
}

/// `set`, `get`, `conf`, `multiset`, `unset`
pub(super) async fn settings(context: &Context<'_>, command: &str, words: &[String]) -> Result<(), Failure> {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let told =
        |apps: Vec<String>| apps.iter().for_each(|app| context.say(&format!("[{app}] restarted with what is set")));
    match (command, words.as_slice()) {
        ("set" | "conf" | "config", [key, value]) => {
            set(&context.cli, &[(key, value)], start::surroundings()?).await.map(told)
        }
        ("multiset", [text]) => set(&context.cli, &pairs(text)?, start::surroundings()?).await.map(told),
        ("get" | "conf" | "config", []) => line(&format!("{:#}", get(&context.cli, None)?)),
        ("get" | "conf" | "config", [key]) => match get(&context.cli, Some(key))? {
            Value::Null => Err(failed(&format!("{key} is not set"))),
            Value::String(text) => line(&sanitize(&text)),
            value => line(&format!("{value:#}")),
        },
        ("unset", [key]) => unset(&context.cli, key),
        _ => Err(failed("pm2 set KEY VALUE, pm2 get [KEY], pm2 unset KEY|all; KEY of an app: APP:KEY")),
    }
}

/// `key value key value`
pub(super) fn pairs(text: &str) -> Result<Vec<(&str, &str)>, Failure> {
    let words: Vec<&str> = text.split_whitespace().collect();
    if words.is_empty() || !words.len().is_multiple_of(2) {
        return Err(failed("multiset wants \"KEY VALUE KEY VALUE\""));
    }
    Ok(words.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect())
}

/// What is set: all of it, one key, or what is set of an app.
pub(super) fn get(cli: &Cli, key: Option<&str>) -> Result<Value, Failure> {
    let all = read(&session::home_path(cli)?)?;
    Ok(match key {
        None => Value::Object(all),
        Some(key) => found(&all, key).cloned().unwrap_or_default(),
    })
}

/// Forgets a key, what is set of an app, or all.
pub(super) fn unset(cli: &Cli, key: &str) -> Result<(), Failure> {
    let home = session::home_path(cli)?;
    // Also when nothing can be read.
    let mut all = if key == "all" { Map::new() } else { read(&home)? };
    match split(key) {
        _ if key == "all" => {}
        Some((app, key)) => drop(all.get_mut(app).and_then(Value::as_object_mut).map(|app| app.remove(key))),
        None => drop(all.remove(key)),
    }
    write(&home, &all)
}

/// Sets keys, and restarts the apps that they belong to; tells which.
pub(super) async fn set(cli: &Cli, pairs: &[(&str, &str)], around: Surroundings) -> Result<Vec<String>, Failure> {
    let home = session::home_path(cli)?;
    let mut all = read(&home)?;
    let mut apps: Vec<&str> = Vec::new();
    for (key, value) in pairs {
        let value = Value::from(*value);
        let Some((app, key)) = split(key) else {
            all.insert((*key).to_owned(), value);
            continue;
        };
        let place = all.entry(app).or_insert_with(|| json!({}));
        if !place.is_object() {
            *place = json!({});
        }
        place[key] = value;
        if !apps.contains(&app) {
            apps.push(app);
        }
    }
    write(&home, &all)?;
    let processes = Processes::ask(cli).await?;
    let mut restarted = Vec::new();
    for app in apps {
        let chosen: Vec<_> = processes.list.iter().filter(|process| process.name() == app).collect();
        if chosen.is_empty() {
            continue;
        }
        let keys = Map::from_iter([("env".to_owned(), json!(variables(&all, app)))]);
        let change = Change { keys, update_env: false, around: around.clone() };
        start::run_again(&processes, &chosen, &change).await?;
        restarted.push(app.to_owned());
    }
    Ok(restarted)
}

/// Puts what is set of an app over its environment.
pub(super) fn apply(cli: &Cli, specs: &mut [AppSpec]) -> Result<(), Failure> {
    let all = read(&session::home_path(cli)?)?;
    for spec in specs {
        let variables = variables(&all, namesake::shown(&spec.name));
        spec.env.extend(variables.into_iter().filter(|(key, _)| !musher_core::spec::is_mushers_own(key)));
    }
    Ok(())
}

fn variables(all: &Map<String, Value>, app: &str) -> BTreeMap<String, String> {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let set = all.get(app).and_then(Value::as_object);
    set.into_iter().flatten().map(|(key, value)| (key.clone(), text(value))).collect()
}

/// The app and its key: `web:key`, or `web.key`.
fn split(key: &str) -> Option<(&str, &str)> {
    key.split_once(':').or_else(|| key.split_once('.')).filter(|(app, key)| !app.is_empty() && !key.is_empty())
}

fn found<'a>(all: &'a Map<String, Value>, key: &str) -> Option<&'a Value> {
    all.get(key).or_else(|| split(key).and_then(|(app, key)| all.get(app)?.get(key)))
}

fn path(home: &Path) -> PathBuf {
    home.join(SETTINGS)
}

/// What is set. A file that cannot be read is not overwritten.
fn read(home: &Path) -> Result<Map<String, Value>, Failure> {
    let mut text = String::new();
    match File::open(path(home)).and_then(|file| file.take(MAX_SETTINGS).read_to_string(&mut text)) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Map::new()),
        read => read?,
    };
    serde_json::from_str(&text).map_err(|error| failed(&format!("{}: {error}", path(home).display())))
}

fn write(home: &Path, all: &Map<String, Value>) -> Result<(), Failure> {
    musher_supervisor::home::Home::open(home)?;
    // Two commands at a time do not write into one another's file.
    let next = home.join(format!("module_conf.json.{}", std::process::id()));
    let text = serde_json::to_vec_pretty(all).map_err(|error| failed(&error.to_string()))?;
    if text.len() as u64 >= MAX_SETTINGS {
        return Err(failed(&format!("all settings together may have {} KiB", MAX_SETTINGS >> 10)));
    }
    OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&next)?.write_all(&text)?;
    Ok(std::fs::rename(next, path(home))?)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::{found, read, split, variables, write};

    #[test]
    fn keys_belong_to_apps_by_a_colon_or_a_point() {
        assert_eq!(
            [split("a:b.c"), split("a.b"), split("a"), split(":a")],
            [Some(("a", "b.c")), Some(("a", "b")), None, None]
        );
        let home = tempfile::tempdir().unwrap();
        let all = json!({ "key": "v", "web": { "x": "1", "y": { "z": 2 } } }).as_object().unwrap().clone();
        write(home.path(), &all).unwrap();
        let all = read(home.path()).unwrap();
        assert_eq!((found(&all, "key"), found(&all, "web.x")), (Some(&json!("v")), Some(&json!("1"))));
        assert_eq!((found(&all, "web:none"), found(&all, "none")), (None, None));
        assert_eq!(
            variables(&all, "web"),
            BTreeMap::from([("x".into(), "1".into()), ("y".into(), r#"{"z":2}"#.into())])
        );
        std::fs::write(home.path().join("module_conf.json"), "{ broken").unwrap();
        assert!(read(home.path()).is_err());
    }
}
