//! What a sweep says: the crossing of the bounds with its interval, the power, the peak.

use serde::{Deserialize, Serialize};

use super::usl::{Usl, fit};
use super::{Run, Sweep};
use crate::random::Random;

/// Levels that are this close to the best one belong to the plateau.
const PLATEAU: f64 = 0.95;
/// Light load: up to this part of the crossing.
const LIGHT: f64 = 8.0;
/// Draws for the interval.
const DRAWS: usize = 4000;

/// From and to, 95 %.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// The lower end.
    pub low: f64,
    /// The upper end.
    pub high: f64,
}

/// Where throughput is highest.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Peak {
    /// The levels that cannot be told from the best one.
    pub levels: Vec<u32>,
    /// Answers a second at the best.
    pub rate: f64,
    /// Whether throughput falls after them, within what was measured.
    pub falls: bool,
}

/// What a sweep says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// `Xmax · Rmin`: from here on more users only wait longer.
    pub crossing: f64,
    /// 95 % of it.
    pub interval: Interval,
    /// Answers a second on the plateau.
    pub plateau: f64,
    /// Seconds of an answer under light load, pauses included.
    pub light: f64,
    /// The level with the largest throughput per response time: a second opinion.
    pub power: f64,
    /// The best levels.
    pub peak: Peak,
    /// The universal scalability law, where it fits and its peak was measured.
    pub usl: Option<Usl>,
    /// Whether the highest levels still rise: then there is no peak in what was measured.
    pub rises: bool,
    /// Spread of the runs of a level, relative, over all levels.
    pub spread: f64,
}

impl Estimate {
    /// Whether the bounds say something else than the peak does: contention, not a pool of workers.
    #[must_use]
    pub fn disagrees(&self) -> bool {
        self.rises || self.peak.levels.first().is_some_and(|level| f64::from(*level) > 2.0 * self.crossing)
    }
}

/// The runs of one level.
#[derive(Clone, Debug)]
pub(super) struct Level {
    pub(super) users: u32,
    pub(super) rates: Vec<f64>,
    /// Mean.
    pub(super) rate: f64,
}

/// The runs by level, those that are believed.
pub(super) fn levels(runs: &[Run], think: f64) -> Vec<Level> {
    let mut levels: Vec<Level> = Vec::new();
    for run in runs.iter().filter(|run| run.is_believed(think)) {
        match levels.iter_mut().find(|level| level.users == run.users) {
            Some(level) => level.rates.push(run.rate),
            None => levels.push(Level { users: run.users, rates: vec![run.rate], rate: 0.0 }),
        }
    }
    for level in &mut levels {
        level.rate = mean(&level.rates);
    }
    levels.sort_by_key(|level| level.users);
    levels
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / float(values.len()).max(1.0)
}

pub(super) fn float(count: usize) -> f64 {
    crate::tally::count(count as u64)
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => 0.0,
        odd if odd % 2 == 1 => values[odd / 2],
        even => f64::midpoint(values[even / 2 - 1], values[even / 2]),
    }
}

/// The crossing of the bounds: the median of the plateau over the mean of light load.
fn crossing(levels: &[(f64, f64)]) -> Option<(f64, f64, f64)> {
    let best = levels.iter().map(|(_, rate)| *rate).fold(0.0, f64::max);
    let mut plateau: Vec<f64> = levels.iter().map(|(_, rate)| *rate).filter(|rate| *rate >= PLATEAU * best).collect();
    let plateau = median(&mut plateau);
    // Which levels are light load depends on the crossing, which begins as what one user alone says.
    let (first_users, first_rate) = *levels.first()?;
    let mut light = first_rate / first_users;
    for _ in 0..3 {
        let limit = plateau / light / LIGHT;
        let few: Vec<f64> =
            levels.iter().filter(|(users, _)| *users <= limit).map(|(users, rate)| rate / users).collect();
        if few.is_empty() {
            light = first_rate / first_users;
            break;
        }
        light = mean(&few);
    }
    (light > 0.0).then(|| (plateau / light, plateau, 1.0 / light))
}

/// What the believed runs say; none when there are fewer than three levels, or none with few users.
#[must_use]
pub fn estimate(runs: &[Run], think: f64, seed: u64) -> Option<Estimate> {
    let levels = levels(runs, think);
    if levels.len() < 3 {
        return None;
    }
    let means: Vec<(f64, f64)> = levels.iter().map(|level| (f64::from(level.users), level.rate)).collect();
    let (at, plateau, light) = crossing(&means)?;
    let spread = pooled_spread(&levels);
    let interval = interval(&levels, spread, seed).unwrap_or(Interval { low: at, high: at });
    let peak = peak(&levels, spread);
    let usl = fit(&levels, spread);
    let rises = rises(&levels, spread);
    Some(Estimate { crossing: at, interval, plateau, light, power: power(&means), peak, usl, rises, spread })
}

/// One relative spread for all levels: three runs are too few for one each.
fn pooled_spread(levels: &[Level]) -> f64 {
    let (mut squares, mut freedom) = (0.0, 0.0);
    for level in levels.iter().filter(|level| level.rates.len() > 1 && level.rate > 0.0) {
        squares += level.rates.iter().map(|rate| (rate / level.rate - 1.0).powi(2)).sum::<f64>();
        freedom += float(level.rates.len() - 1);
    }
    if freedom > 0.0 { (squares / freedom).sqrt() } else { 0.05 }
}

/// 95 % of what the crossing is when the means of the levels are drawn anew.
fn interval(levels: &[Level], spread: f64, seed: u64) -> Option<Interval> {
    let mut random = Random::new(seed);
    let mut draws: Vec<f64> = (0..DRAWS)
        .filter_map(|_| {
            let drawn: Vec<(f64, f64)> = levels
                .iter()
                .map(|level| {
                    let deviation = spread / float(level.rates.len()).sqrt();
                    (f64::from(level.users), level.rate * (1.0 + deviation * random.normal()).max(0.01))
                })
                .collect();
            crossing(&drawn).map(|(at, _, _)| at)
        })
        .collect();
    draws.sort_by(f64::total_cmp);
    let at = |share: usize| draws.get((draws.len() * share / 1000).min(draws.len().saturating_sub(1))).copied();
    Some(Interval { low: at(25)?, high: at(975)? })
}

/// Where throughput per response time is largest, between levels by a parabola over the logarithm of users.
fn power(means: &[(f64, f64)]) -> f64 {
    // With X and R = N/X, X/R is X²/N.
    let points: Vec<(f64, f64)> = means.iter().map(|(users, rate)| (users.ln(), (rate * rate / users).ln())).collect();
    let best = (0..points.len()).max_by(|a, b| points[*a].1.total_cmp(&points[*b].1)).unwrap_or(0);
    if best == 0 || best + 1 == points.len() {
        return means[best].0;
    }
    let [(x0, y0), (x1, y1), (x2, y2)] = [points[best - 1], points[best], points[best + 1]];
    let (a, b) = ((x1 - x0) * (y1 - y2), (x1 - x2) * (y1 - y0));
    let vertex = x1 - 0.5 * ((x1 - x0) * a - (x1 - x2) * b) / (a - b);
    if vertex.is_finite() { vertex.clamp(x0, x2).exp() } else { means[best].0 }
}

/// The levels that cannot be told from the best: within what two means differ by chance.
fn peak(levels: &[Level], spread: f64) -> Peak {
    let best = levels.iter().max_by(|a, b| a.rate.total_cmp(&b.rate));
    let Some(best) = best else { return Peak { levels: Vec::new(), rate: 0.0, falls: false } };
    let differs = |level: &Level| {
        let deviation = spread * (1.0 / float(level.rates.len()) + 1.0 / float(best.rates.len())).sqrt();
        best.rate - level.rate > (2.0 * deviation * best.rate).max(0.01 * best.rate)
    };
    let same: Vec<u32> = levels.iter().filter(|level| !differs(level)).map(|level| level.users).collect();
    let falls = levels.last().is_some_and(differs) && same.last() != levels.last().map(|level| &level.users);
    Peak { levels: same, rate: best.rate, falls }
}

/// Whether the last levels still rise beyond chance.
fn rises(levels: &[Level], spread: f64) -> bool {
    let Some(last) = levels.last() else { return false };
    // Against a level with half as many users or fewer, so that the rise has room to show.
    let Some(half) = levels.iter().rev().find(|level| level.users * 2 <= last.users) else { return false };
    let deviation = spread * (1.0 / float(last.rates.len()) + 1.0 / float(half.rates.len())).sqrt();
    last.rate > half.rate * (1.0 + (2.0 * deviation).max(0.02))
}

impl Sweep {
    /// What it says so far.
    #[must_use]
    pub fn estimate(&self) -> Option<Estimate> {
        estimate(&self.runs, self.limits.think, self.seed)
    }
}
