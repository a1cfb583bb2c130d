//! `.siegerc`: siege's defaults. Keys that mean nothing here are named, so that nobody relies on them.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Fault;
use super::variables::{Variables, assignment};

/// What a `.siegerc` says; none: nothing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Defaults {
    /// `concurrent`
    pub concurrent: Option<u32>,
    /// `reps`: a number, or `once`
    pub reps: Option<String>,
    /// `time`
    pub time: Option<Duration>,
    /// `delay`
    pub delay: Option<Duration>,
    /// `timeout`
    pub timeout: Option<Duration>,
    /// `failures`
    pub failures: Option<u64>,
    /// `internet`
    pub internet: Option<bool>,
    /// `benchmark`
    pub benchmark: Option<bool>,
    /// `verbose`
    pub verbose: Option<bool>,
    /// `quiet`
    pub quiet: Option<bool>,
    /// `json_output`
    pub json: Option<bool>,
    /// `connection`: whether connections are kept
    pub keep_alive: Option<bool>,
    /// `cookies`
    pub cookies: Option<bool>,
    /// `follow-location`
    pub follow: Option<bool>,
    /// `file`
    pub file: Option<String>,
    /// `url`
    pub url: Option<String>,
    /// `user-agent`
    pub agent: Option<String>,
    /// `accept-encoding`
    pub accept_encoding: Option<String>,
    /// `login`: `user:password`, a realm after it is left out
    pub login: Option<String>,
    /// `proxy-host`
    pub proxy_host: Option<String>,
    /// `proxy-port`
    pub proxy_port: Option<u16>,
    /// `proxy-login`
    pub proxy_login: Option<String>,
    /// `ssl-cert`
    pub certificate: Option<String>,
    /// `ssl-key`
    pub key: Option<String>,
    /// Keys of siege without a meaning here, and keys that siege does not have either.
    pub unused: Vec<String>,
}

/// Keys whose absence of meaning needs no word: they say how siege writes its own log and screen.
const SILENT: [&str; 14] = [
    "color",
    "show-logfile",
    "logging",
    "logfile",
    "csv",
    "timestamp",
    "fullurl",
    "display-id",
    "limit",
    "cache",
    "gmethod",
    "protocol",
    "chunked",
    "zero-data-ok",
];

/// Reads one.
///
/// # Errors
///
/// Every line that is wrong.
pub fn parse(text: &str, environment: &dyn Fn(&str) -> Option<String>) -> Result<Defaults, Vec<Fault>> {
    let mut variables = Variables { own: BTreeMap::new(), environment };
    let (mut defaults, mut faults) = (Defaults::default(), Vec::new());
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let read = match line.split_once('=') {
            None => Err("not of the form NAME = VALUE".to_owned()),
            Some((key, value)) => variables.expand(value.trim()).and_then(|value| {
                let known = defaults.set(key.trim(), &value)?;
                match (known, assignment(line)) {
                    (false, Some((name, _))) if !name.chars().any(char::is_lowercase) => {
                        variables.own.insert(name.to_owned(), value);
                    }
                    (false, _) => defaults.unused.push(key.trim().to_owned()),
                    (true, _) => {}
                }
                Ok(())
            }),
        };
        if let Err(what) = read {
            faults.push(Fault { line: number + 1, what });
        }
    }
    if faults.is_empty() { Ok(defaults) } else { Err(faults) }
}

/// siege's own form of a time: a number and S, M or H; without a letter, minutes. Also milliseconds.
#[must_use]
pub fn siege_time(text: &str) -> Option<Duration> {
    let text = text.trim();
    if let Some(number) = text.strip_suffix("ms") {
        let time = number.trim().parse::<u64>().ok()?;
        return (1..=86_400_000).contains(&time).then(|| Duration::from_millis(time));
    }
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let seconds = text[..digits].parse::<u64>().ok()?.checked_mul(match text[digits..].trim() {
        "S" | "s" => 1,
        "" | "M" | "m" => 60,
        "H" | "h" => 3600,
        _ => return None,
    })?;
    (1..=365 * 86_400).contains(&seconds).then(|| Duration::from_secs(seconds))
}

impl Defaults {
    /// Takes a key; whether it means something here.
    fn set(&mut self, key: &str, value: &str) -> Result<bool, String> {
        let wrong = |what: &str| format!("{key} = {value:?} is no {what}");
        let number = || value.parse::<u64>().map_err(|_| wrong("number"));
        let switch = || match value.to_ascii_lowercase().as_str() {
            "true" | "on" | "yes" => Ok(true),
            "false" | "off" | "no" => Ok(false),
            _ => Err(wrong("true or false")),
        };
        let seconds = || {
            let seconds = value.parse::<f64>().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
            seconds.ok_or_else(|| wrong("number of seconds"))
        };
        match key {
            "concurrent" => self.concurrent = Some(u32::try_from(number()?).map_err(|_| wrong("number of users"))?),
            "reps" => self.reps = Some(value.to_owned()),
            "time" => self.time = Some(siege_time(value).ok_or_else(|| wrong("time as siege has it: 30S, 2M, 1H"))?),
            "delay" => self.delay = Some(seconds()?),
            "timeout" => self.timeout = Some(seconds()?),
            "failures" => self.failures = Some(number()?),
            "internet" => self.internet = Some(switch()?),
            "benchmark" => self.benchmark = Some(switch()?),
            "verbose" => self.verbose = Some(switch()?),
            "quiet" => self.quiet = Some(switch()?),
            "json_output" => self.json = Some(switch()?),
            "connection" => self.keep_alive = Some(value.eq_ignore_ascii_case("keep-alive")),
            "cookies" => self.cookies = Some(switch()?),
            "follow-location" => self.follow = Some(switch()?),
            "nofollow" => {}
            "file" => self.file = Some(value.to_owned()),
            "url" => self.url = Some(value.to_owned()),
            "user-agent" => self.agent = Some(value.trim_matches('"').to_owned()),
            "accept-encoding" => self.accept_encoding = Some(value.to_owned()),
            "login" => self.login = Some(value.splitn(3, ':').take(2).collect::<Vec<_>>().join(":")),
            "proxy-host" => self.proxy_host = Some(value.to_owned()),
            "proxy-port" => {
                self.proxy_port = Some(u16::try_from(number()?).map_err(|_| wrong("port"))?);
            }
            "proxy-login" => self.proxy_login = Some(value.splitn(3, ':').take(2).collect::<Vec<_>>().join(":")),
            "ssl-cert" => self.certificate = Some(value.to_owned()),
            "ssl-key" => self.key = Some(value.to_owned()),
            silent if SILENT.contains(&silent) => {}
            _ => return Ok(false),
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::{parse, siege_time};

    #[test]
    fn a_siegerc_gives_defaults() {
        let text = "\
# of somebody
verbose = false
connection = keep-alive
concurrent = 500
time = 2M
delay = 0.5
internet = on
login = me:secret:realm
parser = true
logfile = $(HOME)/siege.log
user-agent = \"JoeDog\"
";
        let home = |name: &str| (name == "HOME").then(|| "/root".to_owned());
        let defaults = parse(text, &home).unwrap();
        assert_eq!((defaults.concurrent, defaults.time), (Some(500), Some(Duration::from_secs(120))));
        assert_eq!((defaults.keep_alive, defaults.internet, defaults.verbose), (Some(true), Some(true), Some(false)));
        assert_eq!((defaults.login.as_deref(), defaults.agent.as_deref()), (Some("me:secret"), Some("JoeDog")));
        assert_eq!(defaults.delay, Some(Duration::from_millis(500)));
        assert_eq!(defaults.unused, ["parser"]);
    }

    #[test]
    fn wrong_lines_are_told() {
        let faults = parse("concurrent = many\nno sense\ncookies = perhaps", &|_| None).unwrap_err();
        assert_eq!(faults.iter().map(|fault| fault.line).collect::<Vec<_>>(), [1, 2, 3]);
    }

    #[test]
    fn times_are_sieges() {
        for (text, seconds) in [("30S", 30), ("2m", 120), ("1H", 3600), ("5", 300), ("10 s", 10), ("2000ms", 2)] {
            assert_eq!(siege_time(text), Some(Duration::from_secs(seconds)), "{text}");
        }
        for wrong in ["", "S", "0", "1d", "-1S", "99999999999999999999H"] {
            assert_eq!(siege_time(wrong), None, "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn no_file_makes_it_stumble(text in "([a-z-]{0,12} ?=? ?\\PC{0,20}\n){0,6}") {
            let _ = parse(&text, &|_| None);
        }
    }
}
