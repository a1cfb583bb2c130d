//! `musher describe`

use std::fmt::Write as _;
use std::io::Write;

use musher_api::{
    AppDetail, CanaryDetail, LogFigures, Operation, REDACTED, RunDetail, RunPhase, ScheduleDetail, SlotDetail,
};
use musher_core::spec::{
    AppSpec, Balance, LogFormat, Logs, Missed, OnTime, Probe, Ready, ReadyWhen, Reload, RestartPolicy, Runtime,
    Schedule,
};

use super::targets;
use crate::args::{Cli, DescribeArgs};
use crate::failure::{Failure, cut_off, death_story};
use crate::output::{Colour, Terminal, one_word, sanitize, units};
use crate::session;

/// Width of the names of values.
const NAME: usize = 12;

/// Shows all about apps.
pub(crate) async fn run(cli: &Cli, args: &DescribeArgs) -> Result<(), Failure> {
    let client = session::client(cli)?;
    let mut details = Vec::new();
    for target in &targets::expanded(&client, &args.targets).await? {
        match client.app(target, args.env).await {
            Ok(detail) => details.push(detail),
            Err(error) => {
                return Err(targets::with_suggestion(&client, error.into(), std::slice::from_ref(target)).await);
            }
        }
    }
    let mut out = std::io::stdout().lock();
    if args.json {
        // One app is an object; several are an array.
        let text = match details.as_slice() {
            [detail] => serde_json::to_string_pretty(detail),
            details => serde_json::to_string_pretty(details),
        };
        writeln!(out, "{}", text.map_err(std::io::Error::from)?)?;
    } else {
        let terminal = Terminal::stdout();
        let texts: Vec<String> = details.iter().map(|detail| text(detail, terminal)).collect();
        write!(out, "{}", texts.join("\n"))?;
    }
    out.flush()?;
    Ok(())
}

/// A text of `name  value` lines under headings.
struct Page {
    text: String,
    terminal: Terminal,
}

impl Page {
    fn heading(&mut self, heading: &str) {
        // Writing to a String cannot fail; the same below.
        let _ = writeln!(self.text, "\n{}", self.terminal.paint(Colour::Bold, heading));
    }

    fn value(&mut self, name: &str, value: impl AsRef<str>) {
        let _ = writeln!(self.text, "  {name:<NAME$}  {}", sanitize(value.as_ref()));
    }

    fn line(&mut self, line: &str) {
        let _ = writeln!(self.text, "  {line}");
    }
}

fn text(detail: &AppDetail, terminal: Terminal) -> String {
    let mut page = Page { text: String::new(), terminal };
    let title = format!("{} (id {})", sanitize(&detail.app), detail.id);
    let _ = writeln!(page.text, "{}", terminal.paint(Colour::Bold, &title));
    program(&mut page, detail);
    rules(&mut page, &detail.spec);
    environment(&mut page, &detail.spec);
    page.heading("workers");
    for slot in &detail.slots {
        worker(&mut page, slot);
    }
    if !detail.listeners.is_empty() {
        page.heading("listeners");
        for listener in &detail.listeners {
            let owner = listener.slot.map_or("all slots".to_owned(), |slot| format!("slot {slot}"));
            let queue = listener.queue.map_or_else(String::new, |queue| format!(", {queue} waiting"));
            let address = sanitize(&listener.address);
            page.line(&format!("{address}  {owner}, {}{queue}", balance(listener.balance)));
        }
    }
    if let Some(canary) = &detail.canary {
        page.heading("canary");
        trial(&mut page, canary);
    }
    if let Some(operation) = &detail.operation {
        page.heading("last operation");
        page.line(&sanitize(&operation_text(operation)));
    }
    page.text
}

fn program(page: &mut Page, detail: &AppDetail) {
    let exec = &detail.spec.exec;
    if let Some(script) = &exec.script {
        page.value("script", script.display().to_string());
    }
    page.value("program", exec.program.display().to_string());
    if !exec.args.is_empty() {
        page.value("args", exec.args.iter().map(|arg| quoted(arg)).collect::<Vec<_>>().join(" "));
    }
    page.value("cwd", detail.spec.cwd.display().to_string());
    let runtime = match exec.runtime {
        Runtime::Plain => "program",
        Runtime::NodeFork => "Node program",
        Runtime::NodeCluster => "worker of a Node cluster",
    };
    page.value("mode", format!("{} ({runtime}), balance {}", detail.mode.word(), balance(detail.balance)));
    page.value("state", if detail.running { "wanted to run" } else { "stopped" });
    let bounds = detail.spec.scale.as_ref();
    let bounds = bounds.map_or_else(String::new, |scale| format!(", {} to {} by load", scale.min, scale.max));
    page.value("instances", format!("{}{bounds}", detail.spec.instances));
    if let Some(schedule) = &detail.spec.schedule {
        page.value("schedule", schedule_text(schedule));
        let when = |ms: Option<u64>, never: &str| ms.map_or(never.to_owned(), musher_api::rfc3339);
        if let Some(ScheduleDetail { next_ms, last_ms, skipped }) = detail.schedule {
            page.value("next", when(next_ms, "never again"));
            let skipped =
                if skipped > 0 { format!("; left out {skipped} times, as it still ran") } else { String::new() };
            page.value("last", when(last_ms, "not yet") + &skipped);
        }
    }
    if !detail.spec.depends_on.is_empty() {
        let needs = detail.spec.depends_on.iter().map(|(name, condition)| format!("{name} ({})", condition.word()));
        page.value("needs", needs.collect::<Vec<_>>().join(", "));
    }
    if !detail.waits_for.is_empty() {
        page.value("waits for", detail.waits_for.join(", "));
    }
    page.value("generation", detail.generation.to_string());
    page.value("added", musher_api::rfc3339(detail.added_ms));
    page.value("stdout", &detail.log_files.out);
    page.value("stderr", &detail.log_files.err);
    if let Some(combined) = &detail.log_files.combined {
        page.value("both", combined);
    }
    page.value("logged", logged(&detail.log_files.figures));
}

/// What was logged since the supervisor began.
fn logged(figures: &LogFigures) -> String {
    let mut text = format!("{} lines, {}", figures.lines, units::bytes(figures.bytes));
    for (count, what) in
        [(figures.lost, "lost"), (figures.dropped, "dropped over the limit"), (figures.not_exported, "not exported")]
    {
        if count > 0 {
            text.push_str(&format!(", {count} lines {what}"));
        }
    }
    text
}

/// How long what is logged is kept, and where else it goes.
fn kept(logs: &Logs) -> String {
    let mut parts = Vec::new();
    match (logs.max_bytes, logs.max_age) {
        (0, None) => parts.push("never rotated".to_owned()),
        (0, Some(age)) => parts.push(format!("rotated after {}, {} kept", time(age), logs.keep)),
        (size, None) => parts.push(format!("rotated at {}, {} kept", units::bytes(size), logs.keep)),
        (size, Some(age)) => {
            parts.push(format!("rotated at {} or after {}, {} kept", units::bytes(size), time(age), logs.keep));
        }
    }
    parts.extend(logs.keep_for.map(|age| format!("for {}", time(age))));
    parts.extend(logs.compress.then(|| "compressed".to_owned()));
    parts.extend((logs.max_total_bytes > 0).then(|| format!("at most {} in all", units::bytes(logs.max_total_bytes))));
    parts.extend(logs.per_worker.then(|| "files for each worker".to_owned()));
    parts.extend(logs.limit.map(|limit| format!("at most {limit} lines a second")));
    parts.extend(logs.journald.as_ref().map(|_| "to journald".to_owned()));
    parts.extend(logs.otlp.as_ref().map(|url| format!("to {url}")));
    parts.join(", ")
}

fn schedule_text(schedule: &Schedule) -> String {
    let action = match schedule.action {
        OnTime::Start => "a job",
        OnTime::Restart => "restarted",
        OnTime::Reload => "reloaded",
    };
    let missed = match schedule.missed {
        Missed::Skip => "",
        Missed::Once => "; what is missed is made up for",
    };
    format!("{action} at {} in {}{missed}", schedule.cron, schedule.timezone)
}

fn rules(page: &mut Page, spec: &AppSpec) {
    page.heading("rules");
    for listen in &spec.listen {
        page.value("listen", listen.address.to_string());
    }
    page.value("ready", ready(&spec.ready));
    let restart = &spec.restart;
    let policy = match restart.policy {
        RestartPolicy::Always => "always",
        RestartPolicy::OnFailure => "on failure",
        RestartPolicy::Never => "never",
    };
    let wait = format!("{} to {}", time(restart.backoff.initial), time(restart.backoff.max));
    page.value(
        "restart",
        format!(
            "{policy}, after {wait}; gives up after {} in {}",
            units::count(restart.max_restarts, "restart"),
            time(restart.window)
        ),
    );
    page.value(
        "stop",
        format!(
            "{}, killed after {}; drains for at most {}",
            musher_process::exit::signal_name(spec.stop.signal),
            time(spec.stop.grace),
            time(spec.stop.drain)
        ),
    );
    page.value("reload", reload(&spec.reload));
    let form = match spec.logs.format {
        LogFormat::Raw => "as written",
        LogFormat::Timestamp => "with time",
        LogFormat::Json => "JSON",
        LogFormat::Named => "with names",
        LogFormat::Pm2Json => "JSON as PM2's",
    };
    page.value("logs", format!("{form}, {}", kept(&spec.logs)));
    let limits: Vec<String> = [
        ("open files", spec.limits.open_files),
        ("address space", spec.limits.address_space_bytes),
        ("core", spec.limits.core_bytes),
        ("cpu seconds", spec.limits.cpu_seconds),
        ("processes", spec.limits.processes),
    ]
    .iter()
    .filter_map(|(name, limit)| limit.map(|limit| format!("{name} {limit}")))
    .chain(spec.limits.nice.map(|nice| format!("nice {nice}")))
    .chain(spec.limits.memory_bytes.map(|bytes| format!("memory {}", units::bytes(bytes))))
    .chain(spec.limits.cpu_percent.map(|percent| format!("cpu {percent}% for {}", time(spec.limits.cpu_for))))
    .collect();
    if !limits.is_empty() {
        page.value("limits", limits.join(", "));
    }
    health(page, spec);
    if let Some(user) = &spec.user {
        page.value("user", format!("uid {}, gid {}", user.uid, user.gid));
    }
}

fn health(page: &mut Page, spec: &AppSpec) {
    let health = &spec.health;
    let to = |address: &Option<std::net::SocketAddr>| {
        address.map_or_else(|| "each worker itself".to_owned(), |address| address.to_string())
    };
    let asked = health.liveness.as_ref().map(|probe| match probe {
        Probe::Http { address, path } => format!("GET {path} of {}", to(address)),
        Probe::Tcp { address } => format!("a connection to {}", to(address)),
        Probe::Exec { command } => command.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" "),
    });
    if let Some(asked) = asked {
        let failures = units::count(health.failures, "failure");
        page.value("liveness", format!("{asked}, every {}; replaced after {failures} in a row", time(health.interval)));
    }
    if let Some(watchdog) = health.watchdog {
        page.value("watchdog", format!("replaced after {} without WATCHDOG=1", units::precise(watchdog)));
    }
    if let Some(command) = &spec.hooks.giveup {
        page.value("on giveup", command.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" "));
    }
}

fn environment(page: &mut Page, spec: &AppSpec) {
    let hidden = spec.env.values().chain(spec.base_env.values()).any(|value| value == REDACTED);
    if spec.env.is_empty() && hidden {
        return;
    }
    page.heading(if hidden { "environment (--env shows the values)" } else { "environment" });
    for (key, value) in &spec.env {
        page.line(&sanitize(&format!("{key}={value}")));
    }
    if !hidden {
        for (key, value) in spec.base_env.iter().filter(|(key, _)| !spec.env.contains_key(*key)) {
            page.line(&sanitize(&format!("{key}={value} (inherited)")));
        }
    }
}

/// What the program itself measures, and does when it is asked to.
fn custom(page: &mut Page, run: &RunDetail) {
    for (name, metric) in &run.custom_metrics {
        page.line(&sanitize(&format!("    {name}: {}", metric.text())));
    }
    let names: Vec<&str> = run.custom_actions.iter().map(|action| action.name.as_str()).collect();
    if !names.is_empty() {
        page.line(&sanitize(&format!("    actions: {} (`musher trigger`)", names.join(", "))));
    }
}

fn worker(page: &mut Page, slot: &SlotDetail) {
    let row = &slot.row;
    let status = row.status.word();
    let status = super::list::status_colour(row.status)
        .map_or_else(|| status.to_owned(), |colour| page.terminal.paint(colour, status));
    page.line(&format!("slot {}: {status}, {}", row.slot, units::count(row.restarts, "restart")));
    for run in &slot.runs {
        page.line(&format!(
            "  {}: pid {}, up {}, cpu {}, {} of memory, generation {}, run {}",
            run.state.word(),
            run.pid,
            units::uptime(run.uptime_ms),
            units::percent(run.cpu_percent),
            units::bytes(run.memory_bytes),
            run.generation,
            run.run,
        ));
        let phase = match run.phase {
            Some(RunPhase::Reloading) => " (reloading)",
            Some(RunPhase::Stopping) => " (stopping)",
            Some(RunPhase::Unknown) | None => "",
        };
        if run.said.is_some() || !phase.is_empty() {
            page.line(&format!("    says: {}{phase}", sanitize(run.said.as_deref().unwrap_or_default())));
        }
    }
    for run in &slot.runs {
        custom(page, run);
    }
    if let Some(reason) = &slot.unfit {
        page.line(&format!("  to be replaced: {}", sanitize(reason)));
    }
    if let Some(death) = slot.last_death.as_ref() {
        let asked = if death.asked { " (asked to)" } else { "" };
        let at = musher_api::rfc3339(death.time_ms);
        if death.asked {
            page.line(&format!(
                "  before: pid {} ended at {at}{asked}: {}",
                death.pid.map_or_else(|| "-".to_owned(), |pid| pid.to_string()),
                sanitize(&death.status)
            ));
            if let Some(line) = cut_off(death) {
                page.line(&format!("    {line}"));
            }
            if let Some(reason) = &death.unfit {
                page.line(&format!("    replaced: {}", sanitize(reason)));
            }
        } else {
            page.line(&format!("  last death at {at}:"));
            for line in death_story(death).lines() {
                page.line(&format!("    {line}"));
            }
        }
    }
}

/// The new version that is on trial, beside the old one.
fn trial(page: &mut Page, canary: &CanaryDetail) {
    let slots = canary.slots.iter().map(u32::to_string).collect::<Vec<_>>().join(", ");
    let state = canary
        .remaining_ms
        .map_or_else(|| "its workers are being started".to_owned(), |ms| format!("watched for {}", units::precise(ms)));
    page.line(&format!("generation {} in slots {slots}: {state}", canary.generation));
    for (side, traffic) in [("new", &canary.new), ("old", &canary.old)] {
        let latency = traffic.p95_ms.map_or_else(String::new, |ms| format!(", 95 % within {ms:.1} ms"));
        let counts =
            format!("{}, {}", units::count(traffic.requests, "request"), units::count(traffic.errors, "error"));
        page.value(side, format!("{counts}{latency}"));
    }
}

fn operation_text(operation: &Operation) -> String {
    let end = match (operation.done, operation.ok, &operation.error) {
        (false, _, _) => {
            format!("{}/{} {}", operation.progress.ready, operation.progress.total, operation.progress.text)
        }
        (true, true, _) => "done".to_owned(),
        (true, false, Some(error)) => format!("failed: {error}"),
        (true, false, None) => "failed".to_owned(),
    };
    format!("{}: {}", operation.kind.word(), end.trim_end())
}

fn ready(ready: &Ready) -> String {
    let when = match &ready.when {
        ReadyWhen::Auto => "by itself found out: listening, message, notify, or alive".to_owned(),
        ReadyWhen::Listening => "when it listens".to_owned(),
        ReadyWhen::Message => "when it sends 'ready'".to_owned(),
        ReadyWhen::Notify => "when it notifies READY=1".to_owned(),
        ReadyWhen::Tcp { address } => format!("when {address} takes a connection"),
        ReadyWhen::Http { address, path } => format!("when http://{address}{path} answers"),
        ReadyWhen::Alive { after_ms } => format!("when alive for {}", units::precise(*after_ms)),
    };
    format!("{when}; within {}", time(ready.timeout))
}

fn reload(reload: &Reload) -> String {
    let mut text = format!("{} at a time", units::count(reload.max_surge, "worker"));
    if reload.max_unavailable > 0 {
        let _ = write!(text, ", {} may end before", units::count(reload.max_unavailable, "old one"));
    }
    if let Some(canary) = &reload.canary {
        let slots = units::count(canary.slots, "slot");
        let _ = write!(text, "; first {slots}, watched for {}", time(canary.wait));
    }
    text
}

fn balance(balance: Balance) -> &'static str {
    match balance {
        Balance::Auto => "auto",
        Balance::Kernel => "kernel",
        Balance::Shared => "shared",
        Balance::RoundRobin => "round-robin",
    }
}

fn time(duration: std::time::Duration) -> String {
    units::precise(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
}

/// An argument as one would type it.
fn quoted(arg: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "-_./:=@%+,".contains(c);
    if !arg.is_empty() && arg.chars().all(plain) { arg.to_owned() } else { one_word(arg) }
}

#[cfg(test)]
mod tests {
    use super::quoted;

    #[test]
    fn arguments_are_shown_as_typed() {
        assert_eq!(quoted("--port=80"), "--port=80");
        assert_eq!(quoted("two words"), "'two words'");
        assert_eq!(quoted("it's"), "'it'\\''s'");
        assert_eq!(quoted(""), "''");
    }
}
