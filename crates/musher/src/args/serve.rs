//! What `musher serve` takes.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueHint};

use super::{WaitArgs, duration};

pub(super) const SERVE_HELP: &str = "\
  musher serve                                this folder, on http://127.0.0.1:8080
  musher serve dist 3000 --spa -i max         an application of one page, on every
                                              core
  musher serve files 8000 --host 0.0.0.0 --listing
  SERVE_PASSWORD=... musher serve private 8000 --username ann

Names that begin with a dot, and links that lead out of the folder, are not
served.";

/// `musher serve`
#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    /// The folder.
    #[arg(value_name = "FOLDER", default_value = ".", value_hint = ValueHint::DirPath)]
    pub(crate) root: PathBuf,
    /// The port.
    #[arg(value_name = "PORT", default_value_t = 8080)]
    pub(crate) port: u16,
    /// The address; 0.0.0.0 or [::] let other machines in.
    #[arg(long, value_name = "IP", default_value = "127.0.0.1", value_parser = host)]
    pub(crate) host: IpAddr,
    /// Name of the app [default: static-page-server-PORT].
    #[arg(short, long)]
    pub(crate) name: Option<String>,
    /// Number of workers: a number, or `max` for one on each core.
    #[arg(short, long, value_name = "N|max")]
    pub(crate) instances: Option<String>,
    /// Answer with index.html where there is no file: for applications that have their routes in the browser.
    #[arg(long)]
    pub(crate) spa: bool,
    /// List folders that have no index.html.
    #[arg(long, visible_alias = "ftp")]
    pub(crate) listing: bool,
    /// Serve names that begin with a dot, too.
    #[arg(long)]
    pub(crate) dotfiles: bool,
    /// Let pages of every origin read the files.
    #[arg(long)]
    pub(crate) cors: bool,
    /// How long browsers may keep files without asking again, pages excepted [default: they ask each time].
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(crate) cache: Option<Duration>,
    /// Compress nothing.
    #[arg(long)]
    pub(crate) no_compress: bool,
    /// Who may see it (HTTP basic authentication), with --password.
    #[arg(long, value_name = "NAME", visible_alias = "basic-auth-username", env = "SERVE_USERNAME")]
    pub(crate) username: Option<String>,
    /// The password; better in the variable SERVE_PASSWORD, for others on this machine can read a command line.
    #[arg(
        long,
        value_name = "WORD",
        visible_alias = "basic-auth-password",
        env = "SERVE_PASSWORD",
        hide_env_values = true
    )]
    pub(crate) password: Option<String>,
    /// Serve in this process, without a daemon, until ^C.
    #[arg(long)]
    pub(crate) foreground: bool,
    #[command(flatten)]
    pub(crate) wait: WaitArgs,
}

/// An address; that of IPv6 with brackets or without, and the name that everybody has.
fn host(text: &str) -> Result<IpAddr, String> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    if bare == "localhost" {
        return Ok(IpAddr::from([127, 0, 0, 1]));
    }
    bare.parse().map_err(|_| "an address is expected, as 127.0.0.1, 0.0.0.0 or [::1]".to_owned())
}
