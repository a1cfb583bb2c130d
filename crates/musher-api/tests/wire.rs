//! The words on the wire: they stay what they are, and what is written can be read.

use musher_api::{
    Action, ActionRequest, Cursor, ErrorCode, Event, EventKind, LogLine, LogQuery, LogStream, SlotRow, SlotStatus,
};
use proptest::prelude::*;
use serde_json::{Value, json};

#[test]
fn a_row_of_the_list_has_the_promised_keys() {
    let row: SlotRow = serde_json::from_value(json!({
        "app": "web", "id": 0, "slot": 1, "pid": null, "status": "gave_up", "restarts": 10, "uptime_ms": 0,
        "memory_bytes": 0, "cpu_percent": 0.0, "mode": "cluster", "generation": 1, "of_the_future": true
    }))
    .unwrap();
    assert_eq!(row.status, SlotStatus::GaveUp);
    let written = serde_json::to_value(&row).unwrap();
    for key in ["app", "id", "slot", "pid", "status", "restarts", "uptime_ms", "memory_bytes", "cpu_percent"] {
        assert!(written.get(key).is_some(), "no {key}");
    }
    assert_eq!(written["pid"], Value::Null);
}

#[test]
fn actions_are_words_or_words_with_a_value() {
    for (action, text) in [
        (Action::Stop, json!("stop")),
        (Action::Reload, json!("reload")),
        (Action::Scale { to: 4 }, json!({ "scale": { "to": 4 } })),
        (Action::ReopenLogs, json!("reopen_logs")),
        (Action::Signal { signal: 12, slot: None }, json!({ "signal": { "signal": 12 } })),
        (Action::Signal { signal: 2, slot: Some(1) }, json!({ "signal": { "signal": 2, "slot": 1 } })),
    ] {
        assert_eq!(serde_json::to_value(action).unwrap(), text);
        let request = json!({ "request_id": "r", "action": text, "targets": ["all"] });
        assert_eq!(serde_json::from_value::<ActionRequest>(request).unwrap().action, action);
    }
}

#[test]
fn words_of_a_later_version_are_read_as_unknown() {
    assert_eq!(serde_json::from_value::<SlotStatus>(json!("levitating")).unwrap(), SlotStatus::Unknown);
    assert_eq!(serde_json::from_value::<EventKind>(json!("levitated")).unwrap(), EventKind::Other);
    assert_eq!(serde_json::from_value::<ErrorCode>(json!("gravity")).unwrap(), ErrorCode::Other);
}

#[test]
fn every_status_is_written_as_its_word() {
    for status in [
        SlotStatus::Starting,
        SlotStatus::Online,
        SlotStatus::Draining,
        SlotStatus::Stopped,
        SlotStatus::Exited,
        SlotStatus::Backoff,
        SlotStatus::GaveUp,
        SlotStatus::Scheduled,
        SlotStatus::Waiting,
    ] {
        assert_eq!(serde_json::to_value(status).unwrap(), status.word());
    }
}

proptest! {
    #[test]
    fn a_log_line_survives_the_wire(line in any::<String>(), cursor in any::<u64>(), err in any::<bool>()) {
        let line = LogLine {
            cursor: Cursor(cursor),
            time_ms: cursor / 1_000_000,
            app: "web".into(),
            slot: 0,
            run: 1,
            pid: 2,
            stream: if err { LogStream::Err } else { LogStream::Out },
            line,
        };
        let text = serde_json::to_string(&line).unwrap();
        prop_assert!(!text.contains('\n'));
        prop_assert_eq!(serde_json::from_str::<LogLine>(&text).unwrap(), line);
    }

    #[test]
    fn an_event_survives_the_wire_and_is_one_line(detail in any::<String>(), seq in any::<u64>()) {
        let event = Event {
            seq,
            time_ms: 0,
            time: musher_api::rfc3339(0),
            kind: EventKind::Exited,
            app: Some(detail.clone()),
            app_id: Some(1),
            slot: None,
            run: None,
            pid: None,
            detail,
            death: None,
            operation: None,
            ok: None,
        };
        let text = serde_json::to_string(&event).unwrap();
        prop_assert!(!text.contains(['\n', '\r']));
        prop_assert_eq!(serde_json::from_str::<Event>(&text).unwrap(), event);
    }

    #[test]
    fn reading_anything_never_panics(text in any::<String>()) {
        let _ = serde_json::from_str::<ActionRequest>(&text);
        let _ = serde_json::from_str::<LogQuery>(&text);
        let _ = text.parse::<Cursor>();
    }
}
