//! Gunther's universal scalability law, X = gN / (1 + a(N-1) + bN(N-1)): contention and coherency, not a pool of workers.
//! It is told only where it fits: everywhere else it bends one curve through a plateau and is wrong by a factor of two with
//! a narrow interval.

use serde::{Deserialize, Serialize};

use super::estimate::{Level, float};

/// A fit that can be believed.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Usl {
    /// Answers a second of one user.
    pub gamma: f64,
    /// Contention.
    pub alpha: f64,
    /// Coherency.
    pub beta: f64,
    /// Where throughput is highest.
    pub peak: f64,
}

/// Fits the law to relative deviations; none when it does not fit, has no coherency for sure, or peaks beyond the levels.
pub(super) fn fit(levels: &[Level], spread: f64) -> Option<Usl> {
    if levels.len() < 5 {
        return None;
    }
    let points: Vec<(f64, f64, f64)> =
        levels.iter().map(|level| (f64::from(level.users), level.rate, float(level.rates.len()))).collect();
    let (usl, inverse, squares) = solve(&points)?;
    let freedom = float(points.len()) - 3.0;
    // Residuals of means: with the number of runs, they are what runs deviate by.
    let residual = (squares / freedom).sqrt();
    let deviation = inverse.sqrt() * residual;
    let last = points.last().map_or(0.0, |(users, _, _)| *users);
    let fits = residual <= spread.max(1e-6) * 1.5;
    let has_coherency = usl.beta > 0.0 && usl.beta > 2.0 * deviation;
    (fits && has_coherency && usl.peak >= 1.0 && usl.peak <= last).then_some(usl)
}

/// N/X = (1 + a(N-1) + bN(N-1)) / g is linear in 1/g, a/g and b/g: least squares of relative deviations. Gives the fit, the
/// variance factor of b/g relative to 1/g, and the sum of squares.
fn solve(points: &[(f64, f64, f64)]) -> Option<(Usl, f64, f64)> {
    let rows: Vec<([f64; 3], f64)> = points
        .iter()
        .map(|(users, rate, runs)| {
            let y = users / rate;
            let weight = runs.sqrt() / y;
            ([weight, (users - 1.0) * weight, users * (users - 1.0) * weight], y * weight)
        })
        .collect();
    let mut normal = [[0.0; 3]; 3];
    let mut right = [0.0; 3];
    for (row, y) in &rows {
        for i in 0..3 {
            right[i] += row[i] * y;
            for j in 0..3 {
                normal[i][j] += row[i] * row[j];
            }
        }
    }
    let inverse = inverse(normal)?;
    let theta: Vec<f64> = inverse.iter().map(|row| row.iter().zip(&right).map(|(a, b)| a * b).sum()).collect();
    let squares =
        rows.iter().map(|(row, y)| (y - row.iter().zip(&theta).map(|(a, b)| a * b).sum::<f64>()).powi(2)).sum::<f64>();
    let (gamma, alpha, beta) = (1.0 / theta[0], theta[1] / theta[0], theta[2] / theta[0]);
    if !(gamma.is_finite() && gamma > 0.0 && beta.is_finite()) {
        return None;
    }
    let peak = ((1.0 - alpha) / beta).max(0.0).sqrt();
    Some((Usl { gamma, alpha, beta, peak }, inverse[2][2] * gamma * gamma, squares))
}

/// By cofactors, after scaling: the columns differ by orders of magnitude.
fn inverse(m: [[f64; 3]; 3]) -> Option<[[f64; 3]; 3]> {
    let scale: Vec<f64> = (0..3).map(|i| m[i][i].sqrt()).collect();
    if scale.iter().any(|value| !value.is_finite() || *value <= 0.0) {
        return None;
    }
    let s = |i: usize, j: usize| m[i][j] / scale[i] / scale[j];
    let cofactor = |i: usize, j: usize| {
        let (a, b) = ((i + 1) % 3, (i + 2) % 3);
        let (c, d) = ((j + 1) % 3, (j + 2) % 3);
        s(a, c) * s(b, d) - s(a, d) * s(b, c)
    };
    let determinant: f64 = (0..3).map(|j| s(0, j) * cofactor(0, j)).sum();
    if determinant.abs() < 1e-14 {
        return None;
    }
    let mut result = [[0.0; 3]; 3];
    for (i, row) in result.iter_mut().enumerate() {
        for (j, cell) in row.iter_mut().enumerate() {
            *cell = cofactor(j, i) / determinant / scale[i] / scale[j];
        }
    }
    Some(result)
}
