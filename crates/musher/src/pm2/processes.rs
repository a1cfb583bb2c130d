//! All workers with PM2's numbers, and what PM2 prints of them.

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use musher_api::AppDetail;
use musher_api::client::Client;
use musher_core::spec::{DEFAULT_NAMESPACE, Runtime};
use regex_lite::RegexBuilder;
use serde_json::Value;

use super::args::Args;
use super::failed;
use super::ids::{Entry, Ids, Place};
use super::inspect::inspect;
use super::versions::Versions;
use super::view::{Process, table};
use crate::args::Cli;
use crate::config::namesake;
use crate::exit_codes;
use crate::failure::Failure;
use crate::output::sanitize;
use crate::session;

/// All workers, by number.
pub(super) struct Processes {
    pub(super) list: Vec<Process>,
    pub(super) client: Client,
    home: PathBuf,
}

impl Processes {
    /// Asks for all of them. Without a daemon there are none.
    pub(super) async fn ask(cli: &Cli) -> Result<Processes, Failure> {
        let home = session::home_path(cli)?;
        let client = session::client(cli)?;
        let before = Ids::known(&home);
        let Some(apps) = session::unless_absent(client.apps().await)? else {
            return Ok(Processes { list: Vec::new(), client, home });
        };
        let mut details = Vec::new();
        for app in apps {
            // One that was deleted meanwhile is none.
            if let Ok(detail) = client.app(&app.id.to_string(), true).await {
                details.push(Rc::new(detail));
            }
        }
        let place = |app: u32, added_ms: u64, slot: u32| Place { app, added_ms, slot };
        let slots = details.iter().flat_map(|app| app.slots.iter().map(move |slot| (app, slot)));
        let slots: Vec<_> = slots.map(|(app, slot)| (app, slot, place(app.id, app.added_ms, slot.row.slot))).collect();
        let places: Vec<Place> = slots.iter().map(|(_, _, place)| *place).collect();
        let known = Ids::open(&home, &places, &before)?.entries();
        let mut versions = Versions::open(&home);
        let mut repositories: BTreeMap<PathBuf, Rc<OnceCell<Value>>> = BTreeMap::new();
        let mut process = |(app, slot, place): &(&Rc<AppDetail>, &musher_api::SlotDetail, Place)| {
            let entry = known.get(place)?;
            let exec = &app.spec.exec;
            let node_version = (exec.runtime != Runtime::Plain).then(|| versions.of(&exec.program)).flatten();
            let (slot, app) = ((*slot).clone(), Rc::clone(app));
            let versioning = Rc::clone(repositories.entry(app.spec.cwd.clone()).or_default());
            Some(Process { id: entry.id, asked: entry.asked, node_version, versioning, slot, app })
        };
        let mut list: Vec<Process> = slots.iter().filter_map(&mut process).collect();
        list.sort_by_key(|process| process.id);
        Ok(Processes { list, client, home })
    }

    pub(super) fn home(&self) -> &Path {
        &self.home
    }

    /// Asks anew for the workers of one app; whether all of them are known. One that is gone stays as it was.
    pub(super) async fn renew(&mut self, app: &str) -> bool {
        let Ok(detail) = self.client.app(app, true).await.map(Rc::new) else { return true };
        let is_old = |one: &Process| one.app.id == detail.id && one.app.added_ms == detail.added_ms;
        let known = |slot: &musher_api::SlotDetail| {
            self.list.iter().any(|one| is_old(one) && one.slot.row.slot == slot.row.slot)
        };
        if !detail.slots.iter().all(known) {
            return false;
        }
        let versioning = Rc::default();
        for one in self.list.iter_mut().filter(|one| is_old(one)) {
            let now = detail.slots.iter().find(|slot| slot.row.slot == one.slot.row.slot);
            one.slot = now.cloned().unwrap_or_else(|| one.slot.clone());
            one.app = Rc::clone(&detail);
            one.versioning = Rc::clone(&versioning);
        }
        true
    }

    /// Counts restarts that were asked for of those that ran, or begins to count anew.
    pub(super) fn count(&self, chosen: &[&Process], reset: bool) -> Result<(), Failure> {
        let places: Vec<Place> = self.list.iter().map(place_of).collect();
        let ran = chosen.iter().filter(|process| reset || process.slot.row.pid.is_some());
        let ids: Vec<u32> = ran.map(|process| process.id).collect();
        Ok(Ids::open(&self.home, &places, &BTreeSet::new())?.count(&ids, reset)?)
    }

    /// Gives the ids of apps to those that took their places under other names.
    pub(super) async fn take_over_ids(&self, renamed: &[(String, String)]) -> Result<(), Failure> {
        if renamed.is_empty() {
            return Ok(());
        }
        let mut moved = Vec::new();
        for (old, new) in renamed {
            // One that could not be added has no id either.
            let Ok(app) = self.client.app(new, true).await else { continue };
            for process in self.list.iter().filter(|process| process.app_name() == old) {
                let place = Place { app: app.id, added_ms: app.added_ms, slot: process.slot.row.slot };
                let ran = u32::from(process.slot.row.pid.is_some());
                moved.push(Entry { place, id: process.id, asked: process.restarts().saturating_add(ran) });
            }
        }
        let places: Vec<Place> = self.list.iter().map(place_of).collect();
        Ok(Ids::open(&self.home, &places, &BTreeSet::new())?.give(moved)?)
    }

    /// Whether a word is the name of an app, be it that of a file as well.
    pub(super) fn is_name(&self, word: &str) -> bool {
        self.list.iter().any(|process| [process.name(), process.app_name()].contains(&word))
    }

    /// The workers that a word means, in PM2's order: all, an expression, a name, a namespace, an id.
    pub(super) fn chosen(&self, word: &str) -> Result<Vec<&Process>, Failure> {
        let by = |wanted: &dyn Fn(&Process) -> bool| -> Vec<&Process> {
            self.list.iter().filter(|process| wanted(process)).collect()
        };
        if word == "all" {
            return if self.list.is_empty() {
                Err(Failure::new(exit_codes::NO_SUCH_APP, "No process found"))
            } else {
                Ok(by(&|_| true))
            };
        }
        // Behind the last slash an expression has letters for how it is meant, a path the name of a file.
        let is_expression = |(_, flags): &(&str, &str)| flags.chars().all(|flag| "dgimsuvy".contains(flag));
        let expression = word.strip_prefix('/').and_then(|rest| rest.rsplit_once('/')).filter(is_expression);
        if let Some((expression, flags)) = expression.filter(|_| !Path::new(word).is_file()) {
            let regex = RegexBuilder::new(expression).case_insensitive(flags.contains('i')).build();
            let regex = regex.map_err(|error| failed(&format!("{word} is not a regular expression: {error}")))?;
            let found = by(&|process| regex.is_match(process.name()));
            return if found.is_empty() { Err(not_found(word)) } else { Ok(found) };
        }
        let script = std::fs::canonicalize(word).ok();
        // Both without links and detours: `./../server.js` is what it leads to.
        let leads_to =
            |process: &Process| process.app.spec.exec.script.as_ref().and_then(|path| path.canonicalize().ok());
        let is_script = |process: &Process| script.is_some() && leads_to(process) == script;
        // PM2 calls an app by its command line.
        let called = namesake::of_line(word);
        let is_line = |process: &Process| {
            let exec = &process.app.spec.exec;
            process.name() == called && exec.script.is_none() && exec.args.iter().map(String::as_str).eq(["-c", word])
        };
        for found in [
            by(&|process| {
                [process.name(), process.app_name()].contains(&word) || is_script(process) || is_line(process)
            }),
            by(&|process| process.app.spec.namespace == word && word != DEFAULT_NAMESPACE),
            by(&|process| process.app.spec.namespace == word),
            by(&|process| process.id.to_string() == word),
        ] {
            if !found.is_empty() {
                return Ok(found);
            }
        }
        Err(not_found(word))
    }

    /// What an action is for, for these workers to be meant: their apps, where all are, else each as APP/SLOT.
    pub(super) fn targets(&self, chosen: &[&Process]) -> Vec<String> {
        let of = |app: String| {
            let meant = || chosen.iter().filter(|process| process.app_name() == app);
            let all = self.list.iter().filter(|process| process.app_name() == app).count();
            if meant().count() == all {
                vec![app]
            } else {
                meant().map(|process| format!("{app}/{}", process.slot.row.slot)).collect()
            }
        };
        Processes::apps(chosen).into_iter().flat_map(of).collect()
    }

    /// The apps of some workers, also of those that are meant in part.
    pub(super) fn apps(chosen: &[&Process]) -> Vec<String> {
        let mut seen = BTreeSet::new();
        chosen.iter().map(|process| process.app_name().to_owned()).filter(|name| seen.insert(name.clone())).collect()
    }

    pub(super) fn print_table(mut self, args: &Args) -> Result<(), Failure> {
        let mut out = std::io::stdout().lock();
        self.sort(args.sort.as_deref())?;
        if args.mini_list {
            for process in &self.list {
                writeln!(out, "{}", process.mini())?;
            }
        } else {
            write!(out, "{}", table(&self.list))?;
        }
        Ok(out.flush()?)
    }

    /// By name, then id; or as `--sort FIELD[:desc]` says.
    fn sort(&mut self, by: Option<&str>) -> Result<(), Failure> {
        let Some(by) = by else {
            self.list.sort_by(|a, b| (a.name(), a.id).cmp(&(b.name(), b.id)));
            return Ok(());
        };
        let (field, order) = by.split_once(':').unwrap_or((by, "asc"));
        if self.list.iter().any(|process| process.sort_key(field).is_none()) {
            let fields = "id, name, namespace, pid, cpu, memory, uptime, status";
            return Err(failed(&format!("{field} is not a field to sort by: {fields}")));
        }
        self.list.sort_by(|a, b| {
            let (a, b) = (a.sort_key(field).unwrap_or_default(), b.sort_key(field).unwrap_or_default());
            a.0.total_cmp(&b.0).then(a.1.cmp(&b.1))
        });
        if order == "desc" {
            self.list.reverse();
        }
        Ok(())
    }

    fn records(&self) -> Value {
        self.list.iter().map(Process::record).collect()
    }

    pub(super) fn print_json(&self) -> Result<(), Failure> {
        line(&self.records().to_string())
    }

    pub(super) fn print_pretty(&self) -> Result<(), Failure> {
        line(&inspect(&self.records(), 0))
    }

    pub(super) fn print_pids(&self, name: Option<&String>) -> Result<(), Failure> {
        let chosen = self.list.iter().filter(|process| name.is_none_or(|name| is_called(process, name)));
        let pids: Vec<String> = chosen.map(|process| process.slot.row.pid.unwrap_or(0).to_string()).collect();
        if pids.is_empty() { Ok(()) } else { line(&pids.join("\n")) }
    }

    pub(super) fn print_ids(&self, name: Option<&String>) -> Result<(), Failure> {
        let name = name.ok_or_else(|| failed("which app? pm2 id NAME"))?;
        let ids = self.list.iter().filter(|process| process.name() == name).map(|process| process.id.into());
        line(&inspect(&Value::Array(ids.collect()), 0))
    }

    pub(super) fn print_environment(&self, id: Option<&String>) -> Result<(), Failure> {
        let id = id.ok_or_else(|| failed("which worker? pm2 env ID"))?;
        let process = self.list.iter().find(|process| is_called(process, id));
        let process = process.ok_or_else(|| failed(&format!("Modules with id {id} not found")))?;
        let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        for (name, value) in process.environment() {
            line(&format!("{name}: {}", sanitize(&text(&value))))?;
        }
        Ok(())
    }
}

fn place_of(process: &Process) -> Place {
    Place { app: process.app.id, added_ms: process.app.added_ms, slot: process.slot.row.slot }
}

fn is_called(process: &Process, word: &str) -> bool {
    process.name() == word || process.id.to_string() == word
}

fn not_found(word: &str) -> Failure {
    Failure::new(exit_codes::NO_SUCH_APP, sanitize(&format!("Process or Namespace {word} not found")))
}

/// Prints data.
pub(super) fn line(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{text}")?;
    Ok(out.flush()?)
}
