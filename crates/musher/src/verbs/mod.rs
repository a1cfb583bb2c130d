//! What each verb does: calls the control API and shows what comes back. Nothing is decided here.

mod act;
pub(crate) mod attach;
mod convert;
mod deploy;
mod describe;
mod dev;
mod documents;
mod events;
mod import;
pub(crate) mod kill;
mod list;
pub(crate) mod load;
mod logs;
mod metrics;
pub(crate) mod operations;
pub(crate) mod run;
mod save;
mod send;
mod serve;
mod start;
mod startup;
mod status;
mod targets;
pub(crate) mod trigger;
mod upgrade;
mod web;

use std::time::Duration;

use musher_api::Action;
use tokio::time::timeout_at;

use crate::args::{Cli, Verb};
use crate::exit_codes;
use crate::failure::Failure;
use crate::monit;
use crate::output::{reader_gone, units};
use crate::session;
use crate::systemd::attendant;

/// How much later than `--timeout` a command is given up that nobody has answered: one that is followed ends by itself
/// before, and can tell how far it is.
const LAST_WORD: Duration = Duration::from_millis(250);

/// Does what the command line says, within the time that it gives.
pub(crate) async fn run(cli: &Cli) -> Result<(), Failure> {
    let wait = cli.verb.wait();
    let Some((deadline, limit)) = wait.and_then(|wait| Some((wait.deadline()? + LAST_WORD, wait.timeout?))) else {
        return act(cli).await;
    };
    timeout_at(deadline.into(), act(cli)).await.unwrap_or_else(|_| {
        let limit = units::precise(u64::try_from(limit.as_millis()).unwrap_or(u64::MAX));
        Err(Failure::new(exit_codes::TIMEOUT, format!("the supervisor has not answered within {limit}"))
            .with_hint("what was asked for may still happen when it goes on; `musher status` tells whether it does"))
    })
}

/// Shows what comes as long as somebody reads it.
async fn while_read(shown: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    tokio::select! {
        // What is there is shown first.
        biased;
        ended = shown => ended,
        () = reader_gone() => Ok(()),
    }
}

async fn act(cli: &Cli) -> Result<(), Failure> {
    match &cli.verb {
        Verb::Start(args) => start::run(cli, args).await,
        Verb::List(args) => while_read(list::run(cli, args)).await,
        Verb::Describe(args) => describe::run(cli, args).await,
        Verb::Monit => monit::run(session::client(cli)?).await,
        Verb::Logs(args) => while_read(logs::run(cli, args)).await,
        Verb::Reload(args) => act::run(cli, act::reload(args), &args.target.targets, &args.target.wait).await,
        Verb::Restart(args) => act::run(cli, Action::Restart, &args.targets, &args.wait).await,
        Verb::Stop(args) => act::run(cli, Action::Stop, &args.targets, &args.wait).await,
        Verb::Delete(args) => act::run(cli, Action::Delete, &args.targets, &args.wait).await,
        Verb::Reset(args) => act::run(cli, Action::Reset, &args.targets, &args.wait).await,
        Verb::Flush(args) => act::run(cli, Action::Flush, &args.targets, &args.wait).await,
        Verb::ReopenLogs(args) => act::run(cli, Action::ReopenLogs, &args.targets, &args.wait).await,
        Verb::Pid(args) => list::pids(cli, args).await,
        // Told apart before, for it has a command line of its own.
        Verb::Pm2(_) => Ok(()),
        Verb::Scale(args) => act::scale(cli, args).await,
        Verb::Send(args) => send::send(cli, args).await,
        Verb::Serve(args) => serve::run(cli, args).await,
        Verb::Attach(args) => while_read(attach::run(cli, args)).await,
        Verb::Trigger(args) => trigger::trigger(cli, args).await,
        Verb::Signal(args) => act::signal(cli, args).await,
        Verb::Load(args) => load::run(args),
        Verb::Run(args) => run::run(cli, args).await,
        Verb::Dev(args) => dev::run(cli, args).await,
        Verb::Save => save::save(cli).await,
        Verb::Resurrect(args) => save::resurrect(cli, args).await,
        Verb::Startup(args) => startup::startup(cli, args).await,
        Verb::Unstartup(args) => startup::unstartup(args).await,
        Verb::Attend(args) => attendant::run(cli, args).await,
        Verb::Kill(args) => kill::run(cli, args).await,
        Verb::Upgrade(args) => upgrade::run(cli, args).await,
        Verb::Status(args) => status::run(cli, args).await,
        Verb::Events(args) => while_read(events::run(cli, args)).await,
        Verb::Web(args) => web::run(cli, args).await,
        Verb::Metrics(args) => metrics::run(cli, args).await,
        Verb::Import(args) => import::run(cli, args).await,
        Verb::Deploy(args) => deploy::run(args),
        Verb::Convert(args) => convert::run(args),
        Verb::Openapi => documents::openapi(),
        Verb::Completions(args) => documents::completions(args),
        Verb::Man(args) => documents::man(args),
    }
}
