//! wrk, and what it says.

use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::tools::Tools;

/// What wrk measured.
pub(super) struct Measured {
    pub(super) requests: f64,
    pub(super) per_second: f64,
    /// The line about errors, when there were any.
    pub(super) errors: Option<String>,
}

/// `wrk -t1 -c64 -d<seconds>s` with these arguments more. `meanwhile` runs while it does.
pub(super) fn run(
    tools: &Tools,
    port: u16,
    seconds: u32,
    more: &[&str],
    meanwhile: impl FnOnce() -> Result<()>,
) -> Result<Measured> {
    let mut command = Command::new(&tools.wrk);
    command
        .args(["-t1", "-c64", &format!("-d{seconds}s")])
        .args(more)
        .arg(format!("http://127.0.0.1:{port}/"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    let child = command.spawn()?;
    let meanwhile = meanwhile();
    let output = child.wait_with_output()?;
    ensure!(output.status.success(), "{command:?} ended with {}", output.status);
    meanwhile?;
    let text = String::from_utf8_lossy(&output.stdout);
    let number = |line: &str| line.split_whitespace().next().and_then(|word| word.parse().ok());
    let requests = text.lines().find(|line| line.contains(" requests in ")).and_then(number);
    let per_second = text.lines().find_map(|line| number(line.strip_prefix("Requests/sec:")?));
    let error = |line: &&str| line.contains("Socket errors") || line.contains("Non-2xx");
    Ok(Measured {
        requests: requests.with_context(|| format!("what does wrk mean by {text}"))?,
        per_second: per_second.with_context(|| format!("what does wrk mean by {text}"))?,
        errors: text.lines().find(error).map(|line| line.trim().to_owned()),
    })
}
