//! What programs report by the libraries that they have from PM2's world (@pm2/io, tx2): actions that can be called by name,
//! and metrics of their own. They are messages with a `type` that begins with `axm:`.
//!
//! Registered once, actions are written with the run, so that a later supervisor knows them; metrics come again each second.
//! What is called and what is answered are messages like all others: `musher trigger` sends and listens.

use std::collections::BTreeMap;

use musher_api::{CustomAction, CustomMetric};
use musher_core::RunId;
use serde_json::Value;

use super::Driver;

/// How many actions, and how many metrics, of a run are kept.
const MOST: usize = 64;
/// The longest name, value, unit or kind that is kept, in bytes.
const LONGEST: usize = 256;

/// What a message reports.
#[derive(Debug, PartialEq)]
enum Report {
    Action(CustomAction),
    Metrics(BTreeMap<String, CustomMetric>),
    /// Something for a service that is not here.
    Other,
}

impl Driver {
    /// Keeps what a worker reports of itself. False: the message is no report.
    pub(super) fn reported(&mut self, run: RunId, message: &Value) -> bool {
        let Some(report) = understood(message) else { return false };
        let Some(app) = self.apps.get_mut(&run.app()) else { return true };
        let Some(managed) = app.runs.get_mut(&run) else { return true };
        match report {
            Report::Action(action) => {
                let known = &mut managed.record.custom_actions;
                if known.len() < MOST && !known.contains(&action) {
                    known.retain(|other| other.name != action.name);
                    known.push(action);
                    self.world.write_app(app);
                }
            }
            Report::Metrics(metrics) => managed.custom_metrics = metrics,
            Report::Other => {}
        }
        true
    }
}

fn understood(message: &Value) -> Option<Report> {
    let (kind, data) = (message.get("type")?.as_str()?, message.get("data"));
    match kind {
        "axm:action" => Some(data.and_then(action).map_or(Report::Other, Report::Action)),
        "axm:monitor" => {
            let metrics = data.and_then(Value::as_object).into_iter().flatten();
            let metrics = metrics.filter_map(|(name, data)| Some((short(name)?, metric(data)?)));
            Some(Report::Metrics(metrics.take(MOST).collect()))
        }
        // An answer is for whoever asked, and worth an event.
        "axm:reply" => None,
        kind => kind.starts_with("axm:").then_some(Report::Other),
    }
}

fn action(data: &Value) -> Option<CustomAction> {
    Some(CustomAction {
        name: short(data.get("action_name")?.as_str()?)?,
        kind: word(data, "action_type"),
        arity: data.get("arity").and_then(Value::as_u64).and_then(|arity| u32::try_from(arity).ok()),
    })
}

fn metric(data: &Value) -> Option<CustomMetric> {
    let value = match data.get("value")? {
        Value::Number(number) => Value::Number(number.clone()),
        Value::String(text) => Value::String(short(text)?),
        Value::Bool(is) => Value::Bool(*is),
        Value::Null | Value::Array(_) | Value::Object(_) => return None,
    };
    Some(CustomMetric { value, unit: word(data, "unit"), kind: word(data, "type") })
}

fn word(data: &Value, key: &str) -> Option<String> {
    data.get(key).and_then(Value::as_str).filter(|word| !word.is_empty()).and_then(short)
}

/// The text, if it is short enough to be kept.
fn short(text: &str) -> Option<String> {
    (text.len() <= LONGEST).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{LONGEST, MOST, Report, understood};

    #[test]
    fn actions_and_metrics_are_understood_and_bounded() {
        let action =
            json!({"type": "axm:action", "data": {"action_name": "db:clean", "action_type": "custom", "arity": 2}});
        let Some(Report::Action(action)) = understood(&action) else { panic!() };
        assert_eq!((action.name.as_str(), action.kind.as_deref(), action.arity), ("db:clean", Some("custom"), Some(2)));
        let mut data = serde_json::Map::new();
        data.insert("Users".into(), json!({"value": 3, "unit": "u", "historic": true}));
        data.insert("x".repeat(LONGEST + 1), json!({"value": 1}));
        data.insert("huge".into(), json!({"value": "y".repeat(LONGEST + 1)}));
        data.insert("nothing".into(), json!({"value": {"a": 1}}));
        let Some(Report::Metrics(metrics)) = understood(&json!({"type": "axm:monitor", "data": data})) else {
            panic!()
        };
        assert_eq!(metrics.keys().collect::<Vec<_>>(), ["Users"]);
        assert_eq!((&metrics["Users"].value, metrics["Users"].unit.as_deref()), (&json!(3), Some("u")));
        let many: serde_json::Map<_, _> = (0..1000).map(|n| (format!("m{n}"), json!({"value": n}))).collect();
        let Some(Report::Metrics(metrics)) = understood(&json!({"type": "axm:monitor", "data": many})) else {
            panic!()
        };
        assert_eq!(metrics.len(), MOST);
    }

    #[test]
    fn what_is_no_report_is_a_message() {
        for message in
            [json!("ready"), json!({"type": 7}), json!({"type": "axm:reply"}), json!({"type": "process:msg"})]
        {
            assert_eq!(understood(&message), None, "{message}");
        }
        for strange in
            [json!({"type": "axm:action"}), json!({"type": "axm:action", "data": 1}), json!({"type": "axm:x"})]
        {
            assert_eq!(understood(&strange), Some(Report::Other), "{strange}");
        }
    }
}
