//! `musher list`

use std::collections::BTreeMap;
use std::io::Write;
use std::time::Duration;

use musher_api::client::Client;
use musher_api::{SlotRow, SlotStatus};
use tokio::time::sleep;

use super::targets;
use crate::args::{Cli, Field, ListArgs, PidArgs, Sorting};
use crate::failure::Failure;
use crate::output::{Colour, Column, Table, Terminal, note, sanitize, units};
use crate::session;

/// How often the list is shown again.
const EACH: Duration = Duration::from_secs(1);

/// Shows every worker. Without a supervisor there is none, which is not an error.
pub(crate) async fn run(cli: &Cli, args: &ListArgs) -> Result<(), Failure> {
    let client = session::client(cli)?;
    show(&client, args, false).await?;
    if args.watch {
        loop {
            sleep(EACH).await;
            show(&client, args, true).await?;
        }
    }
    Ok(())
}

/// Shows the rows once; over those of before, where that is possible.
async fn show(client: &Client, args: &ListArgs, again: bool) -> Result<(), Failure> {
    let mut rows = match args.targets.as_slice() {
        [] => session::unless_absent(client.slots(None).await)?.unwrap_or_default(),
        targets => rows_of(client, targets).await?,
    };
    if let Some(sorting) = args.sort {
        sort(client, &mut rows, sorting).await?;
    }
    let mut out = std::io::stdout().lock();
    if args.watch && Terminal::stdout().is_terminal() && !args.json {
        // To the first column of the first line, and nothing below (ECMA-48, 8.3.21 and 8.3.39); what scrolled away stays.
        write!(out, "{}", if again { "\x1b[H\x1b[J" } else { "\x1b[2J\x1b[H" })?;
    }
    if args.json {
        let json = serde_json::to_string_pretty(&rows).map_err(std::io::Error::from)?;
        writeln!(out, "{json}")?;
    } else if rows.is_empty() {
        note("no apps; `musher start server.js` starts one");
    } else if args.mini {
        rows.iter().try_for_each(|row| write!(out, "{}", mini(row)))?;
    } else {
        write!(out, "{}", table(&rows).render(Terminal::stdout()))?;
    }
    out.flush()?;
    Ok(())
}

/// Orders rows; those that are equal stay as they are.
async fn sort(client: &Client, rows: &mut [SlotRow], sorting: Sorting) -> Result<(), Failure> {
    match sorting.field {
        Field::Id => rows.sort_by_key(|row| (row.id, row.slot)),
        Field::Name => rows.sort_by(|a, b| a.app.cmp(&b.app)),
        Field::Namespace => {
            let apps = session::unless_absent(client.apps().await)?.unwrap_or_default();
            let spaces: BTreeMap<u32, String> = apps.into_iter().map(|app| (app.id, app.namespace)).collect();
            rows.sort_by_key(|row| spaces.get(&row.id).cloned());
        }
        Field::Pid => rows.sort_by_key(|row| row.pid),
        Field::Cpu => rows.sort_by(|a, b| a.cpu_percent.total_cmp(&b.cpu_percent)),
        Field::Memory => rows.sort_by_key(|row| row.memory_bytes),
        Field::Uptime => rows.sort_by_key(|row| row.uptime_ms),
        Field::Restarts => rows.sort_by_key(|row| row.restarts),
        Field::Status => rows.sort_by_key(|row| row.status.word()),
    }
    if sorting.descends {
        rows.reverse();
    }
    Ok(())
}

/// A worker without a table.
fn mini(row: &SlotRow) -> String {
    let up = row.pid.is_some();
    let none = || "-".to_owned();
    format!(
        "{}/{}\n  id: {}\n  mode: {}\n  status: {}\n  pid: {}\n  uptime: {}\n  restarts: {}\n  cpu: {}\n  memory: {}\n",
        sanitize(&row.app),
        row.slot,
        row.id,
        row.mode.word(),
        status_text(row),
        row.pid.map_or_else(none, |pid| pid.to_string()),
        if up { units::uptime(row.uptime_ms) } else { none() },
        row.restarts,
        if up { units::percent(row.cpu_percent) } else { none() },
        if up { units::bytes(row.memory_bytes) } else { none() },
    )
}

/// The rows of these apps, in the order in which they were named.
async fn rows_of(client: &Client, words: &[String]) -> Result<Vec<SlotRow>, Failure> {
    let mut rows = Vec::new();
    for target in targets::expanded(client, words).await? {
        let asked = client.slots(Some(target.as_str()).filter(|target| *target != "all")).await;
        match session::unless_absent(asked) {
            Ok(Some(found)) => rows.extend(found),
            Ok(None) => return Err(targets::nothing_runs(&target)),
            Err(failure) => return Err(targets::with_suggestion(client, failure, words).await),
        }
    }
    Ok(rows)
}

/// The pids of workers that run, one on each line.
pub(crate) async fn pids(cli: &Cli, args: &PidArgs) -> Result<(), Failure> {
    let client = session::client(cli)?;
    let rows = match args.targets.as_slice() {
        [] => session::unless_absent(client.slots(None).await)?.unwrap_or_default(),
        targets => rows_of(&client, targets).await?,
    };
    let mut out = std::io::stdout().lock();
    for pid in rows.iter().filter_map(|row| row.pid) {
        writeln!(out, "{pid}")?;
    }
    out.flush()?;
    Ok(())
}

/// The rows as a table.
pub(super) fn table(rows: &[SlotRow]) -> Table {
    let mut table = Table::new([
        Column::number("id", 5),
        Column::text("name", 0),
        Column::number("slot", 2),
        Column::text("mode", 6),
        Column::text("status", 0),
        Column::number("pid", 0),
        Column::number("uptime", 3),
        Column::number("restarts", 1),
        Column::number("cpu", 4),
        Column::number("memory", 3),
    ]);
    for row in rows {
        let none = || "-".to_owned();
        let up = row.pid.is_some();
        table.row([
            (row.id.to_string(), None),
            (sanitize(&row.app), None),
            (row.slot.to_string(), None),
            (row.mode.word().to_owned(), None),
            (status_text(row), status_colour(row.status)),
            (row.pid.map_or_else(none, |pid| pid.to_string()), None),
            (if up { units::uptime(row.uptime_ms) } else { none() }, None),
            (row.restarts.to_string(), (row.restarts > 0).then_some(Colour::Yellow)),
            (if up { units::percent(row.cpu_percent) } else { none() }, None),
            (if up { units::bytes(row.memory_bytes) } else { none() }, None),
        ]);
        for run in &row.draining {
            table.row([
                (row.id.to_string(), None),
                (sanitize(&row.app), None),
                (row.slot.to_string(), None),
                (row.mode.word().to_owned(), None),
                (run.state.word().to_owned(), status_colour(SlotStatus::Draining)),
                (run.pid.to_string(), None),
                (units::uptime(run.uptime_ms), None),
                (none(), None),
                (units::percent(run.cpu_percent), None),
                (units::bytes(run.memory_bytes), None),
            ]);
        }
    }
    table
}

/// The state, with what a person wants to know next to it.
fn status_text(row: &SlotRow) -> String {
    if let Some(ms) = row.starts_in_ms {
        return format!("{}, next in {}", row.status.word(), units::uptime(ms));
    }
    match (row.status, row.retry_in_ms, row.successor_pid) {
        (SlotStatus::Backoff, Some(ms), _) => format!("backoff {}", units::precise(ms)),
        (SlotStatus::Online, _, Some(_)) => "online, reloading".to_owned(),
        (status, _, _) => status.word().to_owned(),
    }
}

pub(super) fn status_colour(status: SlotStatus) -> Option<Colour> {
    match status {
        SlotStatus::Online => Some(Colour::Green),
        SlotStatus::Starting | SlotStatus::Draining | SlotStatus::Backoff | SlotStatus::Waiting => Some(Colour::Yellow),
        SlotStatus::GaveUp => Some(Colour::Red),
        SlotStatus::Stopped | SlotStatus::Exited | SlotStatus::Scheduled => Some(Colour::Dim),
        SlotStatus::Unknown => None,
    }
}

#[cfg(test)]
mod tests {
    use musher_api::{Mode, RunDetail, RunState, SlotRow, SlotStatus};

    use super::table;
    use crate::output::Terminal;

    fn row(app: &str, slot: u32, status: SlotStatus) -> SlotRow {
        let up = matches!(status, SlotStatus::Online | SlotStatus::Starting);
        SlotRow {
            app: app.into(),
            id: 3,
            slot,
            pid: up.then_some(4_123_456),
            status,
            restarts: 12,
            uptime_ms: 93_784_000,
            memory_bytes: 54_631_000,
            cpu_percent: 12.34,
            mode: Mode::Cluster,
            generation: 1,
            draining: Vec::new(),
            successor_pid: None,
            starts_in_ms: None,
            retry_in_ms: (status == SlotStatus::Backoff).then_some(1500),
            pulse: None,
        }
    }

    fn rows() -> Vec<SlotRow> {
        vec![row("web", 0, SlotStatus::Online), row("web", 1, SlotStatus::Backoff), row("jobs", 0, SlotStatus::GaveUp)]
    }

    #[test]
    fn the_table_fits_eighty_columns_whole() {
        let text = table(&rows()).render(Terminal::plain(80));
        assert_eq!(
            text,
            "id  name  slot  mode     status             pid  uptime  restarts  cpu   memory\n\
             \x20 3  web      0  cluster  online         4123456   1d 2h        12  12%  52.1 MB\n\
             \x20 3  web      1  cluster  backoff 1.5 s        -       -        12    -        -\n\
             \x20 3  jobs     0  cluster  gave_up              -       -        12    -        -\n"
                .replace("\n\x20 3", "\n 3")
        );
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    }

    #[test]
    fn a_worker_that_drains_is_a_line_of_its_own() {
        let mut rows = vec![row("web", 0, SlotStatus::Online), row("web", 1, SlotStatus::Online)];
        rows[0].draining.push(RunDetail {
            run: 1,
            pid: 4711,
            state: RunState::Draining,
            started_ms: 0,
            uptime_ms: 61_000,
            memory_bytes: 1 << 20,
            cpu_percent: 0.0,
            generation: 1,
            pulse: None,
            said: None,
            phase: None,
            custom_actions: Vec::new(),
            custom_metrics: Default::default(),
        });
        let text = table(&rows).render(Terminal::plain(80));
        let line = text.lines().nth(2).unwrap();
        for word in ["web", "draining", "4711"] {
            assert!(line.contains(word), "{text}");
        }
        assert_eq!(text.lines().count(), 4);
    }

    #[test]
    fn a_narrow_terminal_keeps_name_status_and_pid() {
        let mut rows = rows();
        rows[0].app = "a-service-with-a-long-name-that-nobody-can-remember".into();
        let text = table(&rows).render(Terminal::plain(40));
        assert!(text.lines().all(|line| line.chars().count() <= 40), "{text}");
        for word in ["name", "status", "pid", "online", "4123456", "a-service-"] {
            assert!(text.contains(word), "{text}");
        }
        let whole = table(&rows).render(Terminal::file());
        assert!(whole.contains("nobody-can-remember"), "a file gets everything: {whole}");
    }

    #[test]
    fn a_hundred_workers_are_a_hundred_lines() {
        let rows: Vec<_> = (0..100).map(|slot| row("web", slot, SlotStatus::Online)).collect();
        assert_eq!(table(&rows).render(Terminal::plain(80)).lines().count(), 101);
    }
}
