//! What each verb does: calls the control API and shows what comes back. Nothing is decided here.

mod act;
mod describe;
mod documents;
mod events;
mod kill;
mod list;
mod logs;
mod operations;
mod save;
mod start;
mod status;
mod targets;

use musher_api::Action;

use crate::args::{Cli, Verb};
use crate::failure::Failure;

/// Does what the command line says.
pub(crate) async fn run(cli: &Cli) -> Result<(), Failure> {
    match &cli.verb {
        Verb::Start(args) => start::run(cli, args).await,
        Verb::List(args) => list::run(cli, args).await,
        Verb::Describe(args) => describe::run(cli, args).await,
        Verb::Logs(args) => logs::run(cli, args).await,
        Verb::Reload(args) => act::run(cli, Action::Reload, &args.targets, &args.wait).await,
        Verb::Restart(args) => act::run(cli, Action::Restart, &args.targets, &args.wait).await,
        Verb::Stop(args) => act::run(cli, Action::Stop, &args.targets, &args.wait).await,
        Verb::Delete(args) => act::run(cli, Action::Delete, &args.targets, &args.wait).await,
        Verb::Scale(args) => act::scale(cli, args).await,
        Verb::Signal(args) => act::signal(cli, args).await,
        Verb::Save => save::save(cli).await,
        Verb::Resurrect(args) => save::resurrect(cli, args).await,
        Verb::Kill(args) => kill::run(cli, args).await,
        Verb::Status(args) => status::run(cli, args).await,
        Verb::Events(args) => events::run(cli, args).await,
        Verb::Openapi => documents::openapi(),
        Verb::Completions(args) => documents::completions(args),
        Verb::Man(args) => documents::man(args),
    }
}
