//! `musher web`: the JSON of `pm2 web` and a page for browsers, as an app of this executable or in the foreground.

use std::net::SocketAddr;

use musher_core::spec::AppSpec;

use super::start;
use crate::args::{Cli, StartArgs, WebArgs};
use crate::config::Flags;
use crate::exit_codes;
use crate::failure::Failure;
use crate::output::note;
use crate::{session, web};

/// The name of the app.
const NAME: &str = "musher-web";

/// Starts the app, or serves.
pub(crate) async fn run(cli: &Cli, args: &WebArgs) -> Result<(), Failure> {
    if !args.host.is_loopback() && !args.public {
        let message = format!("{} can be reached from other machines, and whoever reaches it sees all apps", args.host);
        let failure = Failure::new(exit_codes::USAGE, message);
        return Err(failure.with_hint("without --host only this machine reaches it; --public, if that is meant"));
    }
    if args.foreground {
        return web::serve(cli, SocketAddr::new(args.host, args.port), args.cors.as_deref()).await;
    }
    let spec = spec(cli, args)?;
    start::start(cli, &StartArgs { wait: args.wait.clone(), ..StartArgs::default() }, vec![spec]).await?;
    note(&format!("http://{}/", SocketAddr::new(args.host, args.port)));
    Ok(())
}

/// The app: this executable, with a socket that musher opens for it.
fn spec(cli: &Cli, args: &WebArgs) -> Result<AppSpec, Failure> {
    let address = SocketAddr::new(args.host, args.port);
    let home = session::home_path(cli)?;
    let home = home.to_str().ok_or_else(|| Failure::environment("the path of the home is no text"))?;
    let mut words = vec!["web".to_owned(), "--foreground".to_owned(), "--home".to_owned(), home.to_owned()];
    words.extend(["--host".to_owned(), args.host.to_string(), "--port".to_owned(), args.port.to_string()]);
    words.extend(args.public.then(|| "--public".to_owned()));
    words.extend(args.cors.iter().flat_map(|origin| ["--cors".to_owned(), origin.clone()]));
    let flags = Flags {
        name: Some(NAME.to_owned()),
        cwd: Some("/".to_owned()),
        listen: vec![format!("tcp://{address}")],
        ready: Some(format!("http://{}{}", reached(address), web::READY)),
        ..Flags::default()
    };
    start::of_ours(words, flags)
}

/// Where an address is reached from this machine.
fn reached(address: SocketAddr) -> SocketAddr {
    let mut reached = address;
    if address.ip().is_unspecified() {
        reached.set_ip(match address {
            SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
        });
    }
    reached
}
