//! Running other programs in the repository, with every command shown.

use std::ffi::OsString;
use std::io::{BufRead, BufReader, IsTerminal};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What became of a task: nothing to say, or why it failed.
pub(crate) type Task = Result<(), String>;

/// The repository: where cargo says this is now, for it may have been moved since it was built.
pub(crate) fn root() -> PathBuf {
    let manifest = std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    Path::new(&manifest).parent().unwrap_or(Path::new(".")).to_path_buf()
}

/// Where cargo builds.
pub(crate) fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), |directory| root().join(directory))
}

/// Whether a program is in PATH.
pub(crate) fn has(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|directory| directory.join(program).is_file())
}

/// A program to run.
#[derive(Debug)]
pub(crate) struct Run {
    program: OsString,
    args: Vec<OsString>,
    variables: Vec<(&'static str, OsString)>,
    directory: PathBuf,
}

impl Run {
    pub(crate) fn new(program: impl Into<OsString>) -> Run {
        Run { program: program.into(), args: Vec::new(), variables: Vec::new(), directory: root() }
    }

    /// The cargo that runs this.
    pub(crate) fn cargo<const N: usize>(args: [&str; N]) -> Run {
        Run::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())).args(args)
    }

    pub(crate) fn args(mut self, args: impl IntoIterator<Item = impl Into<OsString>>) -> Run {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    pub(crate) fn env(mut self, name: &'static str, value: impl Into<OsString>) -> Run {
        self.variables.push((name, value.into()));
        self
    }

    pub(crate) fn within(mut self, directory: impl Into<PathBuf>) -> Run {
        self.directory = directory.into();
        self
    }

    /// Runs it to its end.
    #[expect(clippy::print_stderr, reason = "the command is shown")]
    pub(crate) fn go(&self) -> Task {
        eprintln!("$ {}", self.shown());
        let status = self.command().status().map_err(|error| self.cannot(&error))?;
        if status.success() { Ok(()) } else { Err(format!("`{}` failed: {status}", self.shown())) }
    }

    /// Runs it to its end without a word; whether it succeeded.
    pub(crate) fn quietly(&self) -> bool {
        self.command().stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
    }

    /// Runs it to its end and shows every line of both its outputs to `look` on the way.
    #[expect(clippy::print_stderr, reason = "the lines are passed on")]
    pub(crate) fn watched(&self, look: &mut dyn FnMut(&str)) -> Task {
        eprintln!("$ {}", self.shown());
        let (reader, writer) = std::io::pipe().map_err(|error| error.to_string())?;
        let copy = writer.try_clone().map_err(|error| error.to_string())?;
        let mut command = self.command();
        command.stdout(copy).stderr(writer);
        if std::io::stderr().is_terminal() {
            command.env("CARGO_TERM_COLOR", "always");
        }
        let mut child = command.spawn().map_err(|error| self.cannot(&error))?;
        // The command holds the pipe's other ends: without this the pipe never ends.
        drop(command);
        for line in BufReader::new(reader).split(b'\n') {
            let line = line.map_err(|error| error.to_string())?;
            let line = String::from_utf8_lossy(&line);
            eprintln!("{line}");
            look(&plain(&line));
        }
        let status = child.wait().map_err(|error| error.to_string())?;
        if status.success() { Ok(()) } else { Err(format!("`{}` failed: {status}", self.shown())) }
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.args(&self.args).current_dir(&self.directory);
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command
    }

    fn shown(&self) -> String {
        let program = Path::new(&self.program).file_name().unwrap_or(&self.program);
        let words = std::iter::once(program).chain(self.args.iter().map(AsRef::as_ref));
        let words: Vec<String> = words.map(|word| quoted(&word.to_string_lossy())).collect();
        words.join(" ")
    }

    fn cannot(&self, error: &std::io::Error) -> String {
        format!("cannot run {}: {error}", self.program.to_string_lossy())
    }
}

fn quoted(word: &str) -> String {
    if word.contains([' ', '*', '(', '|', '&']) { format!("'{word}'") } else { word.to_owned() }
}

/// A line without colours.
fn plain(line: &str) -> String {
    let mut text = String::new();
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        if c == '\u{1b}' {
            chars.by_ref().find(char::is_ascii_alphabetic);
        } else {
            text.push(c);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::plain;

    #[test]
    fn colours_are_taken_off() {
        assert_eq!(plain("\u{1b}[32;1m     Summary\u{1b}[0m [1s]"), "     Summary [1s]");
    }
}
