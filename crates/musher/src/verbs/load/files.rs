//! Reports in files, by their extension.

use std::io::Write;
use std::path::Path;

use musher_load::report::{Report, Words, csv, hdr_log, run_page, run_svg, siege_log, text};

use crate::exit_codes;
use crate::failure::Failure;

/// The largest report that is read.
const LARGEST: u64 = 256 * 1024 * 1024;

/// The report without its intervals.
pub(super) fn json(report: &Report) -> Result<String, Failure> {
    let short = Report { outcome: None, ..report.clone() };
    Ok(serde_json::to_string_pretty(&short).map_err(std::io::Error::from)?)
}

/// Writes a report in the form that the file's name asks for.
pub(super) fn write(path: &Path, report: &Report) -> Result<(), Failure> {
    let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    let outcome = || report.outcome.as_ref().ok_or_else(|| Failure::new(exit_codes::FAILED, "there are no intervals"));
    let content = match extension {
        "json" => serde_json::to_string(report).map_err(std::io::Error::from)?,
        "csv" => csv(outcome()?),
        "hdr" | "hlog" => {
            hdr_log(outcome()?, report.about.started_at).map_err(|why| Failure::new(exit_codes::FAILED, why))?
        }
        "html" => run_page(report),
        "svg" => run_svg(report).ok_or_else(|| Failure::new(exit_codes::FAILED, "there are no intervals"))?,
        "txt" => text(report, Words::All),
        _ => return Err(unknown(path)),
    };
    put(path, &content)
}

/// Writes a file.
pub(super) fn put(path: &Path, content: &str) -> Result<(), Failure> {
    std::fs::write(path, content).map_err(|error| Failure::environment(format!("{}: {error}", path.display())))
}

/// Whether a name says a form.
pub(super) fn check(path: &Path) -> Result<(), Failure> {
    let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    if matches!(extension, "json" | "html" | "svg" | "csv" | "hdr" | "hlog" | "txt") {
        Ok(())
    } else {
        Err(unknown(path))
    }
}

fn unknown(path: &Path) -> Failure {
    Failure::new(exit_codes::USAGE, format!("{}: the name of a report says its form", path.display()))
        .with_hint("FILE.json, .html, .svg, .csv, .hdr or .txt")
}

/// Reads one that was written as JSON.
pub(super) fn read(path: &Path) -> Result<Report, Failure> {
    let wrong = |why: String| Failure::new(exit_codes::BAD_SPEC, format!("{}: {why}", path.display()));
    let size = std::fs::metadata(path).map_err(|error| wrong(error.to_string()))?.len();
    if size > LARGEST {
        return Err(wrong("longer than 256 MiB".into()));
    }
    let text = std::fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
    serde_json::from_str(&text).map_err(|error| wrong(format!("no report of musher load: {error}")))
}

/// Appends to siege's log.
pub(super) fn append_log(path: &Path, report: &Report) -> Result<(), Failure> {
    let (heading, line) = siege_log(report);
    let cannot = |error: std::io::Error| Failure::environment(format!("{}: {error}", path.display()));
    let mut file = std::fs::OpenOptions::new().create(true).append(true).open(path).map_err(cannot)?;
    let is_new = file.metadata().map_err(cannot)?.len() == 0;
    let mark = report.about.title.as_ref().map(|title| format!("**** {title} ****\n")).unwrap_or_default();
    let heading = if is_new { format!("{heading}\n") } else { String::new() };
    file.write_all(format!("{heading}{mark}{line}\n").as_bytes()).map_err(cannot)
}
