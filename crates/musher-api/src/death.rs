//! How a worker ended, in one place.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How a run ended: what `musher describe` and the event `died` tell.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Death {
    /// The run.
    pub run: u64,
    /// Its slot.
    pub slot: u32,
    /// Its process id; null when it could not even be executed.
    pub pid: Option<u32>,
    /// In words: `exit code 1`, `signal 9 (SIGKILL)`, `could not be executed: ...`.
    pub status: String,
    /// The exit code, when it ended by itself.
    #[serde(default)]
    pub code: Option<i32>,
    /// The signal's number, when one ended it.
    #[serde(default)]
    pub signal: Option<i32>,
    /// The signal's name: `SIGSEGV`.
    #[serde(default)]
    pub signal_name: Option<String>,
    /// Whether it left a core file.
    #[serde(default)]
    pub core_dumped: bool,
    /// Where the core file is, or what has it; null when that could not be found out.
    #[serde(default)]
    pub core_file: Option<String>,
    /// That it died of want of memory, when there is reason to believe it.
    #[serde(default)]
    pub out_of_memory: Option<OutOfMemory>,
    /// The beginning of what its program threw that nobody caught, with the stack, as the worker told it: control
    /// characters included.
    #[serde(default)]
    pub uncaught: Option<String>,
    /// How many connections it closed because the limit of its drain was reached.
    #[serde(default)]
    pub cut: u32,
    /// Why musher replaced it, when it did that because the run was not fit to serve.
    #[serde(default)]
    pub unfit: Option<String>,
    /// Whether musher had asked it to end.
    pub asked: bool,
    /// Whether it had proved ready.
    pub was_ready: bool,
    /// When it ended, in milliseconds since 1970.
    pub time_ms: u64,
    /// How long it lived, in milliseconds.
    pub uptime_ms: u64,
    /// The most resident memory that its process had, in bytes. Of a run that an earlier supervisor had started: what
    /// it had when last looked at, 0 when it never was.
    pub memory_bytes: u64,
    /// The memory of it and its descendants when they were last looked at; null when they never were: an idle
    /// supervisor looks only where a limit is set, or when somebody asks.
    #[serde(default)]
    pub last_memory: Option<LastMemory>,
    /// How often its slot had been restarted before.
    #[serde(default)]
    pub restarts: u32,
    /// What it last said of itself with `STATUS=` (sd_notify(3)).
    #[serde(default)]
    pub said: Option<String>,
    /// The last lines of its standard error, as it wrote them: control characters included.
    #[serde(default)]
    pub stderr: Vec<String>,
}

/// Why somebody may believe that a process died of want of memory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OutOfMemory {
    /// Whether the kernel says so. Otherwise it is only likely.
    pub certain: bool,
    /// What tells.
    pub because: String,
}

/// Memory at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LastMemory {
    /// Bytes.
    pub bytes: u64,
    /// How long before the end that was, in milliseconds.
    pub age_ms: u64,
}
