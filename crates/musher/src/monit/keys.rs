//! What keys and the mouse mean. Pure.

use musher_api::Action;
use ratatui::crossterm::event::{
    KeyCode, KeyEvent, KeyEventKind, KeyModifiers, MouseButton, MouseEvent, MouseEventKind,
};
use ratatui::layout::{Position, Rect};

use super::dialog::{Dialog, Order, Prompt, SIGNALS, typed, workers};
use super::model::{Model, Pane, Side};

/// How far the wheel goes.
const WHEEL: usize = 3;
/// How far a page goes where nobody knows its height.
const PAGE: usize = 10;
/// How far a key shifts lines to the side.
const SHIFT: usize = 10;

/// What has to be done for it by somebody else.
#[derive(Debug, PartialEq)]
pub(super) enum Wish {
    Quit,
    Order(Order),
    /// The screen is drawn anew, whatever is on it.
    Redraw,
}

/// Where panes are, as they were drawn last.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Areas {
    /// The lines of the list, without its head.
    pub(super) list: Rect,
    pub(super) logs: Rect,
    pub(super) side: Rect,
}

/// Takes in a key.
pub(super) fn key(model: &mut Model, key: KeyEvent) -> Option<Wish> {
    if key.kind == KeyEventKind::Release {
        return None;
    }
    if key.modifiers.contains(KeyModifiers::CONTROL) {
        return match key.code {
            KeyCode::Char('c') => Some(Wish::Quit),
            KeyCode::Char('l') => Some(Wish::Redraw),
            _ => None,
        };
    }
    match model.dialog.take() {
        Some(dialog) => in_dialog(model, dialog, key.code),
        None => {
            model.notice = None;
            in_panes(model, key.code)
        }
    }
}

/// Takes in what was pasted: only where a text is asked for.
pub(super) fn paste(model: &mut Model, text: &str) {
    if let Some(Dialog::Prompt { text: typed_text, .. } | Dialog::Scale { text: typed_text, .. }) = &mut model.dialog {
        text.chars().for_each(|letter| typed(typed_text, letter));
    }
}

fn in_dialog(model: &mut Model, dialog: Dialog, code: KeyCode) -> Option<Wish> {
    // Whatever does not stay open has been closed.
    match (dialog, code) {
        (Dialog::Help { .. } | Dialog::Message { .. }, KeyCode::Char('q') | KeyCode::Esc | KeyCode::Enter) => {}
        (Dialog::Help { .. }, KeyCode::Char('?')) => {}
        (Dialog::Help { scroll }, code) => model.dialog = Some(Dialog::Help { scroll: scrolled(scroll, code) }),
        (Dialog::Message { text, scroll }, code) => {
            model.dialog = Some(Dialog::Message { text, scroll: scrolled(scroll, code) });
        }
        (Dialog::Confirm(order), KeyCode::Enter | KeyCode::Char('y' | 'Y')) => return Some(Wish::Order(order)),
        (Dialog::Confirm(_), KeyCode::Esc | KeyCode::Char('n' | 'N' | 'q')) => model.say("nothing was done"),
        (Dialog::Scale { app, now, text }, KeyCode::Enter) => match workers(&text, now) {
            Ok(to) => model.dialog = Some(Dialog::Confirm(Order { app, action: Action::Scale { to } })),
            Err(why) => {
                model.complain(why);
                model.dialog = Some(Dialog::Scale { app, now, text: String::new() });
            }
        },
        (Dialog::Signal { app, slot, at }, KeyCode::Enter) => {
            let signal = SIGNALS.get(at).and_then(|name| musher_process::exit::parse_signal(name));
            let order = |signal| Order { app, action: Action::Signal { signal, slot } };
            model.dialog = signal.map(order).map(Dialog::Confirm);
        }
        (Dialog::Signal { app, slot, at }, KeyCode::Up | KeyCode::Char('k')) => {
            model.dialog = Some(Dialog::Signal { app, slot, at: at.saturating_sub(1) });
        }
        (Dialog::Signal { app, slot, at }, KeyCode::Down | KeyCode::Char('j')) => {
            model.dialog = Some(Dialog::Signal { app, slot, at: (at + 1).min(SIGNALS.len() - 1) });
        }
        (Dialog::Prompt { kind, text }, KeyCode::Enter) => answered(model, kind, &text),
        (Dialog::Scale { .. } | Dialog::Signal { .. } | Dialog::Prompt { .. }, KeyCode::Esc) => {}
        (dialog @ Dialog::Signal { .. }, KeyCode::Char('q')) => drop(dialog),
        (Dialog::Scale { app, now, mut text }, code) => {
            edit(&mut text, code);
            model.dialog = Some(Dialog::Scale { app, now, text });
        }
        (Dialog::Prompt { kind, mut text }, code) => {
            edit(&mut text, code);
            model.dialog = Some(Dialog::Prompt { kind, text });
        }
        (dialog @ (Dialog::Confirm(_) | Dialog::Signal { .. }), _) => model.dialog = Some(dialog),
    }
    None
}

fn edit(text: &mut String, code: KeyCode) {
    match code {
        KeyCode::Char(letter) => typed(text, letter),
        KeyCode::Backspace => drop(text.pop()),
        _ => {}
    }
}

fn scrolled(scroll: usize, code: KeyCode) -> usize {
    match code {
        KeyCode::Up | KeyCode::Char('k') => scroll.saturating_sub(1),
        KeyCode::Down | KeyCode::Char('j') => scroll.saturating_add(1),
        KeyCode::PageUp => scroll.saturating_sub(PAGE),
        KeyCode::PageDown | KeyCode::Char(' ') => scroll.saturating_add(PAGE),
        KeyCode::Home | KeyCode::Char('g') => 0,
        _ => scroll,
    }
}

/// The text that was asked for is there.
fn answered(model: &mut Model, kind: Prompt, text: &str) {
    match kind {
        Prompt::Search => match model.logs.search(text) {
            Ok(true) => {}
            Ok(false) => model.complain(format!("nothing matches {text:?}")),
            Err(why) => model.complain(why),
        },
        Prompt::Filter => {
            if let Err(why) = model.logs.filter(text) {
                model.complain(why);
            }
        }
        Prompt::FindApp => {
            if !model.find_app(text) {
                model.complain(format!("no app's name has {text:?} in it"));
            }
        }
    }
}

fn in_panes(model: &mut Model, code: KeyCode) -> Option<Wish> {
    match code {
        KeyCode::Char('q') => return Some(Wish::Quit),
        KeyCode::Char('?') | KeyCode::F(1) => model.dialog = Some(Dialog::Help { scroll: 0 }),
        KeyCode::Tab => next_pane(model, true),
        KeyCode::BackTab => next_pane(model, false),
        KeyCode::Char('1') => model.pane = Pane::List,
        KeyCode::Char('2') => model.pane = Pane::Logs,
        KeyCode::Char('3') => model.pane = Pane::Side,
        KeyCode::Char('e') => {
            model.side = if model.side == Side::Details { Side::Events } else { Side::Details };
            model.side_scroll = 0;
        }
        KeyCode::Char('z') => model.is_zoomed = !model.is_zoomed,
        KeyCode::Char('/') => {
            let kind = if model.pane == Pane::List { Prompt::FindApp } else { Prompt::Search };
            model.dialog = Some(Dialog::Prompt { kind, text: String::new() });
        }
        KeyCode::Char('f') => {
            let text = model.logs.filtered_by().unwrap_or_default().to_owned();
            model.dialog = Some(Dialog::Prompt { kind: Prompt::Filter, text });
        }
        KeyCode::Char('o') => model.logs.next_stream(),
        KeyCode::Char('n') => go_to_match(model, true),
        KeyCode::Char('N') => go_to_match(model, false),
        KeyCode::Esc => {
            // Neither can fail without an expression.
            let _ = model.logs.filter("");
            let _ = model.logs.search("");
            (model.logs.behind, model.logs.shifted, model.is_zoomed) = (0, 0, false);
        }
        KeyCode::Char('r') => ask(model, Action::Restart),
        KeyCode::Char('R') => ask(model, Action::Reload),
        KeyCode::Char('s') => ask(model, Action::Stop),
        KeyCode::Char('S') => ask(model, Action::Start),
        KeyCode::Char('D') | KeyCode::Delete => ask(model, Action::Delete),
        KeyCode::Char('c') => {
            let dialog = model.chosen_app().map(|app| Dialog::Scale {
                app: app.name.clone(),
                now: app.rows.len(),
                text: String::new(),
            });
            model.dialog = dialog;
        }
        KeyCode::Char('x') => {
            let slot = model.chosen.and_then(|place| place.slot);
            model.dialog = model.chosen_app().map(|app| Dialog::Signal { app: app.name.clone(), slot, at: 0 });
        }
        _ => moved(model, code),
    }
    None
}

/// Asks whether this is to be done to the chosen app.
fn ask(model: &mut Model, action: Action) {
    model.dialog = model.chosen_app().map(|app| Dialog::Confirm(Order { app: app.name.clone(), action }));
}

fn go_to_match(model: &mut Model, above: bool) {
    if model.logs.searched().is_none() {
        model.say("/ searches");
    } else if !model.logs.next_match(above) {
        model.say(if above { "no match above" } else { "no match below" });
    }
}

fn next_pane(model: &mut Model, forward: bool) {
    model.pane = match (model.pane, forward) {
        (Pane::List, true) | (Pane::Side, false) => Pane::Logs,
        (Pane::Logs, true) | (Pane::List, false) => Pane::Side,
        (Pane::Side, true) | (Pane::Logs, false) => Pane::List,
    };
}

fn moved(model: &mut Model, code: KeyCode) {
    let page = isize::try_from(model.height.max(2) - 1).unwrap_or(1);
    let (lines, older) = match code {
        KeyCode::Up | KeyCode::Char('k') => (1, true),
        KeyCode::Down | KeyCode::Char('j') => (1, false),
        KeyCode::PageUp => (PAGE, true),
        KeyCode::PageDown | KeyCode::Char(' ') => (PAGE, false),
        KeyCode::Home | KeyCode::Char('g') => (usize::MAX, true),
        KeyCode::End | KeyCode::Char('G') => (usize::MAX, false),
        KeyCode::Left | KeyCode::Char('h') => return to_the_side(model, false),
        KeyCode::Right | KeyCode::Char('l') => return to_the_side(model, true),
        KeyCode::Enter if model.pane == Pane::List => return model.fold(None),
        _ => return,
    };
    match model.pane {
        Pane::List => {
            let by = match lines {
                1 => 1,
                PAGE => page,
                _ => isize::MAX,
            };
            model.move_choice(if older { -by } else { by });
        }
        Pane::Logs => model.logs.scroll(lines, older),
        Pane::Side => scroll_side(model, lines, older),
    }
}

/// Events are newest at the end, details begin at the top: both are scrolled from where they begin.
fn scroll_side(model: &mut Model, lines: usize, up: bool) {
    let away = up == (model.side == Side::Events);
    model.side_scroll =
        if away { model.side_scroll.saturating_add(lines) } else { model.side_scroll.saturating_sub(lines) };
}

fn to_the_side(model: &mut Model, right: bool) {
    match model.pane {
        Pane::List => model.fold(Some(!right)),
        Pane::Logs if right => model.logs.shifted = (model.logs.shifted + SHIFT).min(2000),
        Pane::Logs => model.logs.shifted = model.logs.shifted.saturating_sub(SHIFT),
        Pane::Side => {}
    }
}

/// Takes in what the mouse did.
pub(super) fn mouse(model: &mut Model, mouse: MouseEvent, areas: &Areas) {
    if model.dialog.is_some() {
        return;
    }
    let at = Position { x: mouse.column, y: mouse.row };
    let panes = [(areas.list, Pane::List), (areas.logs, Pane::Logs), (areas.side, Pane::Side)];
    let Some((area, pane)) = panes.into_iter().find(|(area, _)| area.contains(at)) else { return };
    match mouse.kind {
        MouseEventKind::Down(MouseButton::Left) => {
            model.pane = pane;
            if pane == Pane::List {
                let line = model.top + usize::from(at.y - area.y);
                if let Some(place) = model.places().get(line).copied() {
                    let again = model.chosen == Some(place);
                    model.choose(place);
                    if again && place.slot.is_none() {
                        model.fold(None);
                    }
                }
            }
        }
        MouseEventKind::ScrollUp | MouseEventKind::ScrollDown => {
            let up = mouse.kind == MouseEventKind::ScrollUp;
            match pane {
                Pane::List => model.move_choice(if up { -1 } else { 1 }),
                Pane::Logs => model.logs.scroll(WHEEL, up),
                Pane::Side => scroll_side(model, WHEEL, up),
            }
        }
        _ => {}
    }
}
