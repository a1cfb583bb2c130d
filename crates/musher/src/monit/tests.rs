//! What keys do, and what is drawn, without a daemon and without a terminal.

use musher_api::{Action, Cursor, Event, EventKind, LogLine, LogStream, Mode, SlotRow, SlotStatus};
use musher_core::vitals::Pulse;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers, MouseButton, MouseEvent, MouseEventKind};

use super::dialog::{Dialog, Order};
use super::draw::{Theme, draw};
use super::keys::{Areas, Wish, key, mouse, paste};
use super::model::{EVENTS, Link, Model, News, Pane, Place, REMEMBERED, Side};

fn row(id: u32, app: &str, slot: u32, status: SlotStatus) -> SlotRow {
    SlotRow {
        starts_in_ms: None,
        app: app.into(),
        id,
        slot,
        pid: (status == SlotStatus::Online).then_some(4000 + slot),
        status,
        restarts: slot,
        uptime_ms: 65_000,
        memory_bytes: 50 << 20,
        cpu_percent: 12.5,
        mode: Mode::Cluster,
        generation: 1,
        draining: Vec::new(),
        successor_pid: None,
        retry_in_ms: None,
        pulse: Some(Pulse { requests: 100, delay_us: 2500, ..Pulse::default() }),
    }
}

fn team() -> Vec<SlotRow> {
    vec![
        row(1, "web", 0, SlotStatus::Online),
        row(1, "web", 1, SlotStatus::Backoff),
        row(2, "jobs", 0, SlotStatus::Online),
        row(3, "mail", 0, SlotStatus::GaveUp),
    ]
}

fn model() -> Model {
    let mut model = Model::new();
    model.hear(News::Link(Link::Up));
    model.hear(News::Rows { rows: team(), all: true, at_ms: 0 });
    model
}

fn press(model: &mut Model, keys: &str) -> Vec<Wish> {
    let code = |letter| match letter {
        '\n' => KeyCode::Enter,
        '\t' => KeyCode::Tab,
        '\x1b' => KeyCode::Esc,
        '↓' => KeyCode::Down,
        letter => KeyCode::Char(letter),
    };
    keys.chars().filter_map(|letter| key(model, KeyEvent::new(code(letter), KeyModifiers::NONE))).collect()
}

fn screen(model: &mut Model, width: u16, height: u16) -> (String, Areas) {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    let mut areas = Areas::default();
    terminal.draw(|frame| areas = draw(frame, model, Theme { has_colours: true })).unwrap();
    (terminal.backend().to_string(), areas)
}

fn log(n: u64, app: &str, stream: LogStream, line: &str) -> LogLine {
    LogLine { cursor: Cursor(n), time_ms: n, app: app.into(), slot: 0, run: 1, pid: 1, stream, line: line.into() }
}

fn event(seq: u64, kind: EventKind, detail: &str) -> News {
    News::Event(Box::new(Event {
        seq,
        time_ms: 0,
        time: "2026-01-01T10:20:30.000Z".into(),
        kind,
        app: Some("web".into()),
        app_id: Some(1),
        slot: Some(0),
        run: None,
        pid: None,
        detail: detail.into(),
        death: None,
        operation: None,
        ok: None,
    }))
}

#[test]
fn the_first_app_is_chosen_and_the_choice_stays_with_what_was_chosen() {
    let mut model = model();
    assert_eq!(model.chosen, Some(Place { app: 1, slot: None }));
    press(&mut model, "jj");
    assert_eq!(model.chosen, Some(Place { app: 1, slot: Some(1) }));
    let others: Vec<SlotRow> = [vec![row(0, "first", 0, SlotStatus::Online)], team()].concat();
    model.hear(News::Rows { rows: others, all: true, at_ms: 1000 });
    assert_eq!(model.chosen, Some(Place { app: 1, slot: Some(1) }), "also when something else comes before it");
    model.hear(News::Rows { rows: vec![row(1, "web", 0, SlotStatus::Online)], all: true, at_ms: 2000 });
    assert_eq!(model.chosen, Some(Place { app: 1, slot: None }), "its slot is gone");
    model.hear(News::Rows { rows: Vec::new(), all: true, at_ms: 3000 });
    assert_eq!((model.chosen, model.history.len()), (None, 0));
}

#[test]
fn the_list_is_a_tree_with_the_workers_of_large_teams() {
    let mut model = model();
    assert_eq!(model.places().len(), 5, "apps of one worker have no lines below");
    press(&mut model, "h");
    assert_eq!(model.places().len(), 3);
    press(&mut model, "j\n");
    assert_eq!(model.chosen, Some(Place { app: 2, slot: None }));
    press(&mut model, "gl");
    assert_eq!(model.places().len(), 5);
    press(&mut model, "G");
    assert_eq!(model.chosen, Some(Place { app: 3, slot: None }));
    press(&mut model, "jjjj");
    assert_eq!(model.chosen, Some(Place { app: 3, slot: None }));
}

#[test]
fn rows_of_some_apps_leave_the_others_as_they_are() {
    let mut model = model();
    model.hear(News::Rows { rows: vec![row(2, "jobs", 0, SlotStatus::Stopped)], all: false, at_ms: 1000 });
    assert_eq!(model.apps.len(), 3);
    assert_eq!(model.app(2).unwrap().rows[0].status, SlotStatus::Stopped);
    assert_eq!(model.totals().online, 1);
}

#[test]
fn requests_a_second_are_what_came_between_two_pulses_of_a_process() {
    let mut model = model();
    let mut rows = team();
    rows[0].pulse = Some(Pulse { requests: 150, ..Pulse::default() });
    model.hear(News::Rows { rows, all: true, at_ms: 2000 });
    let of = |model: &Model| model.told[&Place { app: 1, slot: Some(0) }].rate;
    assert_eq!(of(&model), Some(25.0));
    let mut rows = team();
    (rows[0].pid, rows[0].pulse) = (Some(9), Some(Pulse { requests: 900, ..Pulse::default() }));
    model.hear(News::Rows { rows, all: true, at_ms: 3000 });
    assert_eq!(of(&model), None, "another process counts from its own beginning");
}

#[test]
fn what_is_remembered_is_bounded() {
    let mut model = model();
    for n in 0..1000 {
        model.hear(News::Rows { rows: team(), all: true, at_ms: n * 1000 });
        model.hear(event(n, EventKind::Message, "x"));
    }
    assert!(
        model.history.values().all(|history| history.cpu.len() <= REMEMBERED && history.memory.len() <= REMEMBERED)
    );
    assert_eq!(model.events.len(), EVENTS);
}

#[test]
fn nothing_is_done_before_it_was_confirmed() {
    let mut model = model();
    assert_eq!(press(&mut model, "r"), []);
    assert!(matches!(model.dialog, Some(Dialog::Confirm(_))));
    assert_eq!(press(&mut model, "n"), []);
    assert_eq!(model.dialog, None);
    let restart = Order { app: "web".into(), action: Action::Restart };
    assert_eq!(press(&mut model, "ry"), [Wish::Order(restart)]);
    for (keys, action) in [
        ("Ry", Action::Reload),
        ("sy", Action::Stop),
        ("Sy", Action::Start),
        ("Dy", Action::Delete),
        ("c+2\ny", Action::Scale { to: 4 }),
        ("x↓↓\ny", Action::Signal { signal: 12, slot: None }),
        ("jx\ny", Action::Signal { signal: 1, slot: Some(0) }),
    ] {
        assert_eq!(press(&mut model, keys), [Wish::Order(Order { app: "web".into(), action })], "{keys:?}");
    }
    assert_eq!(press(&mut model, "c0\n"), []);
    assert!(model.notice.as_ref().is_some_and(|notice| notice.is_error), "0 workers are refused");
    assert_eq!(press(&mut model, "\x1bq"), [Wish::Quit]);
}

#[test]
fn keys_of_the_terminal_leave_from_anywhere() {
    let mut model = model();
    press(&mut model, "f");
    let interrupt = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
    assert_eq!(key(&mut model, interrupt), Some(Wish::Quit));
}

#[test]
fn what_is_pasted_is_text_and_never_a_command() {
    let mut model = model();
    paste(&mut model, "Dy");
    assert_eq!(model.dialog, None);
    press(&mut model, "f");
    paste(&mut model, "Dy\n\x1b");
    assert!(matches!(&model.dialog, Some(Dialog::Prompt { text, .. }) if text == "Dy"));
}

#[test]
fn logs_are_filtered_and_searched_by_keys() {
    let mut model = model();
    model.hear(News::LogsOf("web".into()));
    let lines = [(LogStream::Out, "GET /"), (LogStream::Err, "Error: x"), (LogStream::Out, "GET /b")];
    let lines = lines.into_iter().zip(1..).map(|((stream, text), n)| log(n, "web", stream, text)).collect();
    model.hear(News::Lines(lines));
    press(&mut model, "oo");
    assert_eq!(model.logs.count(), 1);
    press(&mut model, "ofget\n");
    assert_eq!((model.logs.count(), model.logs.filtered_by()), (2, Some("get")));
    press(&mut model, "2/GET\nn");
    assert_eq!(model.logs.behind, 1);
    press(&mut model, "f(\n");
    assert!(model.notice.as_ref().is_some_and(|notice| notice.is_error), "a wrong expression is told");
    press(&mut model, "\x1b\x1b");
    assert_eq!((model.logs.count(), model.logs.behind), (3, 0));
}

#[test]
fn an_app_is_found_by_a_part_of_its_name() {
    let mut model = model();
    press(&mut model, "/AIL\n");
    assert_eq!(model.chosen, Some(Place { app: 3, slot: None }));
    press(&mut model, "/zzz\n");
    assert!(model.notice.as_ref().is_some_and(|notice| notice.text.contains("zzz")));
}

#[test]
fn the_mouse_chooses_and_scrolls() {
    let mut model = model();
    let (_, areas) = screen(&mut model, 80, 24);
    let at = |kind, x: u16, y: u16| MouseEvent { kind, column: x, row: y, modifiers: KeyModifiers::NONE };
    let click = at(MouseEventKind::Down(MouseButton::Left), areas.list.x + 3, areas.list.y + 3);
    mouse(&mut model, click, &areas);
    assert_eq!(model.chosen, Some(Place { app: 2, slot: None }));
    mouse(&mut model, at(MouseEventKind::ScrollUp, areas.list.x, areas.list.y), &areas);
    assert_eq!(model.chosen, Some(Place { app: 1, slot: Some(1) }));
    model.hear(News::LogsOf("web".into()));
    model.hear(News::Lines((1..50).map(|n| log(n, "web", LogStream::Out, "x")).collect()));
    model.choose(Place { app: 1, slot: None });
    mouse(&mut model, at(MouseEventKind::ScrollUp, areas.logs.x, areas.logs.y), &areas);
    assert_eq!(model.logs.behind, 3);
    mouse(&mut model, at(MouseEventKind::Down(MouseButton::Left), areas.side.x, areas.side.y), &areas);
    assert_eq!(model.pane, Pane::Side);
    mouse(&mut model, at(MouseEventKind::Down(MouseButton::Left), 999, 999), &areas);
}

#[test]
fn eighty_columns_show_apps_logs_and_events() {
    let mut model = model();
    model.hear(News::Rows { rows: team(), all: true, at_ms: 1000 });
    model.hear(News::LogsOf("web".into()));
    model.hear(News::Lines(vec![log(1, "web", LogStream::Out, "hello from web")]));
    model.hear(event(1, EventKind::Online, "ready after 5 ms"));
    press(&mut model, "e");
    let (text, _) = screen(&mut model, 80, 24);
    for word in [
        "3 apps, 2 of 4 workers online",
        "apps (3)",
        "▾ web",
        "1/2 on",
        "backoff",
        "gave up",
        "50.0 MB",
        "logs web",
        "hello from web",
        "events",
        "10:20:30 web/0 online",
        "? help",
    ] {
        assert!(text.contains(word), "no {word:?} in\n{text}");
    }
    let (wide, _) = screen(&mut model, 160, 30);
    for word in ["delay", "req/s", "0.0", "2.5 ms", "4000", "▂"] {
        assert!(wide.contains(word), "no {word:?} in\n{wide}");
    }
}

#[test]
fn a_name_or_a_line_cannot_command_the_terminal() {
    let mut model = model();
    let mut rows = team();
    rows[0].app = "we\x1b[2Jb".into();
    rows[1].app = rows[0].app.clone();
    model.hear(News::Rows { rows, all: true, at_ms: 1000 });
    model.hear(News::LogsOf("we\x1b[2Jb".into()));
    model.hear(News::Lines(vec![log(1, "x", LogStream::Err, "\x1b]0;title\x07 bad\r\u{202e}")]));
    model.hear(event(1, EventKind::Message, "\x1b[31m"));
    model.hear(News::Link(Link::Down("\x1b[9m".into())));
    press(&mut model, "er");
    for (width, height) in [(80, 24), (160, 50), (30, 10)] {
        let (text, _) = screen(&mut model, width, height);
        assert!(text.chars().all(|letter| letter == '\n' || !letter.is_control()), "{text:?}");
    }
}

#[test]
fn every_size_of_terminal_is_drawn() {
    for keys in ["", "?", "e", "z", "2z", "3ez", "r", "c", "x", "f", "/"] {
        let mut model = model();
        model.hear(News::LogsOf("web".into()));
        model.hear(News::Lines((1..100).map(|n| log(n, "web", LogStream::Out, "line of 漢字")).collect()));
        (0..50).for_each(|n| model.hear(event(n, EventKind::Died, "ended")));
        press(&mut model, keys);
        for (width, height) in
            [(1, 1), (2, 3), (10, 4), (30, 8), (59, 13), (60, 14), (80, 24), (250, 80), (80, 1), (1, 80)]
        {
            screen(&mut model, width, height);
            // Keys do no harm at any size either.
            press(&mut model, "jG\tk");
            screen(&mut model, width, height);
        }
    }
    screen(&mut Model::new(), 80, 24);
}

#[test]
fn a_failure_is_shown_until_it_was_read_and_a_lost_daemon_is_told() {
    let mut model = model();
    model.hear(News::Done { text: "restart web:\nit has \x1b[31mdied".into(), ok: false });
    let (text, _) = screen(&mut model, 80, 24);
    assert!(text.contains("it has \\x1b[31mdied"), "{text}");
    press(&mut model, "\n");
    model.hear(News::Link(Link::Down("no daemon is running".into())));
    let (text, _) = screen(&mut model, 80, 24);
    assert!(text.contains("not connected: no daemon is running; trying again"), "{text}");
    model.hear(News::Link(Link::Up));
    assert!(model.is_stale, "everything is asked for again");
    assert!(!screen(&mut model, 80, 24).0.contains("not connected"));
}

#[test]
fn without_colours_nothing_is_coloured() {
    let mut model = model();
    model.hear(News::LogsOf("web".into()));
    model.hear(News::Lines(vec![log(1, "web", LogStream::Err, "bad")]));
    let mut terminal = Terminal::new(TestBackend::new(80, 24)).unwrap();
    let theme = Theme { has_colours: false };
    terminal.draw(|frame| _ = draw(frame, &mut model, theme)).unwrap();
    let cells = terminal.backend().buffer().content();
    assert!(cells.iter().all(|cell| cell.fg == ratatui::style::Color::Reset));
    assert!(terminal.backend().to_string().contains("! bad"), "what is red else is marked");
    assert_eq!(model.side, Side::Details);
}
