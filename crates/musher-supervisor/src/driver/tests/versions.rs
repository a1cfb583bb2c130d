//! Records of a later version, in which any word may be one that this version does not know.

use std::collections::BTreeMap;

use musher_core::lifecycle::{App, Chance, Command, ExitOutcome, Input, Policy, Target};
use musher_core::spec::{AppSpec, Exec, Listen, Probe, ReadyWhen, Runtime};
use musher_core::{AppId, Generation, OpId, RunId, Time};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use super::super::records::{AppRecord, HomeRecord, can_read};

const LATER: &str = "known-to-a-later-version-only";

/// The document with one word after the other replaced: each string, each name of a variant, and one more member in
/// each object. With the place of it.
fn with_words_of_later(document: &Value) -> Vec<(String, Value)> {
    let mut places = Vec::new();
    collect(document, String::new(), &mut places);
    let mut changed = Vec::new();
    for place in places {
        let mut change = |with: &dyn Fn(&mut Value)| {
            let mut document = document.clone();
            with(document.pointer_mut(&place).unwrap());
            changed.push((place.clone(), document));
        };
        change(&|value| {
            if let Value::Object(members) = value {
                if !is_by_number(members) {
                    members.insert(LATER.into(), json!({"a": [1, {"b": LATER}]}));
                }
            } else {
                *value = json!(LATER);
            }
        });
        // What was a word gets content.
        change(&|value| {
            if value.is_string()
                || value.as_object().is_some_and(|members| members.len() == 1 && !is_by_number(members))
            {
                *value = json!({LATER: {"a": 1}});
            }
        });
    }
    changed
}

/// A list by number stays one.
fn is_by_number(members: &Map<String, Value>) -> bool {
    members.keys().any(|key| key.parse::<u64>().is_ok())
}

fn collect(value: &Value, place: String, places: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                collect(member, format!("{place}/{}", name.replace('/', "~1")), places);
            }
            places.push(place);
        }
        Value::Array(elements) => {
            for (index, element) in elements.iter().enumerate() {
                collect(element, format!("{place}/{index}"), places);
            }
        }
        Value::String(_) => places.push(place),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Every change of the document can be read, but for those at a place that is what the record is of.
fn readable<T: DeserializeOwned>(name: &str, document: &Value, needed: &[&str]) {
    // Nothing in it is unknown before.
    serde_json::from_value::<T>(document.clone()).map(drop).unwrap();
    let changed = with_words_of_later(document);
    assert!(changed.len() > 20, "{name}: {}", changed.len());
    for (place, changed) in changed {
        let read = can_read(name, changed.to_string().as_bytes());
        assert!(read.is_ok() || needed.contains(&&*place), "{name}{place}: {}", read.unwrap_err());
    }
}

/// An app in the middle of a reload with a trial, with dead, given up and leaving runs.
fn busy_app() -> App {
    let policy = Policy { max_restarts: 1, drains: true, ..Policy::default() };
    let target = |generation| Target { generation: Generation(generation), policy: policy.clone() };
    let mut app = App::new(AppId(1), 4, target(1));
    let mut chance = || 0;
    let chance: Chance<'_> = &mut chance;
    let mut now = Time(1000);
    let mut step = |app: &mut App, input| {
        now = now + std::time::Duration::from_secs(1);
        app.step(now, chance, input, &mut Vec::new());
    };
    step(&mut app, Input::Command { op: OpId(1), command: Command::Start { target: None } });
    let runs: Vec<RunId> = app.runs().map(|(run, _)| run).collect();
    for run in &runs {
        step(&mut app, Input::Spawned { run: *run });
        step(&mut app, Input::Ready { run: *run });
    }
    step(&mut app, Input::Exited { run: runs[3], outcome: ExitOutcome::Signal { signal: 9, core_dumped: true } });
    step(&mut app, Input::Unfit { run: runs[0], reason: "it is slow".into() });
    let canary = musher_core::lifecycle::Canary { slots: 1, wait: std::time::Duration::from_secs(9) };
    step(
        &mut app,
        Input::Command { op: OpId(2), command: Command::Reload { target: Some(target(2)), canary: Some(canary) } },
    );
    step(&mut app, Input::Failing { run: runs[2] });
    app
}

#[test]
fn the_record_of_an_app_can_be_read_whatever_word_in_it_is_unknown() {
    let death = json!({"run": 3, "slot": 2, "pid": null, "status": "exit code 1", "out_of_memory": null, "asked": false,
        "was_ready": true, "uptime_ms": 3, "time_ms": 1, "memory_bytes": 1});
    let event = json!({"seq": 1, "time_ms": 2, "time": "", "kind": "giveup", "app": "web"});
    let died = json!({"code": "died", "slot": 1, "run": 2, "death": {"exited": {"signal": {"signal": 9}}}});
    let document = json!({
        "version": 2, "readable_from": 1, "id": 1, "name": "web", "added_ms": 1, "newest": 2,
        "machine": busy_app(),
        "runs": {"1": {"slot": 0, "generation": 1, "pid": 7, "started_ms": 1, "said": "words"}},
        "deaths": {"2": death},
        "sockets": {"0": "127.0.0.1:80"},
        "hooks": [{"id": 1, "occasion": "giveup", "event": event, "command": ["/bin/true"], "limit_ms": 1}],
        "held": [{"op": 1, "result": {"Ok": null}}, {"op": 2, "result": {"Err": died}}],
    });
    readable::<AppRecord>("app/1", &document, &["/name"]);
}

#[test]
fn the_record_of_the_home_can_be_read_whatever_word_in_it_is_unknown() {
    let operation = json!({"id": 1, "app": "web", "app_id": 1, "kind": "start", "revision": 0, "done": true, "ok": false,
        "error": {"code": "conflict", "message": "", "hint": null}, "progress": {"ready": 0, "total": 0, "leaving": 0}});
    let step = json!({"app": "web", "action": "start", "changed": [], "instances_before": 0, "instances_after": 1});
    let document = json!({
        "version": 2, "readable_from": 1, "home_id": "x", "next_app": 1, "next_operation": 2,
        "operations": [operation],
        "requests": [{"request_id": "r", "plan": [step], "operations": []}],
        "upgrade": {"operation": 1, "from": "1", "to": "2", "path": "/"},
    });
    readable::<HomeRecord>("home", &document, &[]);
}

#[test]
fn a_spec_can_be_read_whatever_word_in_it_is_unknown() {
    let exec = Exec { program: "/bin/x".into(), args: vec![], script: None, runtime: Runtime::NodeCluster };
    let mut spec = AppSpec::new("web", exec, "/");
    let listen: Listen = serde_json::from_value(json!({"address": "127.0.0.1:80"})).unwrap();
    spec.listen = vec![listen];
    spec.ready.when = ReadyWhen::Alive { after_ms: 1000 };
    spec.health.liveness = Some(Probe::Exec { command: vec!["/bin/true".into()] });
    spec.env = BTreeMap::from([("A".into(), "b".into())]);
    readable::<AppSpec>("spec/1/1", &serde_json::to_value(&spec).unwrap(), &["/name", "/cwd", "/exec/program"]);
}
