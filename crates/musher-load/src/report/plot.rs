//! Drawing: axes, lines, dots and bands as SVG. No more than the pages need, and nothing from anywhere else.

use std::fmt::Write;

/// Space for numbers on the left and words below.
const LEFT: f64 = 70.0;
const RIGHT: f64 = 20.0;
const TOP: f64 = 28.0;
const BOTTOM: f64 = 36.0;

/// How values become places.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scale {
    Linear,
    /// By powers of two.
    Log2,
    /// By powers of ten.
    Log10,
}

#[derive(Clone, Copy, Debug)]
struct Axis {
    scale: Scale,
    low: f64,
    high: f64,
}

impl Axis {
    fn share(&self, value: f64) -> f64 {
        let of = |value: f64| match self.scale {
            Scale::Linear => value,
            Scale::Log2 | Scale::Log10 => value.max(f64::MIN_POSITIVE).ln(),
        };
        let (low, high) = (of(self.low), of(self.high));
        if high > low { ((of(value) - low) / (high - low)).clamp(-0.02, 1.02) } else { 0.5 }
    }

    fn ticks(&self) -> Vec<f64> {
        match self.scale {
            Scale::Linear => {
                let rough = (self.high - self.low).max(1e-9) / 5.0;
                let power = 10f64.powf(rough.log10().floor());
                let step = [1.0, 2.0, 5.0, 10.0].into_iter().map(|m| m * power).find(|s| *s >= rough).unwrap_or(rough);
                let first = (self.low / step).ceil();
                (0..12).map(|n| (first + f64::from(n)) * step).take_while(|v| *v <= self.high * 1.0001).collect()
            }
            Scale::Log2 | Scale::Log10 => {
                let base: f64 = if self.scale == Scale::Log2 { 2.0 } else { 10.0 };
                let first = self.low.max(1e-9).log(base).floor();
                let within = |value: &f64| (self.low * 0.999..=self.high * 1.001).contains(value);
                let powers = (0..40).map(|n| base.powf(first + f64::from(n)));
                let mut all: Vec<f64> = powers.clone().filter(within).collect();
                if self.scale == Scale::Log10 && all.len() < 3 {
                    all = powers.flat_map(|power| [1.0, 2.0, 5.0].map(|part| part * power)).filter(within).collect();
                }
                let every = all.len().div_ceil(12).max(1);
                all.into_iter().step_by(every).collect()
            }
        }
    }
}

/// One panel.
pub(super) struct Panel {
    body: String,
    x: Axis,
    y: Axis,
    width: f64,
    height: f64,
    key: f64,
}

/// A number with few digits.
pub(super) fn short(value: f64) -> String {
    let text = match value.abs() {
        0.0 => return "0".into(),
        big if big >= 10_000.0 => return format!("{:.0}k", value / 1000.0),
        some if some >= 100.0 => format!("{value:.0}"),
        few if few >= 1.0 => format!("{value:.1}"),
        _ => format!("{value:.3}"),
    };
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

/// A text within HTML.
pub(super) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

impl Panel {
    /// An empty panel; `names` are those of the panel, the x axis and the y axis.
    pub(super) fn new(size: (f64, f64), x: (Scale, f64, f64), y: (Scale, f64, f64), names: [&str; 3]) -> Panel {
        let axis = |(scale, low, high): (Scale, f64, f64)| Axis {
            scale,
            low,
            high: if high > low { high } else { low + 1.0 },
        };
        let mut panel =
            Panel { body: String::new(), x: axis(x), y: axis(y), width: size.0, height: size.1, key: LEFT + 8.0 };
        let [name, below, beside] = names.map(escaped);
        let (right, bottom) = (panel.width - RIGHT, panel.height - BOTTOM);
        let body = &mut panel.body;
        let _ = write!(body, "<text class=\"n\" x=\"{LEFT}\" y=\"16\">{name}</text>");
        let _ = write!(
            body,
            "<text class=\"a\" x=\"{right}\" y=\"{:.0}\" text-anchor=\"end\">{below}</text>",
            panel.height - 4.0
        );
        let _ = write!(body, "<text class=\"a\" x=\"{right}\" y=\"16\" text-anchor=\"end\">{beside}</text>");
        for tick in panel.x.ticks() {
            let at = LEFT + panel.x.share(tick) * (panel.width - LEFT - RIGHT);
            let _ = write!(body, "<path class=\"g\" d=\"M{at:.1} {TOP}V{bottom:.1}\"/>");
            let _ = write!(
                body,
                "<text class=\"a\" x=\"{at:.1}\" y=\"{:.0}\" text-anchor=\"middle\">{}</text>",
                bottom + 14.0,
                short(tick)
            );
        }
        for tick in panel.y.ticks() {
            let at = bottom - panel.y.share(tick) * (panel.height - TOP - BOTTOM);
            let _ = write!(body, "<path class=\"g\" d=\"M{LEFT} {at:.1}H{right}\"/>");
            let _ = write!(
                body,
                "<text class=\"a\" x=\"{:.0}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                LEFT - 6.0,
                at + 4.0,
                short(tick)
            );
        }
        panel
    }

    fn place(&self, (x, y): (f64, f64)) -> (f64, f64) {
        let across = LEFT + self.x.share(x) * (self.width - LEFT - RIGHT);
        (across, self.height - BOTTOM - self.y.share(y) * (self.height - TOP - BOTTOM))
    }

    /// A line through points, with its name in the key.
    pub(super) fn line(&mut self, class: &str, name: &str, points: impl IntoIterator<Item = (f64, f64)>) {
        let mut path = String::new();
        for point in points {
            let (x, y) = self.place(point);
            let _ = write!(path, "{}{x:.1} {y:.1}", if path.is_empty() { 'M' } else { 'L' });
        }
        let _ = write!(self.body, "<path class=\"l {class}\" d=\"{path}\"/>");
        if !name.is_empty() {
            let (from, y) = (self.key, TOP + 6.0);
            let _ = write!(self.body, "<path class=\"l {class}\" d=\"M{from:.0} {y}h14\"/>");
            let _ = write!(
                self.body,
                "<text class=\"a\" x=\"{:.0}\" y=\"{}\">{}</text>",
                from + 18.0,
                y + 4.0,
                escaped(name)
            );
            self.key += 32.0 + 6.2 * crate::tally::count(name.chars().count() as u64);
        }
    }

    /// Dots.
    pub(super) fn dots(&mut self, class: &str, points: impl IntoIterator<Item = (f64, f64)>) {
        for point in points {
            let (x, y) = self.place(point);
            let _ = write!(self.body, "<circle class=\"{class}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\"/>");
        }
    }

    /// A band from one x to another, with its name at its foot.
    pub(super) fn band(&mut self, from: f64, to: f64, name: &str) {
        let (left, right) = (self.place((from, self.y.low)).0, self.place((to, self.y.low)).0);
        let height = self.height - TOP - BOTTOM;
        let width = (right - left).max(1.5);
        let _ = write!(
            self.body,
            "<rect class=\"b\" x=\"{left:.1}\" y=\"{TOP}\" width=\"{width:.1}\" height=\"{height:.1}\"/>"
        );
        if !name.is_empty() {
            // Towards the side that has room.
            let (at, anchor) = if left < self.width / 2.0 { (left, "start") } else { (right, "end") };
            let _ = write!(
                self.body,
                "<text class=\"a\" x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"{anchor}\">{}</text>",
                self.height - BOTTOM - 5.0,
                escaped(name)
            );
        }
    }

    /// A filled cell, from one corner to the other, as dark as `share`.
    pub(super) fn cell(&mut self, from: (f64, f64), to: (f64, f64), share: f64) {
        let ((left, bottom), (right, top)) = (self.place(from), self.place(to));
        let (width, height) = ((right - left).max(0.5), (bottom - top).max(0.5));
        let _ = write!(
            self.body,
            "<rect class=\"h\" x=\"{left:.1}\" y=\"{top:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" opacity=\"{share:.2}\"/>"
        );
    }

    fn inner(&self, top: f64) -> String {
        format!("<g transform=\"translate(0 {top:.0})\">{}</g>", self.body)
    }
}

/// Styles of all drawings; the colours hold on light and dark paper.
const STYLE: &str = "\
.n{font:600 13px system-ui,sans-serif;fill:currentColor}.a{font:11px system-ui,sans-serif;fill:currentColor;opacity:.75}\
.g{stroke:currentColor;opacity:.12;fill:none}.l{fill:none;stroke-width:1.7}.c1{stroke:#1f77b4}.c2{stroke:#2ca02c}\
.c3{stroke:#d62728}.c4{stroke:#9467bd}.bound{stroke:currentColor;stroke-dasharray:5 4;opacity:.6}.mark{stroke:#ff7f0e}\
.d1{fill:#1f77b4;opacity:.6}.d3{fill:#d62728;opacity:.6}.d0{fill:none;stroke:currentColor;opacity:.6}.b{fill:#ff7f0e;opacity:.25}\
.h{fill:#1f77b4}";

/// Panels below each other.
pub(super) fn svg(title: &str, panels: &[Panel]) -> String {
    let width = panels.iter().map(|panel| panel.width).fold(0.0, f64::max);
    let mut top = 26.0;
    let mut body = String::new();
    for panel in panels {
        body.push_str(&panel.inner(top));
        top += panel.height + 8.0;
    }
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {top:.0}\" role=\"img\"><style>{STYLE}</style>\
         <text class=\"n\" x=\"{LEFT}\" y=\"16\">{}</text>{body}</svg>\n",
        escaped(title)
    )
}
