//! What `musher list`, `describe` and `pid` take.

use clap::Args;

/// `musher list`
#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// Only these: names or ids of apps, namespaces, /expressions/ for names.
    #[arg(value_name = "APP")]
    pub(crate) targets: Vec<String>,
    /// One array with an object for each slot.
    #[arg(long)]
    pub(crate) json: bool,
}

/// `musher describe`
#[derive(Debug, Args)]
pub(crate) struct DescribeArgs {
    /// Names or ids of apps, namespaces, /expressions/ for names.
    #[arg(required = true, value_name = "APP")]
    pub(crate) targets: Vec<String>,
    /// Show the values of environment variables.
    #[arg(long)]
    pub(crate) env: bool,
    /// As the control API gives it.
    #[arg(long)]
    pub(crate) json: bool,
}

/// `musher pid`
#[derive(Debug, Args)]
pub(crate) struct PidArgs {
    /// Names or ids of apps, namespaces, /expressions/ for names [default: all].
    #[arg(value_name = "APP")]
    pub(crate) targets: Vec<String>,
}
