//! The calls, and what each gives.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use musher_api::client::{ClientError, request_id};
use musher_api::{Action, ErrorCode, ResurrectRequest, SaveRequest, SendRequest};
use musher_core::spec::AppSpec;
use musher_supervisor::home::Home;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::session::Session;
use crate::config::{self, Flags, Loaded, Overrides, Surroundings};
use crate::exit_codes;
use crate::failure::Failure;
use crate::pm2::change::Change;
use crate::pm2::processes::Processes;
use crate::pm2::view::Process;
use crate::pm2::{actions, settings, start, talk};
use crate::verbs::kill;
use crate::verbs::operations::{all_well, follow};

/// What can be called, with PM2's names.
#[derive(Deserialize)]
#[serde(tag = "method", content = "params", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub(super) enum Call {
    Connect {
        no_daemon: bool,
    },
    Start(Box<Described>),
    Restart(Box<Described>),
    Reload(Box<Described>),
    Stop(Named),
    Delete(Named),
    List {},
    Describe {
        process: String,
    },
    Scale {
        process: String,
        number: String,
    },
    Reset {
        process: Vec<String>,
    },
    Flush {
        process: Vec<String>,
    },
    ReloadLogs {},
    SendSignalToProcessName {
        signal: String,
        process: String,
    },
    SendSignalToProcessId {
        signal: String,
        process: String,
    },
    SendDataToProcessId {
        process: String,
        packet: Map<String, Value>,
    },
    SendLineToStdin {
        process: String,
        line: String,
        separator: Option<String>,
    },
    Trigger {
        process: String,
        action: String,
        param: Option<Value>,
    },
    LaunchBus {},
    CloseBus {},
    Dump {
        force: bool,
    },
    Resurrect {},
    #[serde(rename = "getPID")]
    GetPid {
        process: Option<String>,
    },
    GetVersion {},
    Env {
        process: String,
    },
    Get {
        key: Option<String>,
    },
    Set {
        pairs: Vec<(String, String)>,
        cwd: PathBuf,
        env: BTreeMap<String, String>,
    },
    Unset {
        key: String,
    },
    KillDaemon {},
}

/// Apps: a script, a name, a file, or their description; and where the caller is.
#[derive(Deserialize)]
pub(super) struct Described {
    process: Value,
    #[serde(default)]
    options: Map<String, Value>,
    cwd: PathBuf,
    env: BTreeMap<String, String>,
}

/// Apps that exist, by names, ids, scripts or process files; and where the caller is.
#[derive(Deserialize)]
pub(super) struct Named {
    process: Vec<String>,
    cwd: PathBuf,
    env: BTreeMap<String, String>,
}

/// What a call gives, and what the caller should know besides.
pub(super) struct Answer {
    pub(super) result: Value,
    pub(super) notes: Vec<String>,
}

impl From<Value> for Answer {
    fn from(result: Value) -> Answer {
        Answer { result, notes: Vec::new() }
    }
}

/// What becomes of apps that run.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Manner {
    Start,
    Restart,
    Reload,
}

impl Call {
    /// Whether it has to keep its place among others of its kind.
    pub(super) fn is_message(&self) -> bool {
        matches!(self, Call::SendDataToProcessId { .. })
    }

    /// Does it.
    pub(super) async fn answer(self, session: &Session) -> Result<Answer, Failure> {
        let result = match self {
            Call::Connect { no_daemon } => session.connect(no_daemon).await?,
            Call::Start(what) => return begin(session, *what, Manner::Start).await,
            Call::Restart(what) => return begin(session, *what, Manner::Restart).await,
            Call::Reload(what) => return begin(session, *what, Manner::Reload).await,
            Call::Stop(named) => {
                let processes = session.processes().await?;
                let chosen = actions::all_chosen(&processes, &words_of(&processes, named)?)?;
                actions::stop(&processes, &chosen).await?;
                after(session, &chosen).await?
            }
            Call::Delete(named) => {
                let processes = session.processes().await?;
                let chosen = actions::all_chosen(&processes, &words_of(&processes, named)?)?;
                actions::take_away(&processes, &chosen).await?;
                chosen.iter().map(|process| summary(process, "stopped")).collect()
            }
            Call::List {} => records(&session.processes().await?, |_| true),
            Call::Describe { process } => {
                let is_meant = |one: &Process| one.name() == process || one.id.to_string() == process;
                records(&session.processes().await?, is_meant)
            }
            Call::Scale { process, number } => {
                actions::scale_to(&session.processes().await?, &process, &number).await?;
                success()
            }
            Call::Reset { process } => {
                let processes = session.processes().await?;
                let chosen = actions::all_chosen(&processes, &process)?;
                actions::act(&processes, Action::Reset, Processes::apps(&chosen)).await?;
                processes.count(&chosen, true)?;
                success()
            }
            Call::Flush { process } => tend(session, Action::Flush, &process).await?,
            Call::ReloadLogs {} => {
                let processes = session.processes().await?;
                let all: Vec<&Process> = processes.list.iter().collect();
                return Ok(Answer { result: json!({}), notes: actions::reload_logs(&processes, &all).await? });
            }
            Call::SendSignalToProcessName { signal, process } => {
                self::signal(session, &signal, &process, false).await?
            }
            Call::SendSignalToProcessId { signal, process } => self::signal(session, &signal, &process, true).await?,
            Call::SendDataToProcessId { process, packet } => send(session, &process, packet).await?,
            Call::SendLineToStdin { process, line, separator } => {
                let text = format!("{line}{}", separator.as_deref().unwrap_or("\n"));
                talk::type_in(&session.processes().await?, &process, &text).await?;
                success()
            }
            Call::Trigger { process, action, param } => {
                trigger(&session.processes().await?, &process, &action, param).await?
            }
            Call::LaunchBus {} => session.launch_bus().await.map(|()| success())?,
            Call::CloseBus {} => {
                session.close_bus();
                success()
            }
            Call::Dump { force } => {
                let (client, _) = session.started().await?;
                if !force && session.processes().await?.list.is_empty() {
                    return Err(
                        Failure::new(1, "there is no app: nothing is saved").with_hint("`dump(true)` saves that")
                    );
                }
                client.save(&SaveRequest { request_id: request_id() }).await?;
                success()
            }
            Call::Resurrect {} => resurrect(session).await?,
            Call::GetPid { process } => pids(&session.processes().await?, process.as_deref()),
            Call::GetVersion {} => session.started().await?.0.status().await?.version.into(),
            Call::Env { process } => {
                let processes = session.processes().await?;
                let chosen = processes.list.iter().find(|one| one.name() == process || one.id.to_string() == process);
                Value::Object(chosen.ok_or_else(|| unknown(&process))?.environment())
            }
            Call::Get { key } => settings::get(session.cli(), key.as_deref())?,
            Call::Set { pairs, cwd, env } => {
                let pairs: Vec<(&str, &str)> =
                    pairs.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
                settings::set(session.cli(), &pairs, around(cwd, env)).await?;
                success()
            }
            Call::Unset { key } => settings::unset(session.cli(), &key).map(|()| success())?,
            Call::KillDaemon {} => {
                session.close_bus();
                kill::end(session.cli(), None, |_| ()).await?;
                success()
            }
        };
        Ok(result.into())
    }
}

fn success() -> Value {
    json!({ "success": true })
}

fn records(processes: &Processes, is_meant: impl Fn(&Process) -> bool) -> Value {
    processes.list.iter().filter(|process| is_meant(process)).map(Process::record).collect()
}

/// What PM2 tells of a worker to which something was done.
fn summary(process: &Process, status: &str) -> Value {
    let fields = json!({
        "name": process.name(),
        "namespace": process.app.spec.namespace,
        "pm_id": process.id,
        "status": status,
        "restart_time": process.restarts(),
    });
    let mut inner = fields.clone();
    inner["env"] = Value::Object(process.environment());
    let mut outer = fields;
    outer["pm2_env"] = inner;
    outer
}

/// How those are now to whom something was done.
async fn after(session: &Session, chosen: &[&Process]) -> Result<Value, Failure> {
    let ids: Vec<u32> = chosen.iter().map(|process| process.id).collect();
    let processes = session.processes().await?;
    let those = processes.list.iter().filter(|process| ids.contains(&process.id));
    Ok(those.map(|process| summary(process, process.status())).collect())
}

/// `start`, `restart`, `reload`
async fn begin(session: &Session, what: Described, manner: Manner) -> Result<Answer, Failure> {
    let around = around(what.cwd, what.env);
    let mut options = what.options;
    let mut flag = |names: [&str; 2]| names.iter().filter_map(|name| options.remove(*name)).any(|set| set == true);
    let (update_env, force) = (flag(["updateEnv", "update_env"]), flag(["force", "f"]));
    match what.process {
        Value::String(word) if word != "-" && config::is_process_file(word.as_ref()) => {
            let loaded = config::from_file(word.as_ref(), &overrides(&options)?, &around)?;
            send_apps(session, loaded, manner).await
        }
        Value::String(word) => {
            session.started().await?;
            let processes = session.processes().await?;
            let word = if manner == Manner::Start { word } else { located(&processes, word, &around.cwd) };
            let is_name = manner != Manner::Start || (!word.contains('/') && Path::new(&word).extension().is_none());
            let is_known = is_name && processes.chosen(&word).is_ok();
            if manner == Manner::Start && !is_known {
                let mut app = options;
                app.insert("script".into(), word.into());
                let mut loaded =
                    config::from_described(&json!({ "apps": [app] }).to_string(), &Overrides::default(), &around)?;
                loaded.specs.iter_mut().try_for_each(|spec| start::find_place(&processes, spec, force))?;
                return send_apps(session, loaded, manner).await;
            }
            let chosen = processes.chosen(&word)?;
            let change = Change { keys: options, update_env, around };
            match manner {
                Manner::Reload => start::renew_gently(&processes, &chosen, &change).await?,
                Manner::Start | Manner::Restart => start::run_again(&processes, &chosen, &change).await?,
            }
            Ok(after(session, &chosen).await?.into())
        }
        Value::Array(apps) => {
            let text = json!({ "apps": apps }).to_string();
            send_apps(session, config::from_described(&text, &overrides(&options)?, &around)?, manner).await
        }
        Value::Object(app) => {
            let file = if app.contains_key("apps") { Value::Object(app) } else { json!({ "apps": [app] }) };
            let loaded = config::from_described(&file.to_string(), &overrides(&options)?, &around)?;
            send_apps(session, loaded, manner).await
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {
            Err(Failure::new(exit_codes::USAGE, "start what? a script, a name, a file, an object or an array of them"))
        }
    }
}

/// The script that a word is, from where the caller is; a name stays one.
fn located(processes: &Processes, word: String, cwd: &Path) -> String {
    let is_path = word.contains('/') || Path::new(&word).extension().is_some();
    let script = cwd.join(&word);
    let is_script = is_path && !processes.is_name(&word) && script.is_file();
    let script = script.to_str().filter(|_| is_script);
    script.map_or_else(|| word.clone(), str::to_owned)
}

/// What stands for apps that exist: words, and the names that the apps of a process file have.
fn words_of(processes: &Processes, named: Named) -> Result<Vec<String>, Failure> {
    let around = around(named.cwd, named.env);
    let mut words = Vec::new();
    for word in named.process {
        // The standard input of this process is the channel.
        if word != "-" && config::is_process_file(word.as_ref()) && !processes.is_name(&word) {
            let loaded = config::from_file(word.as_ref(), &Overrides::default(), &around)?;
            let is_there = |name: &String| processes.list.iter().any(|process| process.app_name() == name);
            words.extend(loaded.specs.into_iter().map(|spec| spec.name).filter(is_there));
        } else {
            words.push(located(processes, word, &around.cwd));
        }
    }
    Ok(words)
}

fn around(cwd: PathBuf, env: BTreeMap<String, String>) -> Surroundings {
    let cores = std::thread::available_parallelism().map_or(1, |cores| u32::try_from(cores.get()).unwrap_or(1));
    Surroundings { zone: config::zone_of(&env), cwd, env, cores, as_pm2: true }
}

/// What options say about a process file.
fn overrides(options: &Map<String, Value>) -> Result<Overrides, Failure> {
    let words = |value: &Value| match value {
        Value::String(words) => Ok(words.split(',').map(|word| word.trim().to_owned()).collect()),
        Value::Array(words) => Ok(words.iter().filter_map(|word| Some(word.as_str()?.to_owned())).collect()),
        _ => Err(Failure::new(exit_codes::USAGE, "`only` is a name, several with commas between them, or an array")),
    };
    let only = options.get("only").map(words).transpose()?.unwrap_or_default();
    let env = options.get("env").and_then(Value::as_str).map(str::to_owned).into_iter().collect();
    Ok(Overrides { only, flags: Flags { env, ..Flags::default() } })
}

/// Makes apps run as described, those that run already, too: these are replaced without a gap.
async fn send_apps(session: &Session, mut loaded: Loaded, manner: Manner) -> Result<Answer, Failure> {
    settings::apply(session.cli(), &mut loaded.specs)?;
    session.started().await?;
    let processes = session.processes().await?;
    let names: Vec<String> = loaded.specs.iter().map(|spec: &AppSpec| spec.name.clone()).collect();
    let is_ours = |process: &&Process| names.iter().any(|name| name == process.app_name());
    let known: Vec<&Process> = processes.list.iter().filter(is_ours).filter(|process| process.app.running).collect();
    start::send(&processes, loaded.specs).await?;
    processes.count(&known, false)?;
    let now = session.processes().await?;
    let result = now.list.iter().filter(is_ours).map(|process| {
        let mut record = if manner == Manner::Start { process.record() } else { summary(process, process.status()) };
        record["process"] = json!({ "pid": process.slot.row.pid.unwrap_or(0) });
        record
    });
    Ok(Answer { result: result.collect(), notes: loaded.notes })
}

async fn tend(session: &Session, action: Action, words: &[String]) -> Result<Value, Failure> {
    let processes = session.processes().await?;
    let chosen =
        if words.is_empty() { processes.list.iter().collect() } else { actions::all_chosen(&processes, words)? };
    actions::act(&processes, action, Processes::apps(&chosen)).await?;
    Ok(records(&processes, |_| true))
}

async fn signal(session: &Session, signal: &str, word: &str, by_id: bool) -> Result<Value, Failure> {
    let number = musher_process::exit::parse_signal(signal);
    let number = number.ok_or_else(|| Failure::new(exit_codes::USAGE, format!("{signal} is not a signal")))?;
    let processes = session.processes().await?;
    if by_id {
        let process = processes.list.iter().find(|process| process.id.to_string() == word);
        let process = process.ok_or_else(|| unknown(word))?;
        let action = Action::Signal { signal: number, slot: Some(process.slot.row.slot) };
        actions::act(&processes, action, vec![process.app_name().to_owned()]).await?;
    } else {
        let apps = Processes::apps(&processes.chosen(word)?);
        actions::act(&processes, Action::Signal { signal: number, slot: None }, apps).await?;
    }
    Ok(records(&processes, |_| true))
}

/// What each worker answers, as it is on the bus of PM2.
async fn trigger(processes: &Processes, word: &str, action: &str, param: Option<Value>) -> Result<Value, Failure> {
    let mut answers = Vec::new();
    talk::act_by_name(processes, (word, action, param), |process, at, value| {
        let of = json!({ "name": process.name(), "pm_id": process.id, "namespace": process.app.spec.namespace });
        answers.push(json!({ "at": at, "process": of, "data": { "action_name": action, "return": value } }));
        Ok(())
    })
    .await?;
    Ok(answers.into())
}

fn unknown(id: &str) -> Failure {
    Failure::new(exit_codes::NO_SUCH_APP, format!("there is no worker with the id {id}"))
        .with_hint("`list` tells the ids: pm_id")
}

/// A message to one worker, which gets it with its id in it, as from PM2.
async fn send(session: &Session, id: &str, mut packet: Map<String, Value>) -> Result<Value, Failure> {
    let number: u32 = id.parse().map_err(|_| unknown(id))?;
    packet.insert("id".into(), number.into());
    let Some((app, slot)) = session.place(number).await? else { return Err(unknown(id)) };
    let message = Value::Object(packet);
    let request = |app: u32, slot: u32| SendRequest {
        request_id: request_id(),
        target: app.to_string(),
        slot: Some(slot),
        message: message.clone(),
    };
    let client = crate::session::client(session.cli())?;
    match client.send(&request(app, slot)).await {
        Ok(_) => Ok(json!({ "success": true, "data": message })),
        Err(ClientError::Api(error)) if error.code == ErrorCode::NotFound => Err(unknown(id)),
        Err(error) => Err(error.into()),
    }
}

async fn resurrect(session: &Session) -> Result<Value, Failure> {
    let (client, _) = session.started().await?;
    let response = match client.resurrect(&ResurrectRequest { request_id: request_id() }).await {
        // An empty list was saved.
        Err(ClientError::Api(error)) if error.code == ErrorCode::NotFound && saved_list(session)?.exists() => {
            return Ok(records(&session.processes().await?, |_| true));
        }
        response => response?,
    };
    all_well(&follow(&client, &response.operations, &Default::default()).await?)?;
    Ok(records(&session.processes().await?, |_| true))
}

fn saved_list(session: &Session) -> Result<PathBuf, Failure> {
    Ok(Home::open(&crate::session::home_path(session.cli())?)?.saved_list())
}

fn pids(processes: &Processes, word: Option<&str>) -> Value {
    let is_meant = |one: &&Process| word.is_none_or(|word| one.name() == word || one.id.to_string() == word);
    processes.list.iter().filter(is_meant).map(|process| process.slot.row.pid.unwrap_or(0)).collect()
}
