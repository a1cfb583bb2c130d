//! Small languages inside values: durations, sizes, command lines, addresses of probes, variables.

use std::net::SocketAddr;
use std::time::Duration;

/// A duration such as `500ms`, `2s`, `1m30s`, `1.5h`.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let bad = || format!("{text:?} is not a duration: write for example \"500ms\", \"2s\", \"1m30s\" or \"1h\"");
    let mut rest = text.trim();
    let mut total = Duration::ZERO;
    if rest.is_empty() {
        return Err(bad());
    }
    while !rest.is_empty() {
        let end = rest.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(rest.len());
        let number: f64 = rest[..end].parse().map_err(|_| bad())?;
        let unit_end = rest[end..].find(|c: char| !c.is_ascii_alphabetic()).map_or(rest.len(), |n| end + n);
        let seconds = match &rest[end..unit_end] {
            "ms" => 0.001,
            "s" => 1.0,
            "m" | "min" => 60.0,
            "h" => 3600.0,
            "d" => 86_400.0,
            "" if end == rest.len() => {
                return Err(format!("{text:?} has no unit: write \"{text}ms\", \"{text}s\" or \"{text}m\""));
            }
            _ => return Err(bad()),
        };
        let part = Duration::try_from_secs_f64(number * seconds).map_err(|_| bad())?;
        total = total.checked_add(part).ok_or_else(bad)?;
        rest = rest[unit_end..].trim_start();
    }
    // Milliseconds are as fine as a spec goes; 1.1 s must not become 1.100000001 s.
    Ok(Duration::from_millis(u64::try_from((total.as_secs_f64() * 1000.0).round() as u128).map_err(|_| bad())?))
}

/// A size such as `10MiB`, `512KiB`, `1.5GB`, `100B`, `0`.
pub(super) fn size(text: &str) -> Result<u64, String> {
    let bad = || format!("{text:?} is not a size: write for example \"10MiB\", \"512KiB\" or \"1GB\"");
    let text = text.trim();
    let end = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
    let number: f64 = text[..end].parse().map_err(|_| bad())?;
    let unit = match text[end..].trim_start() {
        "B" => 1_u64,
        "kB" | "KB" => 1000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "TB" => 1_000_000_000_000,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "TiB" => 1 << 40,
        "" if number == 0.0 => 1,
        "" => return Err(format!("{text:?} has no unit: write \"{text}B\", \"{text}KiB\" or \"{text}MiB\"")),
        letter @ ("k" | "K" | "M" | "G" | "T") => {
            let letter = letter.to_uppercase();
            let number = &text[..end];
            return Err(format!("{text:?} can mean two things: write \"{number}{letter}iB\" or \"{number}{letter}B\""));
        }
        _ => return Err(bad()),
    };
    let bytes = number * unit as f64;
    // 2^63: beyond it neither rlimits nor files go.
    if bytes >= 9.2e18 { Err(format!("{text:?} is too large a size")) } else { Ok(bytes as u64) }
}

/// The words of a command line, quoted as in a shell. What only a shell can do is refused, not passed on in silence.
pub(crate) fn words(text: &str) -> Result<Vec<String>, String> {
    let shell = |what: &str| {
        format!("{what} needs a shell, which musher does not use here: quote it, or write [\"sh\", \"-c\", \"...\"]")
    };
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            ' ' | '\t' | '\n' | '\r' => words.extend(word.take()),
            '\'' => {
                let word = word.get_or_insert_default();
                loop {
                    match chars.next() {
                        Some('\'') => break,
                        Some(c) => word.push(c),
                        None => return Err("a single quote (') is never closed".into()),
                    }
                }
            }
            '"' => {
                let word = word.get_or_insert_default();
                loop {
                    match chars.next() {
                        Some('"') => break,
                        Some('\\') => match chars.next() {
                            Some(c @ ('"' | '\\' | '$' | '`')) => word.push(c),
                            Some('\n') => {}
                            Some(c) => word.extend(['\\', c]),
                            None => return Err("a double quote (\") is never closed".into()),
                        },
                        Some(c @ ('$' | '`')) => return Err(shell(&format!("{c:?}"))),
                        Some(c) => word.push(c),
                        None => return Err("a double quote (\") is never closed".into()),
                    }
                }
            }
            '\\' => match chars.next() {
                Some('\n') => {}
                Some(c) => word.get_or_insert_default().push(c),
                None => return Err("a backslash at the end has nothing to quote".into()),
            },
            '|' | '&' | ';' | '<' | '>' | '(' | ')' | '$' | '`' => return Err(shell(&format!("{c:?}"))),
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    Ok(words)
}

/// `host:port` with a literal IP; `localhost` is 127.0.0.1 and a port alone is one of this machine.
pub(super) fn probe_address(text: &str) -> Result<SocketAddr, String> {
    let text = text.strip_prefix("tcp://").unwrap_or(text);
    if let Ok(port) = text.strip_prefix(':').unwrap_or(text).parse::<u16>() {
        return Ok(SocketAddr::from(([127, 0, 0, 1], port)));
    }
    let literal = text.strip_prefix("localhost:").map_or_else(|| text.to_owned(), |port| format!("127.0.0.1:{port}"));
    let bad = |_| format!("{text:?} is not an address: write for example \"127.0.0.1:8080\", with a literal IP");
    literal.parse().map_err(bad)
}

/// Address and path of `http://127.0.0.1:8080/health`.
pub(super) fn probe_url(text: &str) -> Result<(SocketAddr, String), String> {
    let Some(rest) = text.strip_prefix("http://") else {
        return Err(format!("{text:?} is not a URL that can be probed: write \"http://127.0.0.1:8080/health\""));
    };
    let (host, path) = rest.find(['/', '?']).map_or((rest, ""), |slash| rest.split_at(slash));
    let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
    let path = path.split('#').next().unwrap_or("/").to_owned();
    let with_port = match host.rfind(':') {
        Some(colon) if !host[colon..].contains(']') => host.to_owned(),
        _ => format!("{host}:80"),
    };
    Ok((probe_address(&with_port)?, path))
}

/// The variables of a file with a `NAME=value` on each line.
pub(super) fn env_file(text: &str) -> Result<Vec<(String, String)>, String> {
    let mut variables = Vec::new();
    for (n, line) in text.lines().enumerate() {
        let line = line.trim();
        let line = line.strip_prefix("export ").unwrap_or(line).trim_start();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let Some((name, value)) = line.split_once('=') else {
            return Err(format!("line {}: {line:?} is not NAME=value", n + 1));
        };
        let (name, value) = (name.trim(), value.trim());
        if name.is_empty() || name.contains(char::is_whitespace) {
            return Err(format!("line {}: {name:?} is not the name of a variable", n + 1));
        }
        let value = match value.chars().next() {
            Some(quote @ ('"' | '\'')) => match value[1..].find(quote) {
                Some(end) => value[1..=end].to_owned(),
                None => return Err(format!("line {}: the quote {quote} is never closed", n + 1)),
            },
            _ => value.split(" #").next().unwrap_or_default().trim_end().to_owned(),
        };
        variables.push((name.to_owned(), value));
    }
    Ok(variables)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::proptest;

    use super::{duration, env_file, probe_address, probe_url, size, words};

    #[test]
    fn durations_have_units() {
        for (text, millis) in [
            ("500ms", 500),
            ("2s", 2000),
            ("0s", 0),
            ("1.1s", 1100),
            ("1m", 60_000),
            ("1m30s", 90_000),
            ("1m 30s", 90_000),
            ("2min", 120_000),
            ("1.5h", 5_400_000),
            ("1d", 86_400_000),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for (text, part) in [
            ("5", "write \"5ms\", \"5s\""),
            ("", "not a duration"),
            ("s", "not a duration"),
            ("5 parsecs", "not a duration"),
            ("-1s", "not a duration"),
            ("1.2.3s", "not a duration"),
            ("99999999999999999999999d", "not a duration"),
        ] {
            assert!(duration(text).unwrap_err().contains(part), "{text}: {:?}", duration(text));
        }
    }

    #[test]
    fn sizes_have_units() {
        for (text, bytes) in
            [("10MiB", 10 << 20), ("1.5KiB", 1536), ("1GB", 1_000_000_000), ("7B", 7), ("0", 0), ("3 MiB", 3 << 20)]
        {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for (text, part) in [
            ("10", "no unit"),
            ("10M", "\"10MiB\" or \"10MB\""),
            ("lots", "not a size"),
            ("99999999TiB", "too large"),
            ("-1B", "not a size"),
        ] {
            assert!(size(text).unwrap_err().contains(part), "{text}: {:?}", size(text));
        }
    }

    #[test]
    fn words_are_split_as_in_a_shell() {
        for (text, expected) in [
            ("node server.js", vec!["node", "server.js"]),
            ("  a   b\tc ", vec!["a", "b", "c"]),
            ("a 'b c' \"d e\"", vec!["a", "b c", "d e"]),
            (r#"a\ b "c\"d" 'e\f' "g\h""#, vec!["a b", "c\"d", "e\\f", "g\\h"]),
            ("a'b'\"c\"", vec!["abc"]),
            ("'' \"\"", vec!["", ""]),
            ("--url 'http://x/?a=1&b=2' '$HOME'", vec!["--url", "http://x/?a=1&b=2", "$HOME"]),
            ("", vec![]),
        ] {
            assert_eq!(words(text).unwrap(), expected, "{text}");
        }
        for text in ["a | b", "a && b", "a > b", "echo $HOME", "echo \"$HOME\"", "a;b", "`x`", "'a", "\"a", "a\\"] {
            assert!(words(text).is_err(), "{text}");
        }
    }

    #[test]
    fn probes_have_literal_addresses() {
        assert_eq!(probe_address("8080").unwrap().to_string(), "127.0.0.1:8080");
        assert_eq!(probe_address("localhost:80").unwrap().to_string(), "127.0.0.1:80");
        assert_eq!(probe_address("[::1]:80").unwrap().to_string(), "[::1]:80");
        assert!(probe_address("example.org:80").unwrap_err().contains("literal IP"));
        let url = |text| probe_url(text).map(|(address, path)| (address.to_string(), path));
        assert_eq!(url("http://127.0.0.1:8080/health?x=1#y"), Ok(("127.0.0.1:8080".into(), "/health?x=1".into())));
        assert_eq!(url("http://[::1]"), Ok(("[::1]:80".into(), "/".into())));
        assert_eq!(url("http://localhost:1?a"), Ok(("127.0.0.1:1".into(), "/?a".into())));
        assert!(url("https://127.0.0.1/").is_err());
        assert!(url("http://example.org/").is_err());
    }

    #[test]
    fn files_of_variables_are_read_line_by_line() {
        let text = "# a comment\nA=1\nexport B = 'x # y'\n\nC=\"z\" # note\nD=a b # note\nE=\nF=a=b\n";
        let expected = [("A", "1"), ("B", "x # y"), ("C", "z"), ("D", "a b"), ("E", ""), ("F", "a=b")];
        let read = env_file(text).unwrap();
        assert_eq!(read, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
        assert!(env_file("A=1\nB\n").unwrap_err().starts_with("line 2"));
        assert!(env_file("A='1\n").unwrap_err().contains("never closed"));
    }

    proptest! {
        #[test]
        fn no_text_makes_them_panic(text in ".{0,40}") {
            let _ = (duration(&text), size(&text), words(&text), probe_address(&text), probe_url(&text), env_file(&text));
        }
    }
}
