//! The screen, from what the model has.

mod dialogs;
mod list;
mod logs;
mod side;
mod text;

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::Color;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, BorderType, Paragraph};

use super::dialog::{Dialog, Prompt};
use super::keys::Areas;
use super::model::{Link, Model, Pane};
use crate::output::{sanitize, units};

pub(super) use self::text::Theme;

/// What is narrower or lower has one pane at a time.
const SMALL: (u16, u16) = (60, 14);
/// From this width on there is a pane at the side of the logs.
const WITH_SIDE: u16 = 60;

/// The most important first: what does not fit is cut.
const KEYS: &str =
    "? help  q quit  r restart  R reload  s stop  c scale  x signal  / search  f filter  o output  e events  z zoom";

/// The frame of a pane.
struct Panel<'a> {
    title: &'a str,
    is_focused: bool,
}

/// Draws everything. What is said in the model of heights and scrolling is brought in line with what there is room for.
pub(super) fn draw(frame: &mut Frame<'_>, model: &mut Model, theme: Theme) -> Areas {
    let rows = [Constraint::Length(1), Constraint::Min(0), Constraint::Length(1)];
    let [head, panes, foot] = Layout::vertical(rows).areas(frame.area());
    frame.render_widget(Paragraph::new(head_line(model, theme)), head);
    let areas = draw_panes(frame, panes, model, theme);
    dialogs::draw(frame, model, theme);
    frame.render_widget(Paragraph::new(foot_line(model, theme)), foot);
    areas
}

fn draw_panes(frame: &mut Frame<'_>, area: Rect, model: &mut Model, theme: Theme) -> Areas {
    let is_small = area.width < SMALL.0 || area.height < SMALL.1;
    if is_small || model.is_zoomed {
        return match model.pane {
            Pane::List => Areas { list: list::draw(frame, area, model, theme), ..Areas::default() },
            Pane::Logs => Areas { logs: logs::draw(frame, area, model, theme), ..Areas::default() },
            Pane::Side => Areas { side: side::draw(frame, area, model, theme), ..Areas::default() },
        };
    }
    // The list has the lines that it needs, at most half of the screen.
    let wanted = u16::try_from(model.places().len()).unwrap_or(u16::MAX).saturating_add(3);
    let height = wanted.clamp(6, (area.height / 2).max(6));
    let [above, below] = Layout::vertical([Constraint::Length(height), Constraint::Min(0)]).areas(area);
    let [left, right] = if below.width >= WITH_SIDE {
        Layout::horizontal([Constraint::Percentage(58), Constraint::Percentage(42)]).areas(below)
    } else {
        [below, Rect::default()]
    };
    Areas {
        list: list::draw(frame, above, model, theme),
        logs: logs::draw(frame, left, model, theme),
        side: side::draw(frame, right, model, theme),
    }
}

/// Draws a frame; the area in it.
fn panel(frame: &mut Frame<'_>, area: Rect, panel: Panel<'_>, theme: Theme) -> Rect {
    let style = if panel.is_focused { theme.colour(Color::Cyan) } else { theme.dim() };
    let lines = if panel.is_focused { BorderType::Thick } else { BorderType::Plain };
    let title = Span::styled(format!(" {} ", panel.title), theme.bold());
    let block = Block::bordered().border_type(lines).border_style(style).title(title);
    let inner = block.inner(area);
    frame.render_widget(block, area);
    inner
}

fn head_line(model: &Model, theme: Theme) -> Line<'static> {
    let (state, style) = match &model.link {
        Link::Connecting => ("connecting".to_owned(), theme.dim()),
        Link::Up => (String::new(), theme.dim()),
        Link::Down(why) => (format!("not connected: {}; trying again", sanitize(why)), theme.error()),
    };
    let mut spans = vec![Span::styled("musher", theme.bold()), Span::raw("  ")];
    if !state.is_empty() {
        spans.push(Span::styled(format!("{state}  "), style));
    }
    let totals = model.totals();
    spans.push(Span::raw(format!(
        "{}, {} of {} online  cpu {}  memory {}",
        units::count(model.apps.len() as u64, "app"),
        totals.online,
        units::count(totals.workers as u64, "worker"),
        units::percent(totals.cpu),
        units::bytes(totals.memory),
    )));
    Line::from(spans)
}

fn foot_line(model: &Model, theme: Theme) -> Line<'static> {
    match &model.dialog {
        Some(Dialog::Prompt { kind, text }) => {
            let what = match kind {
                Prompt::Search => "search: /",
                Prompt::Filter => "only lines with: ",
                Prompt::FindApp => "find app: ",
            };
            return Line::from(vec![Span::styled(what, theme.bold()), Span::raw(format!("{}▏", sanitize(text)))]);
        }
        Some(Dialog::Scale { app, now, text }) => {
            let what = format!("workers of {} (now {now}; N, +N, -N): ", sanitize(app));
            let notice = model.notice.as_ref().map(|notice| format!("   {}", sanitize(&notice.text)));
            return Line::from(vec![
                Span::styled(what, theme.bold()),
                Span::raw(format!("{}▏", sanitize(text))),
                Span::styled(notice.unwrap_or_default(), theme.error()),
            ]);
        }
        Some(Dialog::Signal { .. }) => return Line::from("up, down: choose   Enter: send   Esc: no"),
        Some(Dialog::Help { .. } | Dialog::Message { .. } | Dialog::Confirm(_)) | None => {}
    }
    if let Some(notice) = &model.notice {
        let style = if notice.is_error { theme.error() } else { theme.bold() };
        return Line::from(sanitize(&notice.text).replace('\n', " ")).style(style);
    }
    Line::from(KEYS).style(theme.dim())
}
