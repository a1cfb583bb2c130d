//! The logs of what is chosen.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

use musher_api::{LogStream, rfc3339};

use super::text::Theme;
use super::{Panel, panel};
use crate::monit::logs;
use crate::monit::model::{Model, Pane};
use crate::output::sanitize;

/// From this width on lines have their time.
const WITH_TIME: u16 = 70;

/// Draws the pane; its area.
pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, model: &Model, theme: Theme) -> Rect {
    let inner = panel(frame, area, Panel { title: &title(model), is_focused: model.pane == Pane::Logs }, theme);
    let with_slot = model.chosen.is_some_and(|place| place.slot.is_none())
        && model.chosen_app().is_some_and(|app| app.rows.len() > 1);
    let is_theirs = model.logs_of.is_some() && model.logs_of.as_ref() == model.chosen_app().map(|app| &app.name);
    let lines: Vec<Line<'_>> = if is_theirs {
        let form = Form { with_slot, with_time: inner.width >= WITH_TIME, theme, model };
        model.logs.view(usize::from(inner.height)).into_iter().map(|line| form.line(line)).collect()
    } else {
        Vec::new()
    };
    let empty = lines.is_empty();
    frame.render_widget(Paragraph::new(lines), inner);
    if empty && model.chosen.is_some() {
        let words = if model.logs.filtered_by().is_some() || model.logs.stream.is_some() {
            "no line passes the filter (Esc shows all)"
        } else {
            "nothing was written yet"
        };
        frame.render_widget(Paragraph::new(words).style(theme.dim()), inner);
    }
    inner
}

fn title(model: &Model) -> String {
    let logs = &model.logs;
    let mut title = "logs".to_owned();
    if let Some(app) = model.chosen_app() {
        title.push(' ');
        title.push_str(&sanitize(&app.name));
        if let Some(slot) = model.chosen.and_then(|place| place.slot) {
            title.push_str(&format!("/{slot}"));
        }
    }
    if let Some(stream) = logs.stream {
        title.push_str(&format!(", only {}", stream.word()));
    }
    if let Some(filter) = logs.filtered_by() {
        title.push_str(&format!(", filter {} ({})", sanitize(filter), logs.count()));
    }
    if let Some((search, _)) = logs.searched() {
        title.push_str(&format!(", /{}", sanitize(search)));
    }
    if logs.behind > 0 {
        title.push_str(&format!(", {} below", logs.behind));
    }
    if logs.skipped {
        title.push_str(", too fast: lines left out");
    }
    title
}

struct Form<'a> {
    with_slot: bool,
    with_time: bool,
    theme: Theme,
    model: &'a Model,
}

impl Form<'_> {
    fn line(&self, line: &logs::Line) -> Line<'static> {
        let mut spans = Vec::new();
        if self.with_time {
            let time = rfc3339(line.time_ms);
            let clock = time.get(11..19).unwrap_or_default();
            spans.push(Span::styled(format!("{clock} "), self.theme.dim()));
        }
        if self.with_slot {
            spans.push(Span::styled(format!("{} ", line.slot), self.theme.dim()));
        }
        let style = match line.stream {
            LogStream::Out => Style::default(),
            LogStream::Err => self.theme.colour(Color::Red),
        };
        if !self.theme.has_colours && line.stream == LogStream::Err {
            spans.push(Span::raw("! "));
        }
        let text: String = line.text.chars().skip(self.model.logs.shifted).collect();
        self.marked(&text, style, &mut spans);
        Line::from(spans)
    }

    /// The text with what was searched for standing out.
    fn marked(&self, text: &str, style: Style, spans: &mut Vec<Span<'static>>) {
        let mut rest = 0;
        if let Some((_, regex)) = self.model.logs.searched() {
            for found in regex.find_iter(text).filter(|found| !found.is_empty()) {
                spans.push(Span::styled(text[rest..found.start()].to_owned(), style));
                spans.push(Span::styled(found.as_str().to_owned(), style.add_modifier(Modifier::REVERSED)));
                rest = found.end();
            }
        }
        spans.push(Span::styled(text[rest..].to_owned(), style));
    }
}
