//! What users name apps by: names, ids, namespaces and expressions; and names that were not found.

use musher_api::AppSummary;
use musher_api::client::Client;
use regex_lite::RegexBuilder;

use super::attach::app_and_slot;
use crate::exit_codes;
use crate::failure::Failure;
use crate::output::sanitize;

/// How many apps are named when none is near.
const NAMED: usize = 10;

/// The names and ids that `words` stand for: a namespace is all its apps, `/expression/` all whose names match.
pub(crate) async fn expanded(client: &Client, words: &[String]) -> Result<Vec<String>, Failure> {
    // Nothing runs: what follows says so.
    let Ok(apps) = client.apps().await else { return Ok(words.to_vec()) };
    let mut names = Vec::new();
    for word in words {
        for name in meant(&apps, word)? {
            if !names.contains(&name) {
                names.push(name);
            }
        }
    }
    Ok(names)
}

/// Whether a word is an expression for names, and not the path of a file.
pub(super) fn is_expression(word: &str) -> bool {
    let parts = word.strip_prefix('/').and_then(|rest| rest.rsplit_once('/'));
    parts.is_some_and(|(_, flags)| matches!(flags, "" | "i")) && !std::path::Path::new(word).exists()
}

/// What one word stands for; itself, when it is none of these.
fn meant(apps: &[AppSummary], word: &str) -> Result<Vec<String>, Failure> {
    let named = |wanted: &dyn Fn(&AppSummary) -> bool| -> Vec<String> {
        apps.iter().filter(|app| wanted(app)).map(|app| app.app.clone()).collect()
    };
    if word == "all" || !named(&|app| app.app == word || app.id.to_string() == word).is_empty() {
        return Ok(vec![word.to_owned()]);
    }
    if let Some((expression, flags)) = word.strip_prefix('/').and_then(|rest| rest.rsplit_once('/')) {
        let regex = RegexBuilder::new(expression)
            .case_insensitive(flags.contains('i'))
            .build()
            .map_err(|error| Failure::new(exit_codes::USAGE, format!("{word} is not a regular expression: {error}")))?;
        let found = named(&|app| regex.is_match(&app.app));
        if found.is_empty() {
            let failure = Failure::new(exit_codes::NO_SUCH_APP, format!("no app's name matches {}", sanitize(word)));
            return Err(failure.with_hint("`musher list` shows the apps that there are"));
        }
        return Ok(found);
    }
    let found = named(&|app| app.namespace == word);
    Ok(if found.is_empty() { vec![word.to_owned()] } else { found })
}

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
    let is_of_known = |target: &String| {
        let (app, slot) = app_and_slot(target);
        slot.is_some() && names.iter().any(|name| name == app)
    };
    if targets.iter().any(is_of_known) {
        // The slot is what there is not.
        return failure;
    }
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
    use musher_api::{AppSummary, Mode};

    use super::{meant, suggestion};

    fn app(id: u32, name: &str, namespace: &str) -> AppSummary {
        AppSummary {
            app: name.into(),
            id,
            namespace: namespace.into(),
            mode: Mode::Fork,
            running: true,
            instances: 1,
            online: 1,
            restarts: 0,
            memory_bytes: 0,
            cpu_percent: 0.0,
            generation: 1,
            program: String::new(),
        }
    }

    #[test]
    fn apps_are_named_by_name_id_namespace_and_expression() {
        let apps = [app(1, "web", "shop"), app(2, "web-jobs", "shop"), app(3, "shop-mail", "mail"), app(4, "5", "x")];
        let found = |word: &str| meant(&apps, word).unwrap();
        assert_eq!(found("web"), ["web"]);
        assert_eq!(found("2"), ["2"]);
        assert_eq!(found("shop"), ["web", "web-jobs"]);
        assert_eq!(found("mail"), ["shop-mail"]);
        assert_eq!(found("/^web/"), ["web", "web-jobs"]);
        assert_eq!(found("/WEB-/i"), ["web-jobs"]);
        assert_eq!(found("all"), ["all"]);
        assert_eq!(found("wbe"), ["wbe"], "the supervisor says that there is none");
        assert_eq!(meant(&apps, "/zzz/").unwrap_err().code(), crate::exit_codes::NO_SUCH_APP);
        assert_eq!(meant(&apps, "/(/").unwrap_err().code(), crate::exit_codes::USAGE);
    }

    #[test]
    fn the_nearest_name_is_suggested() {
        let names = ["web".to_owned(), "worker-jobs".to_owned()];
        assert_eq!(suggestion(&names, &["wbe".into()]).unwrap(), "did you mean \"web\"?");
        assert_eq!(suggestion(&names, &["web".into(), "worker-jbos".into()]).unwrap(), "did you mean \"worker-jobs\"?");
        assert_eq!(suggestion(&names, &["zzz".into()]).unwrap(), "there are: web, worker-jobs");
        assert!(suggestion(&[], &["web".into()]).unwrap().contains("no apps"));
    }
}
