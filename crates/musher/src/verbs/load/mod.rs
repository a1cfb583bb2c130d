//! `musher load`: from the command line to a plan, a run, a report and an exit code.

mod during;
mod files;
mod live;
mod planning;
mod progress;
mod show;
mod signals;
mod sweep;

use std::ffi::OsString;
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;

use musher_load::engine::{Address, Engine, Observer, Outcome, RunError, is_private};
use musher_load::plan::Plan;
use musher_load::report::{About, Report, Said, Words, compare, compare_text, text};
use musher_process::{Spawn, own};

use crate::args::{Cli, CompareArgs, LoadArgs, LoadVerb, MergeArgs, load_alone};
use crate::exit_codes;
use crate::failure::Failure;
use crate::output::{Colour, Terminal, note};

use live::Live;
use planning::Planned;
use progress::Lines;
use signals::Signals;

/// At a public address nobody needs to consent to so many requests,
const FEW_REQUESTS: u64 = 100;
/// or to so many a second.
const FEW_A_SECOND: f64 = 10.0;

/// The command line, if it is `musher load` and right.
///
/// The memory of a load tester is part of its figures, and most of it would be code that has done its part, mapped by 64 KiB
/// around each byte that was needed: the loader's and its tables here, then what read the command line, then what made the plan.
/// Each is let go when the next begins.
pub(crate) fn words_of(words: &[OsString]) -> Option<Cli> {
    if words.get(1).is_some_and(|verb| verb == "load") {
        own::release_memory();
    }
    load_alone(words)
}

/// `musher load`
pub(crate) fn run(args: &LoadArgs) -> Result<(), Failure> {
    match &args.verb {
        Some(LoadVerb::Merge(merge)) => return merged(merge),
        Some(LoadVerb::Compare(two)) => return compared(two),
        None => {}
    }
    own::release_memory();
    let planned = planning::plan(args)?;
    if args.config {
        return planning::show(&planned);
    }
    if args.get || args.print {
        return show::run(&planned.plan, args.print);
    }
    args.judge.report.iter().try_for_each(|path| files::check(path))?;
    let signals = Signals::watch()?;
    if args.sweep.sweep {
        return sweep::run(args, &planned, &signals);
    }
    let engine = engine(&planned.plan)?;
    if !planned.quiet {
        note(&planned.greeting());
    }
    let about = About::plan(&planned.plan, args.mark.as_deref(), planned.rate_words.as_deref());
    let outcome = observed(engine, args, &planned, &signals)?;
    report(args, &planned, Report::new(outcome, about))
}

/// An engine that may be started.
fn engine(plan: &Plan) -> Result<Engine, Failure> {
    let engine = match plan.processes {
        1 => Engine::new(plan.clone())?,
        _ => Engine::of_processes(plan.clone(), &mut generator)?,
    };
    let is_small = plan.total().is_some_and(|total| total <= FEW_REQUESTS)
        || plan.rate.as_ref().is_some_and(|rate| rate.highest() <= FEW_A_SECOND);
    let public = engine.addresses().into_iter().find(|address| !is_private(address));
    match public {
        Some(Address::Tcp(address)) if !plan.consent && !is_small => {
            let ip = address.ip();
            Err(Failure::new(exit_codes::USAGE, format!("{ip} is a public address: loading it may harm others"))
                .with_hint(format!(
                    "--yes-i-may says that you may; up to {FEW_REQUESTS} requests in all, or {FEW_A_SECOND} a second \
                     (--rate), need no consent"
                )))
        }
        _ => Ok(engine),
    }
}

/// Starts a process that sends a part, in a session of its own: ^C is for the one who directs.
fn generator(stream: UnixStream) -> std::io::Result<OwnedFd> {
    let nowhere = std::fs::File::options().write(true).open("/dev/null")?;
    let errors = std::io::stderr().as_fd().try_clone_to_owned()?;
    let spawn = Spawn {
        args: ["musher", "generator"].map(OsString::from).to_vec(),
        env: std::env::vars_os().collect(),
        cwd: std::env::current_dir()?,
        fds: vec![(stream.into(), 0), (nowhere.into(), 1), (errors, 2)],
        session: true,
        ..Spawn::new("/proc/self/exe")
    };
    spawn.spawn().map(|child| child.pidfd).map_err(std::io::Error::other)
}

/// Runs it with whoever watches, signals and the command in the middle.
fn observed(engine: Engine, args: &LoadArgs, planned: &Planned, signals: &Signals) -> Result<Outcome, Failure> {
    let control = engine.control();
    signals.direct(&control);
    let is_watched = Terminal::stderr().is_terminal() && !planned.quiet && !planned.verbose && !args.judge.no_live;
    let mut live = if is_watched { Live::begin(planned) } else { None };
    let mut lines = Lines::new(planned);
    own::release_memory();
    let observer: &mut dyn Observer = match &mut live {
        Some(live) => live,
        None => &mut lines,
    };
    let outcome = match &args.judge.during {
        None => engine.run(observer)?,
        Some(command) => during::run(engine, observer, command, &args.judge)?,
    };
    own::release_memory();
    Ok(outcome)
}

/// Shows and writes the report; what it says decides the exit code.
fn report(args: &LoadArgs, planned: &Planned, report: Report) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    if planned.json {
        writeln!(out, "{}", files::json(&report)?)?;
    } else {
        write!(out, "{}", text(&report, Words::All))?;
    }
    out.flush()?;
    drop(out);
    for path in &args.judge.report {
        files::write(path, &report)?;
    }
    if let Some(path) = &args.log {
        files::append_log(path, &report)?;
    }
    match &report.outcome {
        Some(Outcome { gone: 1.., ended_by, .. }) => {
            let why = ended_by.as_deref().unwrap_or("a process is gone");
            Err(Failure::environment(why).with_hint("the report lacks what it did"))
        }
        _ => judged(args, &report),
    }
}

/// Tells whether the thresholds hold.
fn judged(args: &LoadArgs, report: &Report) -> Result<(), Failure> {
    let terminal = Terminal::stderr();
    let mut broken = 0;
    for expectation in &args.judge.expect {
        let verdict = expectation.judge(report);
        let word =
            if verdict.holds { terminal.paint(Colour::Green, "holds") } else { terminal.paint(Colour::Red, "fails") };
        note(&format!("{word}  {}", verdict.words));
        broken += u32::from(!verdict.holds);
    }
    if report.total.transactions == 0 {
        let first = report.total.faults.values().next().map_or("nothing was sent", |fault| fault.first.as_str());
        return Err(Failure::new(
            exit_codes::FAILED,
            format!("no request was answered: {}", crate::output::sanitize(first)),
        ));
    }
    if broken > 0 { Err(Failure::told(exit_codes::FAILED)) } else { Ok(()) }
}

/// `musher load compare`
fn compared(args: &CompareArgs) -> Result<(), Failure> {
    let changes = compare(&files::read(&args.before)?, &files::read(&args.after)?);
    let mut out = std::io::stdout().lock();
    write!(out, "{}", compare_text(&changes))?;
    out.flush()?;
    let is_worse = changes.iter().any(|change| change.said() == Said::Worse);
    if args.fail && is_worse { Err(Failure::told(exit_codes::FAILED)) } else { Ok(()) }
}

/// `musher load merge`
fn merged(args: &MergeArgs) -> Result<(), Failure> {
    let mut reports = args.files.iter().map(|path| files::read(path));
    let mut first = reports.next().unwrap_or_else(|| Err(Failure::new(exit_codes::USAGE, "no file")))?;
    let whole = |report: &Report, number: usize| {
        report.outcome.clone().ok_or_else(|| {
            Failure::new(exit_codes::BAD_SPEC, format!("{} has only the sums", args.files[number].display()))
                .with_hint("`musher load --report FILE.json` writes what can be merged")
        })
    };
    let mut outcome = whole(&first, 0)?;
    for (number, report) in reports.enumerate() {
        let report = report?;
        outcome.add(&whole(&report, number + 1)?);
        first.about.users += report.about.users;
        first.about.threads += report.about.threads;
    }
    let report = Report::new(outcome, first.about);
    let mut out = std::io::stdout().lock();
    match args.json {
        true => writeln!(out, "{}", files::json(&report)?)?,
        false => write!(out, "{}", text(&report, Words::All))?,
    }
    out.flush()?;
    args.report.iter().try_for_each(|path| files::write(path, &report))
}

impl From<RunError> for Failure {
    fn from(error: RunError) -> Failure {
        let text = error.to_string();
        match error {
            RunError::Resolve { .. } => Failure::new(exit_codes::FAILED, text),
            RunError::Plan(_) => Failure::new(exit_codes::USAGE, text),
            RunError::Tls(_) | RunError::System(_) => Failure::environment(text),
            RunError::Descriptors { limit, .. } => Failure::environment(text).with_hint(format!(
                "fewer users (-c), or a higher hard limit than {limit}: `ulimit -Hn`, LimitNOFILE="
            )),
            RunError::Ports { .. } => Failure::environment(text).with_hint(
                "fewer users (-c), several addresses of the server, or a wider net.ipv4.ip_local_port_range",
            ),
        }
    }
}
