//! `musher reload`, `restart`, `stop`, `delete`, `scale`, `signal`

use std::collections::BTreeMap;

use musher_api::client::{Client, request_id};
use musher_api::{Action, ActionRequest};
use musher_core::spec::MAX_INSTANCES;

use super::operations::{Ended, Online, follow, in_time, tell_failures};
use super::targets;
use crate::args::{Cli, ReloadArgs, ScaleArgs, SignalArgs, WaitArgs};
use crate::exit_codes;
use crate::failure::Failure;
use crate::output::{note, sanitize};
use crate::session;

/// Acts on apps that exist, and waits until it is true.
pub(crate) async fn run(cli: &Cli, action: Action, targets: &[String], wait: &WaitArgs) -> Result<(), Failure> {
    let client = session::client(cli)?;
    let targets = targets::expanded(&client, targets).await?;
    let ended = act(&client, action, &targets, wait).await?;
    tell(&client, action, &ended).await
}

/// What `musher reload` asks for.
pub(crate) fn reload(args: &ReloadArgs) -> Action {
    let millis = |wait: std::time::Duration| u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
    match args.canary {
        None => Action::Reload,
        Some(slots) => Action::Canary { slots, wait_ms: args.canary_wait.map(millis) },
    }
}

/// Asks for an action and waits for its end.
pub(super) async fn act(
    client: &Client,
    action: Action,
    targets: &[String],
    wait: &WaitArgs,
) -> Result<Ended, Failure> {
    let request = ActionRequest { request_id: request_id(), action, targets: targets.to_vec() };
    match client.act(&request).await {
        Ok(response) => follow(client, &response.operations, wait).await,
        Err(error) => Err(targets::with_suggestion(client, error.into(), targets).await),
    }
}

/// `musher scale`: each of the apps that are meant, to the same number or by the same change.
pub(crate) async fn scale(cli: &Cli, args: &ScaleArgs) -> Result<(), Failure> {
    let client = session::client(cli)?;
    let targets = targets::expanded(&client, std::slice::from_ref(&args.target)).await?;
    let by = match change(&args.to)? {
        Change::To(to) => {
            let to = possible(to.into(), &args.to, &args.target)?;
            return run(cli, Action::Scale { to }, &targets, &args.wait).await;
        }
        Change::By(by) => by,
    };
    // All are looked at before the first is changed.
    let mut numbers: BTreeMap<u32, Vec<String>> = BTreeMap::new();
    for target in targets {
        let slots = match client.slots(Some(&target).filter(|target| *target != "all").map(String::as_str)).await {
            Ok(slots) => slots,
            Err(error) => return Err(targets::with_suggestion(&client, error.into(), &[target]).await),
        };
        let mut apps: BTreeMap<String, i64> = BTreeMap::new();
        slots.into_iter().for_each(|slot| *apps.entry(slot.app).or_default() += 1);
        for (app, slots) in apps {
            numbers.entry(possible(slots.saturating_add(by), &args.to, &app)?).or_default().push(app);
        }
    }
    for (to, apps) in numbers {
        run(cli, Action::Scale { to }, &apps, &args.wait).await?;
    }
    Ok(())
}

/// The number, if there may be so many workers.
fn possible(to: i64, asked: &str, app: &str) -> Result<u32, Failure> {
    u32::try_from(to).ok().filter(|to| (1..=MAX_INSTANCES).contains(to)).ok_or_else(|| {
        let wrong = format!("{asked} would make {to} workers of {app:?}: 1 to {MAX_INSTANCES} are possible");
        Failure::new(exit_codes::USAGE, wrong).with_hint("`musher stop` keeps an app without workers")
    })
}

#[derive(Debug, PartialEq, Eq)]
enum Change {
    To(u32),
    By(i64),
}

fn change(text: &str) -> Result<Change, Failure> {
    let wrong = || {
        Failure::new(exit_codes::USAGE, format!("{text:?} is not a number of workers"))
            .with_hint("a number (4), a change (+2, -1), or max")
    };
    if text == "max" {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        return Ok(Change::To(u32::try_from(cores).unwrap_or(MAX_INSTANCES).min(MAX_INSTANCES)));
    }
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(wrong());
    }
    let number: u32 = digits.parse().map_err(|_| wrong())?;
    Ok(match text.as_bytes().first() {
        Some(b'+') => Change::By(i64::from(number)),
        Some(b'-') => Change::By(-i64::from(number)),
        _ => Change::To(number),
    })
}

/// `musher signal`
pub(crate) async fn signal(cli: &Cli, args: &SignalArgs) -> Result<(), Failure> {
    let signal = musher_process::exit::parse_signal(&args.signal).ok_or_else(|| {
        Failure::new(exit_codes::USAGE, format!("{:?} is not a signal", args.signal))
            .with_hint("a name (SIGUSR2, usr2) or a number (12); `kill -l` lists them")
    })?;
    run(cli, Action::Signal { signal, slot: None }, &args.targets, &WaitArgs::default()).await
}

/// Tells what was done, and what failed.
pub(super) async fn tell(client: &Client, action: Action, ended: &Ended) -> Result<(), Failure> {
    let online = Online::ask(client).await;
    for operation in ended.operations.iter().filter(|operation| operation.ok) {
        let what = done(action, &online.of(&operation.app));
        note(&format!("{}: {what}{}", sanitize(&operation.subject()), in_time(ended.took)));
    }
    if ended.operations.is_empty() {
        note("there are no apps; nothing to do");
    }
    tell_failures(ended)
}

/// What was done, in a few words.
fn done(action: Action, online: &str) -> String {
    match action {
        Action::Start => format!("started, {online}"),
        Action::Restart => format!("restarted, {online}"),
        Action::Reload | Action::Canary { .. } => format!("reloaded, {online}"),
        Action::Scale { to } => format!("scaled to {to}, {online}"),
        Action::Stop => "stopped".into(),
        Action::Delete => "deleted".into(),
        Action::Reset => "counts are 0".into(),
        Action::Flush => "logs emptied".into(),
        Action::ReopenLogs => "logs opened again".into(),
        Action::Signal { signal, .. } => format!("sent {}", musher_process::exit::signal_name(signal)),
    }
}

#[cfg(test)]
mod tests {
    use super::{Change, change};

    #[test]
    fn a_number_of_workers_is_absolute_or_a_change() {
        assert_eq!(change("4").ok(), Some(Change::To(4)));
        assert_eq!(change("+2").ok(), Some(Change::By(2)));
        assert_eq!(change("-1").ok(), Some(Change::By(-1)));
        assert!(matches!(change("max"), Ok(Change::To(1..))));
        for wrong in ["", "+", "-", "many", "1.5", "--1", "++1", "99999999999"] {
            assert!(change(wrong).is_err(), "{wrong}");
        }
    }
}
