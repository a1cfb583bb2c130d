//! The figures, by what a session of a contender measures. Each session starts a home, measures, and ends it; sessions
//! of the two contenders alternate, so that what drifts on the machine drifts for both.

mod commands;
mod idle;
mod loss;
mod serving;
mod wrk;

use anyhow::Result;

use crate::arena::Contender;
use crate::report::{Figures, MUSHER, PM2};
use crate::tools::Tools;

/// What all sessions share.
pub(crate) struct Bench<'t> {
    pub(crate) tools: &'t Tools,
    pub(crate) figures: Figures,
    pub(crate) quick: bool,
    pub(crate) contenders: Vec<Contender>,
}

/// A group of figures.
pub(crate) struct Group {
    pub(crate) name: &'static str,
    /// What it measures.
    pub(crate) about: &'static str,
    session: fn(&mut Bench<'_>, Contender) -> Result<()>,
    /// Rounds, in full and quick.
    rounds: (usize, usize),
}

/// All groups.
pub(crate) const GROUPS: &[Group] = &[
    Group { name: "idle2", about: "memory with 2 workers", session: idle::two_workers, rounds: (3, 1) },
    Group { name: "list", about: "time of the list command", session: commands::list, rounds: (3, 1) },
    Group { name: "start", about: "start of an app to its first answer", session: commands::start, rounds: (3, 1) },
    Group { name: "keep-alive", about: "throughput of kept connections", session: serving::keep_alive, rounds: (5, 1) },
    Group { name: "new", about: "new connections per second", session: serving::new_connections, rounds: (5, 1) },
    Group { name: "blocked", about: "one worker of four blocked", session: serving::blocked, rounds: (3, 1) },
    Group { name: "kill", about: "a killed worker", session: loss::killed_worker, rounds: (3, 1) },
    Group { name: "reload", about: "reloads under load", session: loss::reload, rounds: (3, 1) },
    Group { name: "manager", about: "a killed manager", session: loss::killed_manager, rounds: (3, 1) },
    Group { name: "idle100", about: "memory and CPU with 100 workers", session: idle::hundred_workers, rounds: (1, 1) },
];

impl Group {
    /// Runs all rounds, the contenders in turn.
    pub(crate) fn run(&self, bench: &mut Bench<'_>) -> Result<()> {
        let rounds = if bench.quick { self.rounds.1 } else { self.rounds.0 };
        for round in 0..rounds {
            let mut order = bench.contenders.clone();
            if round % 2 == 1 {
                order.reverse();
            }
            for contender in order {
                eprintln!("{} ({}), round {} of {rounds}, {}", self.name, self.about, round + 1, side(contender));
                (self.session)(bench, contender)?;
            }
        }
        Ok(())
    }
}

/// The side of the table.
fn side(contender: Contender) -> &'static str {
    match contender {
        Contender::Musher => MUSHER,
        Contender::Pm2 => PM2,
    }
}
