//! `musher serve`: a folder of files as an app of this executable, or in the foreground.

use std::net::SocketAddr;

use musher_core::spec::AppSpec;
use musher_serve::Site;

use super::start;
use crate::args::{Cli, ServeArgs, StartArgs};
use crate::config::Flags;
use crate::exit_codes;
use crate::failure::Failure;
use crate::output::{note, sanitize};

/// How workers are told the account: a command line can be read by everybody.
const USERNAME: &str = "SERVE_USERNAME";
const PASSWORD: &str = "SERVE_PASSWORD";

/// Starts the app, or serves.
pub(crate) async fn run(cli: &Cli, args: &ServeArgs) -> Result<(), Failure> {
    let site = site(args)?;
    if args.foreground {
        return serve(args, site).await;
    }
    let spec = spec(args)?;
    start::start(cli, &StartArgs { wait: args.wait.clone(), ..StartArgs::default() }, vec![spec]).await?;
    if args.host.is_loopback() {
        note("only this machine can reach it; --host 0.0.0.0 lets others in");
    }
    Ok(())
}

fn site(args: &ServeArgs) -> Result<Site, Failure> {
    let site = Site::new(&args.root).map_err(|error| {
        let root = sanitize(&args.root.to_string_lossy());
        Failure::new(exit_codes::USAGE, format!("{root} cannot be served: {error}"))
            .with_hint("the first word is a folder of files: musher serve dist 3000")
    })?;
    let site = site
        .single_page(args.spa)
        .listings(args.listing)
        .dotfiles(args.dotfiles)
        .every_origin(args.cors)
        .compress(!args.no_compress)
        .cache(args.cache);
    match (args.username.as_deref(), args.password.as_deref()) {
        (None, None) => Ok(site),
        (Some(name), Some(password)) if !name.contains(':') => Ok(site.account(name, password)),
        (Some(_), Some(_)) => Err(Failure::new(exit_codes::USAGE, "a name with a colon cannot be sent by browsers")),
        // Half of it would let everybody in who was meant to be kept out.
        _ => Err(Failure::new(exit_codes::USAGE, "--username and --password go together")),
    }
}

async fn serve(args: &ServeArgs, site: Site) -> Result<(), Failure> {
    let address = SocketAddr::new(args.host, args.port);
    musher_serve::serve(&address.to_string(), site)
        .await
        .map_err(|error| Failure::environment(format!("cannot serve on http://{address}: {error}")))
}

/// The app: this executable, with a socket that musher opens for it.
fn spec(args: &ServeArgs) -> Result<AppSpec, Failure> {
    let root = std::path::absolute(&args.root)
        .ok()
        .and_then(|path| path.into_os_string().into_string().ok())
        .ok_or_else(|| Failure::new(exit_codes::USAGE, "the name of the folder is no text"))?;
    let account = [(USERNAME, &args.username), (PASSWORD, &args.password)];
    let flags = Flags {
        name: Some(args.name.clone().unwrap_or_else(|| format!("static-page-server-{}", args.port))),
        instances: args.instances.clone(),
        listen: vec![format!("tcp://{}", SocketAddr::new(args.host, args.port))],
        balance: Some("kernel".to_owned()),
        ready: Some("notify".to_owned()),
        env: account.iter().filter_map(|(key, value)| Some(format!("{key}={}", value.as_ref()?))).collect(),
        ..Flags::default()
    };
    start::of_ours(words(args, root), flags)
}

/// The command line of a worker.
fn words(args: &ServeArgs, root: String) -> Vec<String> {
    let mut words = vec!["serve".to_owned(), root, args.port.to_string(), "--foreground".to_owned()];
    words.extend(["--host".to_owned(), args.host.to_string()]);
    let flags = [
        ("--spa", args.spa),
        ("--listing", args.listing),
        ("--dotfiles", args.dotfiles),
        ("--cors", args.cors),
        ("--no-compress", args.no_compress),
    ];
    words.extend(flags.iter().filter(|(_, given)| *given).map(|(flag, _)| (*flag).to_owned()));
    if let Some(cache) = args.cache {
        words.extend(["--cache".to_owned(), format!("{}ms", cache.as_millis())]);
    }
    words
}
