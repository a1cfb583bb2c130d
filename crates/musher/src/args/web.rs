//! What `musher web` takes.

use std::net::{IpAddr, Ipv4Addr};

use clap::Args;

use super::WaitArgs;

pub(super) const WEB_HELP: &str = "\
It runs as an app of its own, `musher-web`: stop, delete or restart it as any other. Browsers get a page; all others
the JSON of `pm2 web`, without environments.

  musher web                       http://127.0.0.1:9615/
  curl -s http://127.0.0.1:9615/ | jq '.processes[].name'
  musher delete musher-web";

/// `musher web`
#[derive(Clone, Debug, Args)]
pub(crate) struct WebArgs {
    /// The port.
    #[arg(short, long, default_value_t = 9615)]
    pub(crate) port: u16,
    /// The address. Others than those of this machine only with --public: whoever reaches it sees all apps.
    #[arg(long, value_name = "IP", default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    pub(crate) host: IpAddr,
    /// Let it be an address that other machines reach.
    #[arg(long)]
    pub(crate) public: bool,
    /// Let pages of this origin read the JSON, or `*`: those of every origin.
    #[arg(long, value_name = "ORIGIN")]
    pub(crate) cors: Option<String>,
    /// Serve from this process, not as an app.
    #[arg(long)]
    pub(crate) foreground: bool,
    #[command(flatten)]
    pub(crate) wait: WaitArgs,
}
