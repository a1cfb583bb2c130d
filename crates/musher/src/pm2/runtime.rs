//! `pm2-runtime`, also called `pm2-docker`, and `pm2 start --no-daemon`: a team in the foreground, as `musher run`.

use std::time::Duration;

use musher_core::spec::AppSpec;

use super::{Context, failed, flags, settings, start};
use crate::config::{self, Overrides};
use crate::failure::Failure;
use crate::verbs::run::{Manner, become_team};

/// How long all workers together may take to end, as with `musher run`.
const GRACE: Duration = Duration::from_secs(25);
/// The longest `--delay`.
const MAX_DELAY: f64 = 86_400.0;

/// Becomes the team. Returns only if that fails.
pub(super) async fn run(context: &Context<'_>, words: &[String]) -> Result<(), Failure> {
    let words = match words {
        [first, rest @ ..] if first == "start" => rest,
        words => words,
    };
    let around = start::surroundings()?;
    let mut specs: Vec<AppSpec> = Vec::new();
    let usual = config::find_in(&around.cwd).filter(|_| words.is_empty());
    let words: Vec<String> =
        words.iter().cloned().chain(usual.map(|file| file.to_string_lossy().into_owned())).collect();
    if words.is_empty() {
        return Err(failed("pm2-runtime SCRIPT or FILE: start what?"));
    }
    for word in &words {
        if config::is_process_file(word.as_ref()) {
            specs.extend(start::specs_of_file(context, word)?);
        } else {
            let mut app = flags::keys(context.args);
            app.insert("script".into(), word.as_str().into());
            let text = serde_json::json!({ "apps": [app] }).to_string();
            specs.extend(config::from_described(&text, &Overrides::default(), &around)?.specs);
        }
    }
    settings::apply(&context.cli, &mut specs)?;
    if let Some(seconds) = context.args.delay.filter(|seconds| (0.0..=MAX_DELAY).contains(seconds)) {
        tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
    }
    let manner = Manner {
        json: context.args.json,
        health: None,
        metrics: None,
        ready_file: None,
        grace: GRACE,
        linger: Duration::ZERO,
    };
    become_team(&context.cli, specs, manner)
}
