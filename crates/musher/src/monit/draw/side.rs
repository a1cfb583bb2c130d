//! What is known of the chosen app, or what happened.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

use musher_api::{AppDetail, Event, EventKind, RunDetail, SlotDetail};

use super::text::Theme;
use super::{Panel, panel};
use crate::monit::model::{Model, Pane, Side};
use crate::output::{sanitize, units};

/// Draws the pane; its area.
pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, model: &mut Model, theme: Theme) -> Rect {
    let title = match model.side {
        Side::Details => "details (e: events)",
        Side::Events => "events (e: details)",
    };
    let inner = panel(frame, area, Panel { title, is_focused: model.pane == Pane::Side }, theme);
    let height = usize::from(inner.height);
    let lines: Vec<Line<'_>> = match model.side {
        Side::Details => details(model, theme),
        Side::Events => model.events.iter().map(|event| event_line(event, theme)).collect(),
    };
    model.side_scroll = model.side_scroll.min(lines.len().saturating_sub(height));
    let from = match model.side {
        Side::Details => model.side_scroll,
        Side::Events => lines.len().saturating_sub(height).saturating_sub(model.side_scroll),
    };
    let shown: Vec<Line<'_>> = lines.into_iter().skip(from).take(height).collect();
    frame.render_widget(Paragraph::new(shown), inner);
    inner
}

fn details(model: &Model, theme: Theme) -> Vec<Line<'static>> {
    let Some(app) = model.chosen_app() else { return Vec::new() };
    let Some(detail) = model.detail.as_ref().filter(|detail| detail.id == app.id) else { return Vec::new() };
    let mut page = Page { lines: Vec::new(), theme };
    of_app(&mut page, detail);
    let slot = model.chosen.and_then(|place| place.slot);
    let slots: Vec<&SlotDetail> =
        detail.slots.iter().filter(|known| slot.is_none_or(|slot| known.row.slot == slot)).collect();
    // Of many workers only what one has chosen is worth the lines.
    if let [slot] = slots.as_slice() {
        of_slot(&mut page, slot);
    }
    page.lines
}

struct Page {
    lines: Vec<Line<'static>>,
    theme: Theme,
}

impl Page {
    fn value(&mut self, name: &str, value: impl AsRef<str>) {
        let name = Span::styled(format!("{name:<11}"), self.theme.dim());
        self.lines.push(Line::from(vec![name, Span::raw(sanitize(value.as_ref()).replace('\n', " "))]));
    }

    fn heading(&mut self, text: &str) {
        self.lines.push(Line::from(sanitize(text)).style(self.theme.bold()));
    }
}

fn of_app(page: &mut Page, detail: &AppDetail) {
    let (spec, exec) = (&detail.spec, &detail.spec.exec);
    page.heading(&format!("{} (id {})", detail.app, detail.id));
    page.value("namespace", &spec.namespace);
    if let Some(script) = &exec.script {
        page.value("script", script.display().to_string());
        page.value("interpreter", exec.program.display().to_string());
    } else {
        page.value("program", exec.program.display().to_string());
    }
    page.value("args", exec.args.join(" "));
    page.value("cwd", spec.cwd.display().to_string());
    page.value("mode", detail.mode.word());
    page.value("workers", detail.slots.len().to_string());
    let restarts: u32 = detail.slots.iter().map(|slot| slot.row.restarts).fold(0, u32::saturating_add);
    page.value("restarts", restarts.to_string());
    page.value("generation", detail.generation.to_string());
    page.value("watch", if spec.watch.is_some() { "yes" } else { "no" });
    for listener in &detail.listeners {
        page.value("listens", &listener.address);
    }
    page.value("stdout", &detail.log_files.out);
    page.value("stderr", &detail.log_files.err);
    page.value("added", musher_api::rfc3339(detail.added_ms));
}

fn of_slot(page: &mut Page, slot: &SlotDetail) {
    page.heading(&format!("worker {}", slot.row.slot));
    page.value("status", slot.row.status.word());
    for run in &slot.runs {
        of_run(page, run);
    }
    if let Some(reason) = &slot.unfit {
        page.value("unfit", reason);
    }
    if let Some(death) = &slot.last_death {
        page.value("last death", format!("{} after {}", death.status, units::precise(death.uptime_ms)));
    }
}

fn of_run(page: &mut Page, run: &RunDetail) {
    page.value("pid", format!("{} ({})", run.pid, run.state.word()));
    page.value("uptime", units::uptime(run.uptime_ms));
    if let Some(pulse) = &run.pulse {
        page.value("requests", pulse.requests.to_string());
        page.value("loop busy", format!("{}%", pulse.busy_permille / 10));
    }
    if let Some(said) = &run.said {
        page.value("says", said);
    }
    for (name, metric) in &run.custom_metrics {
        page.value(&sanitize(name), metric.text());
    }
    if !run.custom_actions.is_empty() {
        let names: Vec<&str> = run.custom_actions.iter().map(|action| action.name.as_str()).collect();
        page.value("actions", names.join(", "));
    }
}

fn event_line(event: &Event, theme: Theme) -> Line<'static> {
    let place = match (&event.app, event.slot) {
        (Some(app), Some(slot)) => format!("{}/{slot}", sanitize(app)),
        (Some(app), None) => sanitize(app),
        (None, _) => "musher".into(),
    };
    let kind = serde_json::to_value(event.kind).ok();
    let kind = kind.as_ref().and_then(|kind| kind.as_str()).unwrap_or("other").replace('_', " ");
    let style = match event.kind {
        EventKind::Online | EventKind::Adopted => theme.colour(ratatui::style::Color::Green),
        EventKind::Giveup
        | EventKind::Died
        | EventKind::Uncaught
        | EventKind::SpawnFailed
        | EventKind::Unfit
        | EventKind::Killed => theme.error(),
        _ => Style::default(),
    };
    let clock = event.time.get(11..19).unwrap_or_default().to_owned();
    let detail = sanitize(&event.detail).replace('\n', " ");
    Line::from(vec![
        Span::styled(format!("{} ", sanitize(&clock)), theme.dim()),
        Span::raw(format!("{place} ")),
        Span::styled(format!("{kind} "), style),
        Span::styled(detail, theme.dim()),
    ])
}
