//! Where the workers' output goes, and for how long it is kept.

use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{DatePattern, millis_or_none};

/// The longest address and the longest pattern that are taken.
const LONGEST: usize = 1024;
/// The longest time for which anything is kept.
const AGES: Duration = Duration::from_secs(10 * 366 * 24 * 3600);
/// The shortest age at which files are rotated.
const SHORTEST: Duration = Duration::from_secs(1);

/// Where the workers' output goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Logs {
    /// File of standard output; none: `logs/<app>/out.log` in the home.
    #[serde(default)]
    pub out: Option<PathBuf>,
    /// File of standard error; none: `logs/<app>/err.log` in the home.
    #[serde(default)]
    pub err: Option<PathBuf>,
    /// A file that gets both as well, in the order of time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub combined: Option<PathBuf>,
    /// Each slot has files of its own: `-<slot>` stands before the extension of each.
    #[serde(default, skip_serializing_if = "is_false")]
    pub per_worker: bool,
    /// Form of a line.
    #[serde(default)]
    pub format: LogFormat,
    /// How times are written, in the tokens of day.js: before each raw line, and in lines of JSON. None: RFC 3339, where the form has
    /// a time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub date_format: Option<String>,
    /// Rotate when a file is larger, in bytes; 0: never.
    #[serde(default = "default_log_size")]
    pub max_bytes: u64,
    /// Rotate when a file is older.
    #[serde(default, with = "millis_or_none", rename = "max_age_ms", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<u64>")]
    pub max_age: Option<Duration>,
    /// How many rotated files are kept, 0 to 1000.
    #[serde(default = "default_log_keep")]
    pub keep: u32,
    /// Rotated files that are older are deleted.
    #[serde(default, with = "millis_or_none", rename = "keep_for_ms", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<u64>")]
    pub keep_for: Option<Duration>,
    /// How much all log files of the app may have together, in bytes: the oldest rotated ones are deleted. 0: no limit.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub max_total_bytes: u64,
    /// Rotated files are compressed (gzip).
    #[serde(default, skip_serializing_if = "is_false")]
    pub compress: bool,
    /// More lines than this in a second are dropped, and counted. None: nothing is dropped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// The socket of journald that gets the lines as well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub journald: Option<PathBuf>,
    /// Where OTLP over HTTP is spoken that gets the lines as well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub otlp: Option<String>,
}

/// Form of a line in a log file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum LogFormat {
    /// As the worker wrote it.
    #[default]
    Raw,
    /// RFC 3339 time in UTC with milliseconds, a space, the line.
    Timestamp,
    /// One JSON object a line: time, app, slot, pid, stream, message.
    Json,
    /// The app and the slot, a bar, the line: for several apps in one place (`musher run`).
    Named,
    /// One JSON object a line, with PM2's members: message, timestamp, type, process_id, app_name.
    Pm2Json,
}

impl Default for Logs {
    fn default() -> Self {
        Logs {
            out: None,
            err: None,
            combined: None,
            per_worker: false,
            format: LogFormat::Raw,
            date_format: None,
            max_bytes: default_log_size(),
            max_age: None,
            keep: default_log_keep(),
            keep_for: None,
            max_total_bytes: 0,
            compress: false,
            limit: None,
            journald: None,
            otlp: None,
        }
    }
}

impl Logs {
    /// Tells what is wrong: the key, and why.
    pub(super) fn check(&self, fault: &mut impl FnMut(&'static str, String)) {
        let files = [
            ("logs.out", &self.out),
            ("logs.err", &self.err),
            ("logs.combined", &self.combined),
            ("logs.journald", &self.journald),
        ];
        for (field, path) in files {
            if path.as_ref().is_some_and(|path| !path.is_absolute()) {
                fault(field, "not an absolute path".into());
            }
        }
        if self.combined.is_some() && (self.combined == self.out || self.combined == self.err) {
            fault("logs.combined", "is the file of one output already: each of its lines would be there twice".into());
        }
        if self.keep > 1000 {
            fault("logs.keep", format!("{} is out of range: 0 to 1000", self.keep));
        }
        for (field, age) in [("logs.max_age", self.max_age), ("logs.keep_for", self.keep_for)] {
            if age.is_some_and(|age| !(SHORTEST..=AGES).contains(&age)) {
                fault(field, "out of range: 1s to 10 years".into());
            }
        }
        if self.max_total_bytes > 0 && self.max_bytes == 0 {
            fault("logs.max_total", "a file that is never rotated has no limit: it needs a max_size".into());
        }
        if self.limit == Some(0) {
            fault("logs.limit", "0 lines a second would be no logs at all: for that write out = \"/dev/null\"".into());
        }
        if let Some(pattern) = &self.date_format
            && let Err(why) = DatePattern::parse(pattern)
        {
            fault("logs.date_format", why);
        }
        if let Some(url) = &self.otlp
            && (url.len() > LONGEST || !["http://", "https://"].iter().any(|scheme| url.starts_with(scheme)))
        {
            fault("logs.otlp", "expected an address such as \"http://localhost:4318\"".into());
        }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives references")]
fn is_false(value: &bool) -> bool {
    !value
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives references")]
fn is_zero(value: &u64) -> bool {
    *value == 0
}

fn default_log_size() -> u64 {
    10 << 20
}

fn default_log_keep() -> u32 {
    5
}
