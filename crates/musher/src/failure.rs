//! Why a command failed: its exit code, its message, and what to do about it.

use std::fmt::Write;
use std::io;
use std::process::ExitCode;

use musher_api::client::ClientError;
use musher_api::{ApiError, Death, ErrorCode};
use musher_supervisor::home::HomeError;

use crate::config::ConfigError;
use crate::exit_codes;
use crate::output::{error_text, sanitize, units};

/// How many lines of a dead worker's standard error are shown.
const LAST_LINES: usize = 30;

/// Why a command failed.
#[derive(Debug)]
pub(crate) struct Failure {
    code: u8,
    /// Empty: nothing more is to be said.
    message: String,
    hint: Option<String>,
}

impl Failure {
    /// A failure with a code of [`exit_codes`].
    pub(crate) fn new(code: u8, message: impl Into<String>) -> Failure {
        Failure { code, message: message.into(), hint: None }
    }

    /// The same with advice.
    #[must_use]
    pub(crate) fn with_hint(mut self, hint: impl Into<String>) -> Failure {
        self.hint = Some(hint.into());
        self
    }

    /// The surroundings do not allow it.
    pub(crate) fn environment(message: impl Into<String>) -> Failure {
        Failure::new(exit_codes::ENVIRONMENT, message)
    }

    /// A failure of which everything has been said already.
    pub(crate) fn told(code: u8) -> Failure {
        Failure::new(code, "")
    }

    /// Its exit code.
    pub(crate) fn code(&self) -> u8 {
        self.code
    }

    /// What is wrong, and what to do about it.
    pub(crate) fn text(&self) -> String {
        match &self.hint {
            Some(hint) => format!("{}\n{hint}", self.message),
            None => self.message.clone(),
        }
    }

    /// For programs: the name of its exit code, what is wrong, and what to do about it.
    pub(crate) fn record(&self) -> serde_json::Value {
        let code = exit_codes::NAMES.iter().find(|(code, _)| *code == self.code).map_or("FAILED", |(_, name)| name);
        serde_json::json!({ "code": code, "message": self.message, "hint": self.hint })
    }

    /// Prints it, and gives the exit code.
    pub(crate) fn tell(&self) -> ExitCode {
        if !self.message.is_empty() {
            error_text(&self.message, self.hint.as_deref());
        }
        ExitCode::from(self.code)
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Failure {
        let text = error.to_string();
        match error {
            ClientError::NotRunning { socket } => {
                let home = socket.parent().unwrap_or(&socket).display().to_string();
                Failure::new(exit_codes::UNREACHABLE, format!("no supervisor is running in {home}"))
                    .with_hint("`musher start` starts one with your program")
            }
            ClientError::Denied { .. } => Failure::environment(text).with_hint(
                "it belongs to another user: run musher as that user, or set MUSHER_HOME to a home of your own",
            ),
            ClientError::Socket { .. } => {
                Failure::environment(text).with_hint("set MUSHER_HOME to a shorter path that you may use")
            }
            ClientError::Lost { .. } => Failure::new(exit_codes::UNREACHABLE, text)
                .with_hint("musher.log in the home tells what the supervisor is doing"),
            ClientError::Incompatible { .. } => Failure::new(exit_codes::UNREACHABLE, text)
                .with_hint("use the executable that started it; `musher status` tells its version"),
            ClientError::Protocol(_) => Failure::new(exit_codes::UNREACHABLE, text),
            ClientError::Api(error) => error.into(),
        }
    }
}

impl From<ApiError> for Failure {
    fn from(error: ApiError) -> Failure {
        let code = match error.code {
            ErrorCode::BadRequest => exit_codes::USAGE,
            ErrorCode::InvalidSpec | ErrorCode::TooLarge => exit_codes::BAD_SPEC,
            ErrorCode::NotFound => exit_codes::NO_SUCH_APP,
            ErrorCode::Denied => exit_codes::ENVIRONMENT,
            ErrorCode::UnknownRoute
            | ErrorCode::MethodNotAllowed
            | ErrorCode::RequestTimeout
            | ErrorCode::TooMany
            | ErrorCode::Unavailable
            | ErrorCode::Internal => exit_codes::UNREACHABLE,
            ErrorCode::Conflict
            | ErrorCode::Busy
            | ErrorCode::Superseded
            | ErrorCode::WorkerDied
            | ErrorCode::NotReady
            | ErrorCode::SpawnFailed
            | ErrorCode::BindFailed
            | ErrorCode::CanaryFailed
            | ErrorCode::GaveUp
            | ErrorCode::DependencyFailed
            | ErrorCode::HookFailed
            | ErrorCode::CannotTakeOver
            | ErrorCode::Other => exit_codes::FAILED,
        };
        Failure { code, message: sanitize(&error.message), hint: error.hint.as_deref().map(sanitize) }
    }
}

impl From<HomeError> for Failure {
    fn from(error: HomeError) -> Failure {
        let code = match error {
            HomeError::Spawn(_) | HomeError::NoAnswer { .. } => exit_codes::UNREACHABLE,
            _ => exit_codes::ENVIRONMENT,
        };
        Failure::new(code, error.to_string()).with_hint(error.hint())
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Failure {
        Failure::new(exit_codes::BAD_SPEC, sanitize(&error.to_string()))
    }
}

/// Output that cannot be written. A closed pipe (`musher list | head -1`) is the reader's wish, not a failure.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        if error.kind() == io::ErrorKind::BrokenPipe {
            Failure::told(exit_codes::OK)
        } else {
            Failure::environment(format!("cannot write the output: {error}"))
        }
    }
}

/// Lines of a stack that are shown.
const STACK_LINES: usize = 6;

/// The story of a death, for people: how, when, and its last words.
pub(crate) fn death_story(death: &Death) -> String {
    let mut story = format!("slot {}", death.slot);
    if let Some(pid) = death.pid {
        let _ = write!(story, ", pid {pid}");
    }
    let _ = write!(story, ": {} after {}", sanitize(&death.status), units::precise(death.uptime_ms));
    if death.memory_bytes > 0 {
        let _ = write!(story, ", {} of memory at most", units::bytes(death.memory_bytes));
    }
    for line in circumstances(death) {
        let _ = write!(story, "\n  {}", sanitize(&line));
    }
    let skipped = death.stderr.len().saturating_sub(LAST_LINES);
    if death.stderr.is_empty() {
        story.push_str("\n  it wrote nothing to stderr");
    } else {
        story.push_str("\n  its last words on stderr:");
        for line in &death.stderr[skipped..] {
            let _ = write!(story, "\n    {}", sanitize(line));
        }
    }
    story
}

/// What a drain did not finish in time.
pub(crate) fn cut_off(death: &Death) -> Option<String> {
    let connections = || units::count(death.cut, "connection");
    (death.cut > 0).then(|| format!("{} cut, as the drain's limit was reached", connections()))
}

/// What else is known of a death.
fn circumstances(death: &Death) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(stack) = &death.uncaught {
        let mut stack = stack.lines();
        lines.push(format!("uncaught: {}", stack.next().unwrap_or_default()));
        lines.extend(stack.take(STACK_LINES).map(|line| format!("  {}", line.trim())));
    }
    lines.extend(cut_off(death));
    if let Some(reason) = &death.unfit {
        lines.push(format!("replaced: {reason}"));
    }
    if let Some(memory) = &death.out_of_memory {
        let degree = if memory.certain { "out of memory" } else { "likely out of memory" };
        lines.push(format!("{degree}: {}", memory.because));
    }
    match (&death.core_file, death.core_dumped) {
        (Some(file), _) => lines.push(format!("core file: {file}")),
        (None, true) => lines.push("core file: not found where /proc/sys/kernel/core_pattern says".to_owned()),
        (None, false) => {}
    }
    if let Some(last) = &death.last_memory {
        let ago = units::precise(last.age_ms);
        lines.push(format!("memory when last looked at, {ago} before: {}", units::bytes(last.bytes)));
    }
    if let Some(said) = &death.said {
        lines.push(format!("it last said: {said}"));
    }
    if death.restarts > 0 {
        lines.push(format!("restarted {} before", units::count(death.restarts, "time")));
    }
    lines
}

/// Advice that the last words of a program suggest.
pub(crate) fn advice(death: &Death) -> Option<&'static str> {
    let said = |words: &[&str]| death.stderr.iter().any(|line| words.iter().any(|word| line.contains(word)));
    if said(&["EADDRINUSE", "address already in use", "Address already in use"]) {
        Some("another program or app has that port: `ss -ltnp` tells which")
    } else if said(&["MODULE_NOT_FOUND", "ERR_MODULE_NOT_FOUND", "ModuleNotFoundError"]) {
        Some("a module is missing: install the program's dependencies, and look at its working directory (--cwd)")
    } else if said(&["EACCES", "Permission denied"]) {
        Some("it lacks a permission; ports below 1024 need one too")
    } else if death.out_of_memory.is_some() {
        Some("give it more memory, or less to do; limits.memory replaces a worker before it gets so far")
    } else {
        None
    }
}

/// A name as it is typed in a shell.
pub(crate) fn shell_word(name: &str) -> String {
    if name.contains(' ') { format!("'{name}'") } else { name.to_owned() }
}
