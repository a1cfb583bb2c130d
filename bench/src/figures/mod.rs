//! The figures, by what a session of a contender measures. Each session starts a home, measures, and ends it; sessions
//! of the contenders alternate, so that what drifts on the machine drifts for all.

mod channel;
mod clients;
mod commands;
mod events;
mod idle;
mod load;
mod logs;
mod many;
mod serving;
mod turns;
mod upgrade;
mod watch;
mod wrk;

use anyhow::Result;

use crate::arena::Contender;
use crate::report::{CLUSTER, Figures, GUNICORN, MUSHER, PM2, PM2_TUNED};
use crate::tools::Tools;

/// What all sessions share.
pub(crate) struct Bench<'t> {
    pub(crate) tools: &'t Tools,
    pub(crate) figures: Figures,
    pub(crate) quick: bool,
    /// None: all.
    pub(crate) only: Option<Contender>,
}

/// A group of figures.
pub(crate) struct Group {
    pub(crate) name: &'static str,
    /// What it measures.
    pub(crate) about: &'static str,
    session: fn(&mut Bench<'_>, Contender) -> Result<()>,
    /// Whom it applies to.
    contenders: &'static [Contender],
    /// Rounds, in full and quick.
    rounds: (usize, usize),
}

/// All groups.
pub(crate) const GROUPS: &[Group] = &[
    group("idle2", "memory with 2 workers", idle::two_workers, Contender::BOTH, (3, 1)),
    group("list", "time of the list command", commands::list, Contender::BOTH, (3, 1)),
    group("start", "start of an app to its first answer", commands::start, Contender::BOTH, (3, 1)),
    group("keep-alive", "throughput of kept connections", serving::keep_alive, Contender::BOTH, (5, 1)),
    group("new", "new connections per second", serving::new_connections, Contender::BOTH, (5, 1)),
    group(
        "turns",
        "new connections in turns: a primary in Rust and Node's",
        turns::turns,
        &[Contender::Musher, Contender::Cluster],
        (5, 1),
    ),
    group("blocked", "one worker of four blocked", serving::blocked, Contender::BOTH, (3, 1)),
    group("kill", "a killed worker", events::killed_worker, Contender::ALL, (3, 1)),
    group("reload", "reloads under load: lost requests", events::reload, Contender::ALL, (3, 1)),
    group("latency", "reloads under load: p99 and p99.9", events::latency, Contender::ALL, (5, 1)),
    group("scale", "scaling up and down under load", events::scale, Contender::ALL, (3, 1)),
    group("manager", "a killed manager", events::killed_manager, Contender::ALL, (3, 1)),
    group("upgrade", "upgrades of the manager under load", upgrade::upgrade, &[Contender::Musher], (3, 1)),
    group("channel", "messages, sockets and children of the library", channel::channel, &[Contender::Musher], (5, 1)),
    group("load", "musher load beside other clients", load::load, &[Contender::Musher], (5, 1)),
    group("apps", "memory, lists and idle CPU with 2, 50 and 500 apps", many::many, Contender::BOTH, (1, 1)),
    group("fifty", "start, restart, reload, stop and deletion of 50 apps", many::fifty, Contender::BOTH, (3, 1)),
    group("monit", "CPU with 50 apps, and with monit open", many::watched, Contender::BOTH, (3, 1)),
    group("log", "throughput of a worker's output into its file", logs::throughput, Contender::BOTH, (3, 1)),
    group("rotation", "lines lost when logs are rotated", logs::rotation, Contender::BOTH, (1, 1)),
    group("watch", "from the change of a file to the new worker's answer", watch::reaction, Contender::BOTH, (3, 1)),
    group("idle100", "memory and CPU with 100 workers", idle::hundred_workers, Contender::BOTH, (1, 1)),
];

const fn group(
    name: &'static str,
    about: &'static str,
    session: fn(&mut Bench<'_>, Contender) -> Result<()>,
    contenders: &'static [Contender],
    rounds: (usize, usize),
) -> Group {
    Group { name, about, session, contenders, rounds }
}

impl Group {
    /// Runs all rounds, the contenders in turn.
    pub(crate) fn run(&self, bench: &mut Bench<'_>) -> Result<()> {
        let rounds = if bench.quick { self.rounds.1 } else { self.rounds.0 };
        for round in 0..rounds {
            let mut order = self.contenders.to_vec();
            order.retain(|contender| bench.only.is_none_or(|only| only == *contender));
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
        Contender::Pm2Tuned => PM2_TUNED,
        Contender::Cluster => CLUSTER,
        Contender::Gunicorn => GUNICORN,
    }
}
