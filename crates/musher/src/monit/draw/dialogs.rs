//! Windows over the others.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::Line;
use ratatui::widgets::{Block, Clear, Paragraph, Wrap};

use super::text::Theme;
use crate::monit::dialog::{Dialog, SIGNALS};
use crate::monit::model::Model;
use crate::output::sanitize;

/// What every key does.
const HELP: &[&str] = &[
    "q, ^C          leave               ?      this help",
    "Tab, 1 2 3     next pane           z      this pane alone, and back",
    "arrows, hjkl   move, fold          e      events or details",
    "PgUp PgDn g G  far, to the ends    Enter  fold an app's workers",
    "",
    "r  restart     R  reload           s  stop      S  start",
    "c  scale       x  send a signal    D  delete",
    "   each asks before it is done",
    "",
    "/  find an app, or search in logs (a regular expression)",
    "n  N           next match above, below",
    "f  only lines that match a regular expression",
    "o  both outputs, only out, only err",
    "Esc            all lines again, newest last",
    "left, right    shift long lines",
    "",
    "The mouse chooses and scrolls; with Shift held most",
    "terminals select text as usual.",
    "req/s and delay (of the event loop): Node clusters only.",
];

/// Draws the window that is open, if it is no line at the bottom.
pub(super) fn draw(frame: &mut Frame<'_>, model: &mut Model, theme: Theme) {
    let workers =
        |model: &Model, app: &str| model.apps.iter().find(|node| node.name == app).map_or(0, |node| node.rows.len());
    let Some(mut dialog) = model.dialog.take() else { return };
    let count = match &dialog {
        Dialog::Confirm(order) => workers(model, &order.app),
        _ => 0,
    };
    match &mut dialog {
        Dialog::Help { scroll } => {
            let lines: Vec<Line<'_>> = HELP.iter().map(|line| Line::from(*line)).collect();
            window(frame, "keys", 72, lines, scroll, theme);
        }
        Dialog::Message { text, scroll } => {
            let lines: Vec<Line<'_>> = text.lines().map(|line| Line::from(sanitize(line))).collect();
            window(frame, "failed (Enter closes)", 76, lines, scroll, theme);
        }
        Dialog::Confirm(order) => {
            let question = Line::from(sanitize(&order.question(count)));
            let lines = vec![question, Line::default(), Line::from("y, Enter: yes    n, Esc: no").style(theme.bold())];
            window(frame, "sure?", 60, lines, &mut 0, theme);
        }
        Dialog::Signal { app, slot, at } => {
            let whom = slot.map_or_else(|| sanitize(app), |slot| format!("{}/{slot}", sanitize(app)));
            let line = |(n, name): (usize, &&'static str)| {
                let line = Line::from(format!(" {name} "));
                if n == *at { line.style(theme.chosen()) } else { line }
            };
            let lines = SIGNALS.iter().enumerate().map(line).collect();
            window(frame, &format!("signal to {whom}"), 40, lines, &mut 0, theme);
        }
        Dialog::Scale { .. } | Dialog::Prompt { .. } => {}
    }
    model.dialog = Some(dialog);
}

fn window(frame: &mut Frame<'_>, title: &str, width: u16, lines: Vec<Line<'_>>, scroll: &mut usize, theme: Theme) {
    let screen = frame.area();
    let width = width.min(screen.width);
    let inside = usize::from(width.saturating_sub(2)).max(1);
    let needed: usize = lines.iter().map(|line| line.width().div_ceil(inside).max(1)).sum();
    let height = u16::try_from(needed.saturating_add(2)).unwrap_or(u16::MAX).min(screen.height);
    let room = usize::from(height.saturating_sub(2));
    *scroll = (*scroll).min(needed.saturating_sub(room));
    let area =
        Rect { x: screen.x + (screen.width - width) / 2, y: screen.y + (screen.height - height) / 2, width, height };
    let block = Block::bordered().title(format!(" {title} ")).title_style(theme.bold());
    let text = Paragraph::new(lines).wrap(Wrap { trim: false });
    let text = text.scroll((u16::try_from(*scroll).unwrap_or(u16::MAX), 0)).block(block);
    frame.render_widget(Clear, area);
    frame.render_widget(text, area);
}
