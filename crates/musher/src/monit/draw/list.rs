//! Apps and workers, a line each.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::{Color, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

use musher_api::{SlotRow, SlotStatus};

use super::text::{Theme, fit, graph};
use super::{Panel, panel};
use crate::monit::model::{AppNode, Model, Pane, Place};
use crate::output::{sanitize, units};

/// The shortest name, and the longest that takes columns from others.
const NAME: (usize, usize) = (10, 32);
/// Columns of a graph.
const GRAPH: (usize, usize) = (6, 60);

/// A column: its head, its width, and what it shows. The last ones go first when space is short.
const COLUMNS: [(&str, usize, Cell); 8] = [
    ("status", 9, Cell::Status),
    ("cpu", 5, Cell::Cpu),
    ("memory", 8, Cell::Memory),
    ("↺", 4, Cell::Restarts),
    ("uptime", 7, Cell::Uptime),
    ("req/s", 6, Cell::Rate),
    ("delay", 7, Cell::Delay),
    ("pid", 8, Cell::Pid),
];

#[derive(Clone, Copy)]
enum Cell {
    Status,
    Cpu,
    Memory,
    Restarts,
    Uptime,
    Rate,
    Delay,
    Pid,
}

/// How the width is shared.
struct Widths {
    name: usize,
    /// How many of the columns are shown.
    columns: usize,
    /// Of each of the two graphs; 0: none.
    graph: usize,
}

/// Draws the list; the area of its lines.
pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, model: &mut Model, theme: Theme) -> Rect {
    let title = if model.apps.is_empty() { "apps".to_owned() } else { format!("apps ({})", model.apps.len()) };
    let inner = panel(frame, area, Panel { title: &title, is_focused: model.pane == Pane::List }, theme);
    let (width, height) = (usize::from(inner.width), usize::from(inner.height));
    model.height = height.saturating_sub(1);
    model.show_choice();
    let places = model.places();
    let widths = Widths::of(width, longest_name(model));
    let mut lines = vec![head(&widths, theme)];
    if places.is_empty() {
        lines.push(Line::from("no apps; `musher start server.js` starts one").style(theme.dim()));
    }
    for place in places.iter().skip(model.top).take(model.height) {
        lines.push(line(model, *place, &widths, theme));
    }
    frame.render_widget(Paragraph::new(lines), inner);
    Rect { y: inner.y.saturating_add(1), height: inner.height.saturating_sub(1), ..inner }
}

impl Widths {
    fn of(width: usize, longest: usize) -> Widths {
        let name = longest.clamp(NAME.0, NAME.1).min(width);
        let mut left = width - name;
        let mut columns = 0;
        for (_, needs, cell) in COLUMNS {
            // Graphs tell more than a number that the details have, too.
            let room = if matches!(cell, Cell::Pid) { needs + 1 + 2 * (GRAPH.0 + 2) } else { needs + 1 };
            if left < room {
                break;
            }
            left -= needs + 1;
            columns += 1;
        }
        let graph = left / 2;
        let graph = if graph > GRAPH.0 { (graph - 1).min(GRAPH.1) } else { 0 };
        let unused = if graph > 0 { left - 2 * (graph + 1) } else { left };
        Widths { name: (name + unused).min(longest.max(name)), columns, graph }
    }
}

fn longest_name(model: &Model) -> usize {
    model.apps.iter().map(|app| super::text::width(&sanitize(&app.name)) + 2).max().unwrap_or(0)
}

fn head(widths: &Widths, theme: Theme) -> Line<'static> {
    let mut text = fit("  name", widths.name, false);
    for (title, width, cell) in COLUMNS.iter().take(widths.columns) {
        text.push(' ');
        text.push_str(&fit(title, *width, !matches!(cell, Cell::Status)));
    }
    if widths.graph > 0 {
        text.push(' ');
        text.push_str(&fit("cpu", widths.graph, true));
        text.push(' ');
        text.push_str(&fit("memory", widths.graph, true));
    }
    Line::from(text).style(theme.bold())
}

fn line(model: &Model, place: Place, widths: &Widths, theme: Theme) -> Line<'static> {
    let Some(app) = model.app(place.app) else { return Line::default() };
    let rows: Vec<&SlotRow> = app.rows.iter().filter(|row| place.slot.is_none_or(|slot| row.slot == slot)).collect();
    let name = match (place.slot, app.rows.len()) {
        (Some(slot), _) => format!("    {slot}"),
        (None, 0 | 1) => format!("  {}", sanitize(&app.name)),
        (None, _) if model.is_folded(app.id) => format!("▸ {}", sanitize(&app.name)),
        (None, _) => format!("▾ {}", sanitize(&app.name)),
    };
    let mut spans = vec![Span::raw(fit(&name, widths.name, false))];
    for (_, width, cell) in COLUMNS.iter().take(widths.columns) {
        let (text, style) = value(*cell, model, place, app, &rows, theme);
        spans.push(Span::raw(" "));
        spans.push(Span::styled(fit(&text, *width, !matches!(cell, Cell::Status)), style));
    }
    if let Some(history) = model.history.get(&place).filter(|_| widths.graph > 0) {
        // A core is the least that fills a graph of CPU; memory fills it with its own highest.
        let most_cpu = history.cpu.iter().copied().fold(100.0, f64::max);
        let most_memory = history.memory.iter().copied().max().unwrap_or(0) as f64;
        let cpu = graph(history.cpu.iter().copied(), widths.graph, most_cpu);
        let memory = graph(history.memory.iter().map(|bytes| *bytes as f64), widths.graph, most_memory);
        spans.push(Span::styled(format!(" {cpu}"), theme.colour(Color::Cyan)));
        spans.push(Span::styled(format!(" {memory}"), theme.colour(Color::Magenta)));
    }
    let line = Line::from(spans);
    if model.chosen == Some(place) { line.style(theme.chosen()) } else { line }
}

fn value(cell: Cell, model: &Model, place: Place, app: &AppNode, rows: &[&SlotRow], theme: Theme) -> (String, Style) {
    let plain = |text: String| (text, Style::default());
    let none = || "-".to_owned();
    let up = rows.iter().any(|row| row.pid.is_some());
    let told = || {
        let of = |row: &&SlotRow| model.told.get(&Place { app: app.id, slot: Some(row.slot) }).copied();
        rows.iter().filter_map(of)
    };
    match cell {
        Cell::Status => status(place, rows, theme),
        Cell::Cpu if up => plain(units::percent(rows.iter().map(|row| row.cpu_percent).sum())),
        Cell::Memory if up => plain(units::bytes(rows.iter().map(|row| row.memory_bytes).sum())),
        Cell::Restarts => {
            let restarts: u32 = rows.iter().map(|row| row.restarts).fold(0, u32::saturating_add);
            (restarts.to_string(), if restarts > 0 { theme.colour(Color::Yellow) } else { Style::default() })
        }
        Cell::Uptime if up => {
            // Of several: the youngest, which tells when something happened last.
            let youngest = rows.iter().filter(|row| row.pid.is_some()).map(|row| row.uptime_ms).min();
            plain(units::uptime(youngest.unwrap_or(0)))
        }
        Cell::Rate => {
            let rates: Vec<f64> = told().filter_map(|told| told.rate).collect();
            plain(if rates.is_empty() { none() } else { rate(rates.iter().sum()) })
        }
        Cell::Delay => plain(told().map(|told| told.delay_us).max().map_or_else(none, delay)),
        Cell::Pid => plain(match rows {
            [row] => row.pid.map_or_else(none, |pid| pid.to_string()),
            _ => String::new(),
        }),
        Cell::Cpu | Cell::Memory | Cell::Uptime => plain(none()),
    }
}

/// Of one worker its state; of several the state of all, or how many serve.
fn status(place: Place, rows: &[&SlotRow], theme: Theme) -> (String, Style) {
    let Some(first) = rows.first() else { return (String::new(), Style::default()) };
    let word = |row: &SlotRow| match row.status {
        SlotStatus::GaveUp => "gave up",
        SlotStatus::Online if row.successor_pid.is_some() => "reloading",
        status => status.word(),
    };
    if place.slot.is_some() || rows.len() == 1 || rows.iter().all(|row| word(row) == word(first)) {
        return (word(first).to_owned(), theme.status(first.status));
    }
    let online = rows.iter().filter(|row| row.status == SlotStatus::Online).count();
    let style = theme.status(if online == rows.len() { SlotStatus::Online } else { SlotStatus::Backoff });
    (format!("{online}/{} on", rows.len()), style)
}

fn rate(rate: f64) -> String {
    if rate < 99.95 { format!("{rate:.1}") } else { format!("{rate:.0}") }
}

fn delay(us: u64) -> String {
    if us < 10_000 { format!("{:.1} ms", us as f64 / 1000.0) } else { units::precise(us / 1000) }
}
