//! What `musher deploy` takes.

use clap::Args;

pub(super) const DEPLOY_HELP: &str = "\
  musher deploy production setup         clone the repository on the machines
  musher deploy production               fetch, go to `ref`, run the hooks
  musher deploy staging origin/next      another branch, tag or commit
  musher deploy production revert 1      the one before
  musher deploy production exec 'ls -l'  a line for the shell, in the program's folder
  musher deploy production list          what was deployed; curr, prev: one of it

FILE is ecosystem.config.js, musher.toml, ... with deploy: { production: {
host, user, repo, path, ref, ... } }; without FILE the one of this folder.";

/// `musher deploy`
#[derive(Debug, Args)]
pub(crate) struct DeployArgs {
    /// [FILE] ENVIRONMENT [setup|update|revert [N]|curr|prev|list|exec COMMAND|REF]
    #[arg(value_name = "WORDS", required = true, num_args = 1..)]
    pub(crate) words: Vec<String>,
    /// Deploy although this folder has changes that are not committed or not pushed.
    #[arg(short, long)]
    pub(crate) force: bool,
    /// Only show what would be run where.
    #[arg(long)]
    pub(crate) dry_run: bool,
}
