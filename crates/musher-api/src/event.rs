//! What happens, told as it happens.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{ApiError, Death, MAX_WORD, OperationKind};

/// One thing that happened. Sent as server-sent events; `seq` is the event's id there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Event {
    /// Grows from event to event, also over a restart of the supervisor. It is not dense: gaps mean nothing.
    pub seq: u64,
    /// When, in milliseconds since 1970.
    pub time_ms: u64,
    /// The same as RFC 3339 in UTC.
    pub time: String,
    /// What kind of thing.
    pub kind: EventKind,
    /// Name of the app that it concerns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app: Option<String>,
    /// Id of that app.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app_id: Option<u32>,
    /// Slot of that app.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slot: Option<u32>,
    /// Run of that slot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<u64>,
    /// Process id of that run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// In words.
    #[serde(default)]
    pub detail: String,
    /// How a worker ended, when the event is about that. Complete with its last words in `died`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub death: Option<Box<Death>>,
    /// What kind of operation ended, when the event is about that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<OperationKind>,
    /// Whether that operation ended well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ok: Option<bool>,
}

/// What `GET /v1/events` can be asked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EventsQuery {
    /// Begin behind this event, with those that came since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<u64>,
    /// Begin with the events since this time, in milliseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from_ms: Option<u64>,
    /// End with the events before this time, in milliseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until_ms: Option<u64>,
    /// Begin with so many events from the past, at most 10000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lines: Option<u32>,
    /// Only those of these apps: names or ids with commas between them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// Only these kinds, with commas between them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Whether to go on with what happens; without it: yes, unless `until_ms` is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub follow: Option<bool>,
}

/// Which events are wanted, of those that there are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventFilter {
    /// Names and ids of apps; none: of all, and of musher itself.
    pub targets: Option<BTreeSet<String>>,
    /// Kinds; none: all.
    pub kinds: Option<BTreeSet<EventKind>>,
    /// Not those before, in milliseconds since 1970.
    pub from_ms: u64,
    /// Not those since then.
    pub until_ms: Option<u64>,
}

/// The most events from the past that can be asked for by their number.
pub const MAX_EVENTS: u32 = 10_000;

/// The kinds of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum EventKind {
    /// An app was added.
    Added,
    /// An app's spec was changed.
    Changed,
    /// An app is gone.
    Deleted,
    /// An app was scaled.
    Scaled,
    /// Files of an app have changed, or cannot be watched.
    Files,
    /// A moment of an app's schedule has come, or was missed, or left out because the job still ran.
    Schedule,
    /// An app waits for others that it needs.
    Waiting,
    /// A worker was spawned.
    Spawned,
    /// A worker could not be executed.
    SpawnFailed,
    /// A worker listens on an address.
    Listening,
    /// A worker is ready and serves.
    Online,
    /// A worker takes nothing new.
    Draining,
    /// A worker was sent a signal: the stop signal, or one that was asked for.
    Signalled,
    /// A worker did not end in its grace and was killed.
    Killed,
    /// A worker ended.
    Exited,
    /// The story of a worker that ended without having been asked to is complete: `death` tells all that is known.
    Died,
    /// A worker serves and is to be replaced without a gap: it does not answer, or uses too much.
    Unfit,
    /// A worker that is to be replaced goes on, because its successor failed.
    Kept,
    /// A worker reported an exception that nothing caught, and finishes what it has.
    Failing,
    /// A slot waits before it starts its worker again.
    Backoff,
    /// A slot restarted too often.
    Giveup,
    /// A hook has ended, or was left out.
    Hook,
    /// A slot is stopped.
    Stopped,
    /// A worker did not prove ready in time.
    NotReady,
    /// A worker's program threw an exception that nobody caught.
    Uncaught,
    /// A draining worker closed connections because the limit of its drain was reached; or connections that waited at a
    /// slot that was scaled away were reset.
    Cut,
    /// An address could not be bound.
    BindFailed,
    /// A worker broke the rules of its channel and was killed.
    Violation,
    /// A worker was found again after the supervisor had died.
    Adopted,
    /// A worker sent a message.
    Message,
    /// A new version is on trial: its workers are watched, do well, or do not.
    Canary,
    /// An operation began.
    OperationStarted,
    /// An operation ended.
    OperationDone,
    /// A new supervisor took over.
    SupervisorStarted,
    /// A new keeper took over.
    KeeperStarted,
    /// Supervisor and keeper became another executable, or went back.
    Upgrade,
    /// Logs cannot be written, or can be again.
    Logs,
    /// musher is about to end.
    Shutdown,
    /// This reader was too slow, or came back too late: events are missing here.
    Lagged,
    /// A kind that this version does not know.
    #[serde(other)]
    Other,
}

impl EventKind {
    /// The word for it in JSON and on the command line.
    pub fn word(self) -> String {
        let word = serde_json::to_value(self).ok();
        word.as_ref().and_then(|word| word.as_str()).unwrap_or("other").to_owned()
    }

    /// The kind that a word means.
    pub fn of(word: &str) -> Option<EventKind> {
        let kind: EventKind = serde_json::from_value(word.into()).ok()?;
        (kind != EventKind::Other || word == "other").then_some(kind)
    }
}

impl EventsQuery {
    /// Whether events from before the call are asked for.
    pub fn asks_for_past(&self) -> bool {
        self.from_ms.is_some() || self.until_ms.is_some() || self.lines.is_some()
    }

    /// Whether it goes on with what happens.
    pub fn follows(&self) -> bool {
        self.follow.unwrap_or(self.until_ms.is_none())
    }

    /// Checks the bounds of everything, and says what is wanted.
    ///
    /// # Errors
    ///
    /// `bad_request`, with what is wrong.
    pub fn filter(&self) -> Result<EventFilter, ApiError> {
        if self.lines.is_some_and(|lines| lines > MAX_EVENTS) {
            return Err(ApiError::bad_request(format!("at most {MAX_EVENTS} events can be asked for by their number")));
        }
        if [&self.target, &self.kind].into_iter().flatten().any(|words| words.len() > 64 * MAX_WORD) {
            return Err(ApiError::bad_request(format!("a list of words is longer than {} bytes", 64 * MAX_WORD)));
        }
        let words = |text: &String| text.split(',').filter(|word| !word.is_empty()).map(str::to_owned).collect();
        let targets: Option<BTreeSet<String>> = self.target.as_ref().map(words);
        let kinds = self.kind.as_ref().map(|kinds| {
            let kinds = kinds.split(',').filter(|word| !word.is_empty());
            kinds
                .map(|word| {
                    EventKind::of(word).ok_or_else(|| ApiError::bad_request(format!("{word:?} is not a kind of event")))
                })
                .collect::<Result<BTreeSet<EventKind>, ApiError>>()
        });
        Ok(EventFilter {
            targets: targets.filter(|targets| !targets.contains("all")),
            kinds: kinds.transpose()?,
            from_ms: self.from_ms.unwrap_or(0),
            until_ms: self.until_ms,
        })
    }
}

impl EventFilter {
    /// Whether an event is wanted. That events are missing is told to everybody.
    pub fn wants(&self, event: &Event) -> bool {
        if event.kind == EventKind::Lagged {
            return true;
        }
        let of_app = self.targets.as_ref().is_none_or(|targets| {
            event.app.as_ref().is_some_and(|app| targets.contains(app))
                || event.app_id.is_some_and(|id| targets.contains(&id.to_string()))
        });
        of_app
            && self.kinds.as_ref().is_none_or(|kinds| kinds.contains(&event.kind))
            && event.time_ms >= self.from_ms
            && self.until_ms.is_none_or(|until| event.time_ms < until)
    }
}

#[cfg(test)]
mod tests {
    use super::{Event, EventFilter, EventKind, EventsQuery, MAX_EVENTS};

    fn event(app: Option<(&str, u32)>, kind: EventKind, time_ms: u64) -> Event {
        serde_json::from_value(serde_json::json!({
            "seq": 1, "time_ms": time_ms, "time": "", "kind": kind, "app": app.map(|app| app.0),
            "app_id": app.map(|app| app.1),
        }))
        .unwrap()
    }

    fn filter(query: &EventsQuery) -> EventFilter {
        query.filter().unwrap()
    }

    #[test]
    fn events_are_chosen_by_app_kind_and_time() {
        let online = event(Some(("web", 3)), EventKind::Online, 1000);
        let of_musher = event(None, EventKind::Upgrade, 1000);
        let all = filter(&EventsQuery::default());
        assert!(all.wants(&online) && all.wants(&of_musher));
        for (target, wanted) in [("web", true), ("3", true), ("x,3", true), ("all", true), ("x", false), ("4", false)] {
            let by = filter(&EventsQuery { target: Some(target.into()), ..EventsQuery::default() });
            assert_eq!(by.wants(&online), wanted, "{target}");
            assert_eq!(by.wants(&of_musher), target == "all", "{target}");
        }
        for (kind, wanted) in [("online", true), ("died,online", true), ("died", false)] {
            let by = filter(&EventsQuery { kind: Some(kind.into()), ..EventsQuery::default() });
            assert_eq!(by.wants(&online), wanted, "{kind}");
        }
        for (from, until, wanted) in [(1000, 1001, true), (1001, 2000, false), (0, 1000, false)] {
            let by = filter(&EventsQuery { from_ms: Some(from), until_ms: Some(until), ..EventsQuery::default() });
            assert_eq!(by.wants(&online), wanted, "{from} {until}");
        }
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        let kind = EventsQuery { kind: Some("onlin".into()), ..EventsQuery::default() };
        assert!(kind.filter().unwrap_err().message.contains("onlin"));
        let lines = EventsQuery { lines: Some(MAX_EVENTS + 1), ..EventsQuery::default() };
        assert!(lines.filter().is_err());
        assert_eq!((EventKind::of("gave"), EventKind::of("other")), (None, Some(EventKind::Other)));
        assert_eq!(EventKind::of(&EventKind::SupervisorStarted.word()), Some(EventKind::SupervisorStarted));
    }

    #[test]
    fn who_asks_for_an_end_does_not_follow() {
        assert!(EventsQuery::default().follows());
        assert!(!EventsQuery { until_ms: Some(5), ..EventsQuery::default() }.follows());
        assert!(EventsQuery { until_ms: Some(5), follow: Some(true), ..EventsQuery::default() }.follows());
    }
}
