//! The exit codes of `musher`, with one meaning each. `docs/reference/exit-codes.md` explains them; a test keeps the
//! two together.

/// What was asked for is true now.
pub(crate) const OK: u8 = 0;
/// The operation was tried and failed: a worker died at its start, a reload was given up.
pub(crate) const FAILED: u8 = 1;
/// The command line is wrong.
pub(crate) const USAGE: u8 = 2;
/// The process file, or the app that the command line describes, is wrong.
pub(crate) const BAD_SPEC: u8 = 3;
/// There is no app of that name or id.
pub(crate) const NO_SUCH_APP: u8 = 4;
/// No supervisor runs, or it does not answer, or it could not be started.
pub(crate) const UNREACHABLE: u8 = 5;
/// The time given by `--timeout` ran out; the operation goes on.
pub(crate) const TIMEOUT: u8 = 6;
/// The surroundings do not allow it: the home is not writable, its path is too long, a permission is missing.
pub(crate) const ENVIRONMENT: u8 = 7;

/// The names of failures, for programs.
pub(crate) const NAMES: [(u8, &str); 7] = [
    (FAILED, "FAILED"),
    (USAGE, "USAGE"),
    (BAD_SPEC, "BAD_SPEC"),
    (NO_SUCH_APP, "NO_SUCH_APP"),
    (UNREACHABLE, "UNREACHABLE"),
    (TIMEOUT, "TIMEOUT"),
    (ENVIRONMENT, "ENVIRONMENT"),
];

/// Everything was killed because somebody asked `musher run` twice to end: 128 and the number of SIGINT. Its value is
/// the supervisor's to send.
pub(crate) const RUN_HELP: &str = "\
Exit codes of `musher run`, once the team runs:
  0      it was asked to end (SIGTERM, SIGINT) and did; or every app ended well
  N      the only app ended by itself, or was given up: its exit code
  128+N  ... by signal N
  1      one of several apps failed
  130    it was asked twice to end, and what was left was killed
Before that, those of the other commands: 2 command line, 3 process file, 7 surroundings.";

/// Every code with its meaning, for `--help`.
pub(crate) const HELP: &str = "\
Exit codes:
  0  done: what was asked for is true now
  1  the operation failed: a worker died at its start, a reload was given up
  2  the command line is wrong
  3  the process file, or the app that the command line describes, is wrong
  4  there is no app of that name or id
  5  no supervisor runs, or it does not answer, or it could not be started
  6  the time given by --timeout ran out; the operation goes on
  7  the surroundings do not allow it: home not writable, its path too long, a permission missing";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_in_the_help_and_in_the_reference() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/reference/exit-codes.md");
        let reference = std::fs::read_to_string(path).unwrap();
        for code in [OK, FAILED, USAGE, BAD_SPEC, NO_SUCH_APP, UNREACHABLE, TIMEOUT, ENVIRONMENT] {
            assert!(HELP.contains(&format!("\n  {code}  ")), "{code} is not in the help");
            assert!(reference.contains(&format!("\n| {code} | ")), "{code} is not in {path}");
        }
    }
}
