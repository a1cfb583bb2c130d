//! `describe`: all about each worker, in the lines that scripts look for.

use std::fmt::Write as _;
use std::io::Write;

use musher_api::rfc3339;

use super::actions::all_chosen;
use super::processes::Processes;
use super::view::Process;
use super::{Context, repository::Repository};
use crate::failure::Failure;
use crate::output::{sanitize, units};

/// Lines of a name and a value.
type Lines = Vec<(&'static str, String)>;

/// `describe NAME`
pub(super) async fn describe(context: &Context<'_>, words: &[String]) -> Result<(), Failure> {
    let processes = Processes::ask(&context.cli).await?;
    let chosen = all_chosen(&processes, words)?;
    let mut out = std::io::stdout().lock();
    for process in &chosen {
        write!(out, "{}", page(process))?;
    }
    let name = chosen.first().map_or("NAME", |process| process.app_name());
    writeln!(out, " `musher describe {}` tells more, `pm2 env ID` its variables", sanitize(name))?;
    Ok(out.flush()?)
}

fn page(process: &Process) -> String {
    let mut text = format!(" Describing process with id {} - name {} \n", process.id, sanitize(process.name()));
    text += &boxed(&lines(process));
    let revision = revision(process);
    if !revision.is_empty() {
        text += " Revision control metadata \n";
        text += &boxed(&revision);
    }
    text
}

fn lines(process: &Process) -> Lines {
    let record = process.pm2_env();
    let told = |key: &str| match &record[key] {
        serde_json::Value::String(text) => sanitize(text),
        serde_json::Value::Null => "N/A".to_owned(),
        other => other.to_string(),
    };
    let row = &process.slot.row;
    let words = |words: &[String]| if words.is_empty() { "N/A".to_owned() } else { sanitize(&words.join(" ")) };
    let (before, behind) = process.arguments();
    let mode = |flag: bool, yes: &str, no: &str| if flag { yes } else { no }.to_owned();
    let mut lines = vec![
        ("status", process.status().to_owned()),
        ("name", sanitize(process.name())),
        ("namespace", told("namespace")),
        ("version", told("version")),
        ("restarts", process.restarts().to_string()),
        ("uptime", if row.pid.is_some() { units::uptime(row.uptime_ms) } else { "0".into() }),
    ];
    if record.get("pm_log_path").is_some() {
        lines.push(("entire log path", told("pm_log_path")));
    }
    lines.extend([
        ("script path", told("pm_exec_path")),
        ("script args", words(behind)),
        ("error log path", told("pm_err_log_path")),
        ("out log path", told("pm_out_log_path")),
        ("pid path", told("pm_pid_path")),
        ("interpreter", told("exec_interpreter")),
        ("interpreter args", words(before)),
        ("script id", process.id.to_string()),
        ("exec cwd", told("pm_cwd")),
        ("exec mode", told("exec_mode")),
        ("node.js version", told("node_version")),
        ("node env", told("NODE_ENV")),
        ("watch & reload", mode(process.app.spec.watch.is_some(), "✔", "✘")),
        ("unstable restarts", "0".to_owned()),
        ("created at", rfc3339(process.started_ms())),
    ]);
    lines
}

fn revision(process: &Process) -> Lines {
    let Some(repository) = Repository::around(&process.app.spec.cwd) else { return Vec::new() };
    let all = repository.described();
    let told = |key: &str| sanitize(all[key].as_str().unwrap_or("N/A"));
    vec![
        ("revision control", told("type")),
        ("remote url", told("url")),
        ("repository root", told("repo_path")),
        ("revision", told("revision")),
        ("branch", told("branch")),
    ]
}

/// Lines in a frame.
fn boxed(lines: &Lines) -> String {
    let width = |of: &dyn Fn(&(&'static str, String)) -> usize| lines.iter().map(of).max().unwrap_or(0);
    let (names, values) = (width(&|line| line.0.chars().count()), width(&|line| line.1.chars().count()));
    let rule = |left: char, middle: char, right: char| {
        format!("{left}{}{middle}{}{right}\n", "─".repeat(names + 2), "─".repeat(values + 2))
    };
    let mut text = rule('┌', '┬', '┐');
    for (name, value) in lines {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "│ {name:names$} │ {value:values$} │");
    }
    text + &rule('└', '┴', '┘')
}

#[cfg(test)]
mod tests {
    use super::boxed;

    #[test]
    fn a_frame_is_as_wide_as_what_is_in_it() {
        let text = boxed(&vec![("status", "online".to_owned()), ("watch & reload", "✘".to_owned())]);
        let widths: Vec<usize> = text.lines().map(|line| line.chars().count()).collect();
        assert_eq!(widths, [27; 4]);
        assert!(text.contains("│ status         │ online │\n"), "{text}");
    }
}
