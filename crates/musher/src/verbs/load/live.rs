//! What a person at a terminal sees while it runs: progress, throughput, latency and its histogram over time, errors.
//!
//! It draws on standard error, on the alternate screen, and leaves the keyboard alone: ^C is a signal as always.

use std::collections::VecDeque;
use std::io::{Stderr, stderr};
use std::time::Duration;

use musher_load::engine::{Observer, Slice};
use musher_load::plan::Count;
use musher_load::report::time_words;
use musher_load::tally::{count, histogram};
use ratatui::Frame;
use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::cursor::{Hide, Show};
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{EnterAlternateScreen, LeaveAlternateScreen};
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Gauge, Paragraph, Sparkline};

use super::planning::Planned;
use crate::output::sanitize;

/// How many intervals are remembered: as many as the widest terminal shows.
const REMEMBERED: usize = 400;
/// How full a cell is, in characters.
const SHADES: [char; 5] = [' ', '░', '▒', '▓', '█'];
/// Rows of the histogram: whole octaves of microseconds from 16 µs to 67 s.
const LOWEST: u32 = 4;
const ROWS: usize = 22;

/// The view.
pub(super) struct Live {
    terminal: Terminal<CrosstermBackend<Stderr>>,
    scene: Scene,
}

/// What is shown.
struct Scene {
    title: String,
    total: Option<u64>,
    time: Option<Duration>,
    slices: VecDeque<Slice>,
    done: u64,
    bad: u64,
    elapsed: Duration,
    interval: Duration,
}

impl Live {
    /// Takes the screen; none where that is not possible.
    pub(super) fn begin(planned: &Planned) -> Option<Live> {
        execute!(stderr(), EnterAlternateScreen, Hide).ok()?;
        let terminal = Terminal::new(CrosstermBackend::new(stderr())).ok();
        if terminal.is_none() {
            let _ = execute!(stderr(), LeaveAlternateScreen, Show);
        }
        Some(Live { terminal: terminal?, scene: Scene::new(planned) })
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        // The screen of before, whatever happened.
        let _ = execute!(stderr(), LeaveAlternateScreen, Show);
    }
}

impl Observer for Live {
    fn slices(&mut self, done: &[Slice], interval: Duration, elapsed: Duration) {
        self.scene.take(done, interval, elapsed);
        let scene = &self.scene;
        // A terminal that cannot be drawn on must not end the run.
        let _ = self.terminal.draw(|frame| scene.draw(frame));
    }
}

impl Scene {
    fn new(planned: &Planned) -> Scene {
        let plan = &planned.plan;
        Scene {
            title: planned.greeting(),
            total: plan.total().filter(|_| matches!(plan.count, Some(Count::PerUser(_) | Count::Once))),
            time: plan.duration.map(|time| time + plan.warm_up),
            slices: VecDeque::new(),
            done: 0,
            bad: 0,
            elapsed: Duration::ZERO,
            interval: Duration::from_secs(1),
        }
    }

    fn take(&mut self, done: &[Slice], interval: Duration, elapsed: Duration) {
        for slice in done {
            self.done += slice.good + slice.bad;
            self.bad += slice.bad;
            if self.slices.len() == REMEMBERED {
                self.slices.pop_front();
            }
            self.slices.push_back(Slice { said: Vec::new(), ..slice.clone() });
        }
        (self.interval, self.elapsed) = (interval, elapsed);
    }

    fn draw(&self, frame: &mut Frame<'_>) {
        let rows = [
            Constraint::Length(2),
            Constraint::Length(1),
            Constraint::Length(4),
            Constraint::Length(6),
            Constraint::Min(6),
        ];
        let [title, progress, figures, throughput, heat] = Layout::vertical(rows).areas(frame.area());
        frame.render_widget(Paragraph::new(sanitize(&self.title)), title);
        self.progress(frame, progress);
        frame.render_widget(Paragraph::new(self.figures()), figures);
        let width = usize::from(throughput.width);
        let skip = self.slices.len().saturating_sub(width);
        let rates: Vec<u64> = self.slices.iter().skip(skip).map(|slice| slice.latency.len()).collect();
        let highest = count(rates.iter().copied().max().unwrap_or(0)) / self.interval.as_secs_f64();
        let block = Block::default().title(format!("answers a second, up to {highest:.0}"));
        frame.render_widget(
            Sparkline::default().block(block).data(rates).style(Style::default().fg(Color::Blue)),
            throughput,
        );
        let lines = self.heat(usize::from(heat.width), usize::from(heat.height).saturating_sub(1));
        frame.render_widget(Paragraph::new(lines).block(Block::default().title("latency over time")), heat);
    }

    fn progress(&self, frame: &mut Frame<'_>, area: Rect) {
        let by_time = self.time.map(|time| self.elapsed.as_secs_f64() / time.as_secs_f64());
        let by_count = self.total.map(|total| count(self.done) / count(total.max(1)));
        let share = by_time
            .into_iter()
            .chain(by_count)
            .fold(None, |most: Option<f64>, share| Some(most.map_or(share, |most| most.max(share))));
        let Some(share) = share.map(|share| share.clamp(0.0, 1.0)) else {
            let text = format!("{:.0} s, until ^C", self.elapsed.as_secs_f64());
            return frame.render_widget(Paragraph::new(text), area);
        };
        let left = if share > 0.01 { self.elapsed.as_secs_f64() * (1.0 / share - 1.0) } else { f64::INFINITY };
        let left = if left.is_finite() { format!(", {left:.0} s left") } else { String::new() };
        let label = format!("{:.0} s, {:.0} %{left}", self.elapsed.as_secs_f64(), share * 100.0);
        frame.render_widget(
            Gauge::default().ratio(share).label(label).gauge_style(Style::default().fg(Color::Blue)),
            area,
        );
    }

    /// The last seconds in numbers.
    fn figures(&self) -> Vec<Line<'static>> {
        let mut recent = histogram();
        let (mut seconds, mut bad) = (0.0, 0);
        for slice in self.slices.iter().rev().take(if self.interval.as_secs() >= 1 { 3 } else { 10 }) {
            // Only a histogram that may not grow can refuse.
            let _ = recent.add(&slice.latency);
            seconds += self.interval.as_secs_f64();
            bad += slice.bad;
        }
        let at = |share: f64| match recent.is_empty() {
            true => "-".to_owned(),
            false => time_words(Duration::from_micros(recent.value_at_quantile(share))),
        };
        let last = self.slices.back();
        let rate = count(recent.len()) / f64::max(seconds, 1e-9);
        let errors = format!("errors {} ({bad} lately)", self.bad);
        let style = if self.bad > 0 { Style::default().fg(Color::Red) } else { Style::default() };
        vec![
            Line::from(format!(
                "{rate:>10.1}/s   p50 {:>8}   p90 {:>8}   p99 {:>8}   max {:>8}",
                at(0.5),
                at(0.9),
                at(0.99),
                at(1.0)
            )),
            Line::from(vec![
                Span::raw(format!("{:>10} done   ", self.done)),
                Span::styled(errors, style),
                Span::raw(format!(
                    "   under way {}   connections {}",
                    last.map_or(0, |slice| slice.in_flight),
                    last.map_or(0, |slice| slice.open)
                )),
            ]),
        ]
    }

    /// A column for each interval, a row for each octave of latency, as dark as it is full.
    fn heat(&self, width: usize, height: usize) -> Vec<Line<'static>> {
        let columns: Vec<[u64; ROWS]> =
            self.slices.iter().skip(self.slices.len().saturating_sub(width.saturating_sub(9))).map(octaves).collect();
        let used = |row: usize| columns.iter().any(|column| column[row] > 0);
        let Some(first) = (0..ROWS).find(|row| used(*row)) else { return Vec::new() };
        let last = (0..ROWS).rev().find(|row| used(*row)).unwrap_or(first);
        let mut lines = Vec::new();
        for row in (first..=last).rev().take(height) {
            let low = Duration::from_micros(1 << (LOWEST + u32::try_from(row).unwrap_or(0)));
            let mut text = format!("{:>8} ", time_words(low));
            for column in &columns {
                let whole: u64 = column.iter().sum();
                // The root shows the few that are late.
                let share = musher_load::tally::ratio(column[row], whole.max(1)).sqrt();
                #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 0 to 4")]
                let shade = if column[row] == 0 { 0 } else { ((share * 4.0).ceil() as usize).clamp(1, 4) };
                text.push(SHADES[shade]);
            }
            lines.push(Line::from(text));
        }
        lines
    }
}

/// How many latencies of an interval are in each octave.
fn octaves(slice: &Slice) -> [u64; ROWS] {
    let mut rows = [0; ROWS];
    for value in slice.latency.iter_recorded() {
        let octave = value.value_iterated_to().max(1).ilog2().saturating_sub(LOWEST) as usize;
        rows[octave.min(ROWS - 1)] += value.count_since_last_iteration();
    }
    rows
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::time::Duration;

    use musher_load::engine::Slice;
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::Scene;

    #[test]
    fn the_view_shows_progress_figures_and_the_histogram() {
        let mut scene = Scene {
            title: "loading http://h/".into(),
            total: None,
            time: Some(Duration::from_secs(10)),
            slices: VecDeque::new(),
            done: 0,
            bad: 0,
            elapsed: Duration::ZERO,
            interval: Duration::from_secs(1),
        };
        let mut latency = musher_load::tally::histogram();
        (0..90).for_each(|_| latency.record(1500).unwrap());
        (0..10).for_each(|_| latency.record(70_000).unwrap());
        let zero = Duration::ZERO;
        let slice =
            Slice { index: 0, latency, good: 97, bad: 3, bytes: 0, in_flight: 4, open: 5, cpu: zero, said: vec![] };
        scene.take(&[slice.clone(), slice], Duration::from_secs(1), Duration::from_secs(2));
        for (width, height) in [(80, 24), (20, 5), (1, 1)] {
            let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
            terminal.draw(|frame| scene.draw(frame)).unwrap();
            if width == 80 {
                let shown = format!("{}", terminal.backend());
                for word in [
                    "loading http://h/",
                    "20 %",
                    "8 s left",
                    "100.0/s",
                    "p50   1.5 ms",
                    "errors 6",
                    "connections 5",
                    "█",
                    "▒",
                ] {
                    assert!(shown.contains(word), "no {word:?} in\n{shown}");
                }
            }
        }
    }
}
