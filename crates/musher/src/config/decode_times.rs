//! What an app does when: its schedule, and what it needs before it starts.

use std::collections::BTreeMap;

use musher_core::spec::{Condition, Missed, OnTime};

use super::decode::Decoder;
use super::keys::{CONDITION, MISSED, ON_TIME};
use super::raw::RawSchedule;
use super::tree::{Node, Value};

/// A pattern alone is a job.
pub(super) fn schedule(d: &mut Decoder<'_>, node: &Node, path: &'static str) -> Option<RawSchedule> {
    const ACTIONS: [OnTime; 3] = [OnTime::Start, OnTime::Restart, OnTime::Reload];
    const MISSES: [Missed; 2] = [Missed::Skip, Missed::Once];
    match &node.value {
        Value::Bool(false) => return None,
        Value::Text(cron) => return Some(RawSchedule { cron: Some(cron.clone()), ..RawSchedule::default() }),
        _ => {}
    }
    let table = d.table(node, path)?;
    if table.of("cron").is_none() {
        d.fault(table.at, path, "no pattern", "write for example cron = \"0 3 * * *\"");
    }
    let action = table.read(d, "action", |d, node, path| d.choice(node, path, ON_TIME));
    let missed = table.read(d, "missed", |d, node, path| d.choice(node, path, MISSED));
    Some(RawSchedule {
        cron: table.read(d, "cron", |d, node, path| d.text(node, path)),
        timezone: table.read(d, "timezone", |d, node, path| d.text(node, path)),
        action: action.and_then(|n| ACTIONS.get(n).copied()),
        missed: missed.and_then(|n| MISSES.get(n).copied()),
    })
}

/// Names, which are to be ready; or a table that says what each is to be.
pub(super) fn depends_on(d: &mut Decoder<'_>, node: &Node, path: &'static str) -> Option<BTreeMap<String, Condition>> {
    const MEANING: [Condition; 3] = [Condition::Started, Condition::Ready, Condition::ExitedOk];
    let Value::Table(entries) = &node.value else {
        let names = d.texts(node, path)?;
        return Some(names.into_iter().map(|name| (name, Condition::Ready)).collect());
    };
    let mut conditions = BTreeMap::new();
    for entry in entries {
        let path = format!("{path}.{}", entry.key);
        let condition = d.choice(&entry.node, &path, CONDITION).and_then(|n| MEANING.get(n).copied());
        if conditions.insert(entry.key.clone(), condition?).is_some() {
            d.fault(entry.at, &path, "given twice", "");
        }
    }
    Some(conditions)
}
