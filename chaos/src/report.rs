//! What is said: progress on a terminal, the table, and all that is needed to see a failure again.

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use crate::clients::Count;
use crate::fates::Tally;
use crate::lines::Lines;
use crate::schedule::{Event, Kind};
use crate::world::World;

/// One line that is written anew on a terminal; elsewhere a line now and then.
#[derive(Debug)]
pub(crate) struct Progress {
    terminal: bool,
    told: Option<Instant>,
}

impl Progress {
    pub(crate) fn new() -> Progress {
        Progress { terminal: std::io::stderr().is_terminal(), told: None }
    }

    pub(crate) fn show(&mut self, world: &World, all: &Tally, length: Duration, events: usize) {
        let every = Duration::from_secs(if self.terminal { 0 } else { 10 });
        if self.told.is_some_and(|told| told.elapsed() < every) {
            return;
        }
        self.told = Some(Instant::now());
        let (begun, doing) = {
            let episodes = world.episodes();
            let doing: Vec<&str> = episodes.iter().filter(|e| e.end.is_none()).map(|e| e.what.as_str()).collect();
            (episodes.len(), doing.join("; "))
        };
        let Tally { requests, held, lost, .. } = all;
        let line = format!(
            "{:4.0} of {} s  {begun} of {events} events  {requests} requests, {held} held, {lost} lost  {doing}",
            world.started.elapsed().as_secs_f64(),
            length.as_secs(),
        );
        if self.terminal {
            let line: String = line.chars().take(columns()).collect();
            eprint!("\r\x1b[K{line}");
            let _ = std::io::stderr().flush();
        } else {
            eprintln!("{line}");
        }
    }

    pub(crate) fn end(&self) {
        if self.terminal {
            eprint!("\r\x1b[K");
        }
    }
}

fn columns() -> usize {
    rustix::termios::tcgetwinsize(std::io::stderr()).map_or(80, |size| usize::from(size.ws_col).max(20)) - 1
}

/// The table by fault, and what else was counted.
pub(crate) fn tables(world: &World, count: &Count, lines: &Lines) {
    let mut events: BTreeMap<Kind, usize> = BTreeMap::new();
    for episode in world.episodes().iter() {
        *events.entry(episode.kind).or_default() += 1;
    }
    println!(
        "{}",
        row("while", "events", ["requests", "answered", "held", "closed", "lost", "worst wait"].map(String::from))
    );
    let nothing = count.by_fault.get(&None).copied().unwrap_or_default();
    println!("{}", row("nothing was done", "", cells(&nothing)));
    for (kind, events) in &events {
        let tally = count.by_fault.get(&Some(*kind)).copied().unwrap_or_default();
        println!("{}", row(kind.word(), &events.to_string(), cells(&tally)));
    }
    println!("{}\n", row("all", &events.values().sum::<usize>().to_string(), cells(&count.all)));
    for (shape, tally) in &count.by_shape {
        println!("{}", row(shape, "", cells(tally)));
    }
    println!("\nThe longest waits:");
    for (wait, told) in &count.longest {
        println!("{:8.2}  waited {:.2} s  {}", told.at.as_secs_f64(), wait.as_secs_f64(), told.what);
    }
    println!(
        "\nA request counts for every fault that was active while it was under way, so the rows add up to more than all.\n\
         {} kept connections and WebSockets were closed in good order.\n\
         Logs: {} numbered lines, {} of them twice; the full disk swallowed {}, of which {} were not told since the daemon \
         was killed meanwhile; {} were last lines of workers that ended while nothing of the daemon lived.",
        count.closed, lines.present, lines.twice, lines.missing, lines.untold, lines.unheard,
    );
}

fn cells(tally: &Tally) -> [String; 6] {
    let worst = format!("{:.2} s", tally.worst.as_secs_f64());
    let Tally { requests, answered, held, closed, lost, .. } = tally;
    [requests.to_string(), answered.to_string(), held.to_string(), closed.to_string(), lost.to_string(), worst]
}

fn row(name: &str, events: &str, cells: [String; 6]) -> String {
    let [requests, answered, held, closed, lost, worst] = cells;
    format!("{name:18}{events:>7}{requests:>10}{answered:>10}{held:>7}{closed:>8}{lost:>7}{worst:>12}")
}

/// What failed, the schedule as it came, and how to see it again; whether nothing failed.
pub(crate) fn verdict(world: &World, count: &Count, planned: &[Event], replay: &str) -> bool {
    let findings = world.findings();
    if findings.is_empty() && count.all.lost == 0 {
        println!("\nNothing was lost but what killed workers held.  {replay}");
        return true;
    }
    println!("\nWhat was done, in seconds from the start:");
    for episode in world.episodes().iter() {
        let at = |instant: Instant| instant.saturating_duration_since(world.started).as_secs_f64();
        let end = episode.end.map_or_else(|| "  never".into(), |end| format!("{:7.2}", at(end)));
        println!("{:8.2} to {end}  {}", at(episode.begin), episode.what);
    }
    let begun = world.episodes().len();
    for event in planned.iter().skip(begun) {
        println!("{:8.2} not begun: {event}", event.at.as_secs_f64());
    }
    if count.all.lost > 0 {
        println!("\nLost, {} requests:", count.all.lost);
        for lost in &count.lost {
            println!("{:8.2}  {}", lost.at.as_secs_f64(), lost.what);
        }
    }
    if !findings.is_empty() {
        println!("\nWrong:");
        for finding in findings {
            println!("{:8.2}  {}", finding.at.as_secs_f64(), finding.what);
        }
    }
    println!("\nThe same schedule again:  {replay}");
    false
}
