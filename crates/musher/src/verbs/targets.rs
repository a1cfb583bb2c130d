//! Names of apps that were not found.

use musher_api::client::Client;

use crate::exit_codes;
use crate::failure::Failure;
use crate::output::sanitize;

/// How many apps are named when none is near.
const NAMED: usize = 10;

/// No supervisor runs, so there is no such app.
pub(super) fn nothing_runs(target: &str) -> Failure {
    let shown = sanitize(target);
    Failure::new(exit_codes::NO_SUCH_APP, format!("there is no app {shown:?}: no supervisor is running"))
}

/// The failure; when it is an unknown app, with the apps that may have been meant.
pub(super) async fn with_suggestion(client: &Client, failure: Failure, targets: &[String]) -> Failure {
    if failure.code() != exit_codes::NO_SUCH_APP {
        return failure;
    }
    let Ok(apps) = client.apps().await else { return failure };
    let names: Vec<String> = apps.into_iter().map(|app| sanitize(&app.app)).collect();
    match suggestion(&names, targets) {
        Some(hint) => failure.with_hint(hint),
        None => failure,
    }
}

/// Advice on which of `names` may be meant by `targets`.
pub(super) fn suggestion(names: &[String], targets: &[String]) -> Option<String> {
    if names.is_empty() {
        return Some("there are no apps; `musher start` makes one".into());
    }
    let unknown = targets.iter().filter(|target| !names.contains(target) && target.parse::<u32>().is_err());
    let near = unknown
        .flat_map(|target| names.iter().map(move |name| (strsim::damerau_levenshtein(target, name), name)))
        .filter(|(distance, name)| distance * 5 <= name.chars().count() * 2)
        .min_by_key(|(distance, _)| *distance);
    match near {
        Some((_, name)) => Some(format!("did you mean {name:?}?")),
        None if names.len() <= NAMED => Some(format!("there are: {}", names.join(", "))),
        None => Some("`musher list` shows the apps that there are".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::suggestion;

    #[test]
    fn the_nearest_name_is_suggested() {
        let names = ["web".to_owned(), "worker-jobs".to_owned()];
        assert_eq!(suggestion(&names, &["wbe".into()]).unwrap(), "did you mean \"web\"?");
        assert_eq!(suggestion(&names, &["web".into(), "worker-jbos".into()]).unwrap(), "did you mean \"worker-jobs\"?");
        assert_eq!(suggestion(&names, &["zzz".into()]).unwrap(), "there are: web, worker-jobs");
        assert!(suggestion(&[], &["web".into()]).unwrap().contains("no apps"));
    }
}
