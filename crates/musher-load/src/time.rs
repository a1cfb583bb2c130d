//! Times as people type them.

/// Seconds of `500ms`, `1.5s`, `2m`, `1h`; a number alone is seconds.
#[must_use]
pub fn seconds(text: &str) -> Option<f64> {
    let text = text.trim();
    let digits = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor = match unit.trim().to_ascii_lowercase().as_str() {
        "us" | "µs" => 1e-6,
        "ms" => 1e-3,
        "s" | "" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        _ => return None,
    };
    let seconds = number.parse::<f64>().ok()? * factor;
    (seconds > 0.0 && seconds < 365.0 * 86_400.0).then_some(seconds)
}

#[cfg(test)]
mod tests {
    use super::seconds;

    #[test]
    fn times_have_units() {
        assert_eq!(seconds("500ms"), Some(0.5));
        assert_eq!(seconds("2S"), Some(2.0));
        assert_eq!(seconds("1.5m"), Some(90.0));
        assert_eq!((seconds("0"), seconds("x"), seconds("-1s"), seconds("1 d")), (None, None, None, None));
    }
}
