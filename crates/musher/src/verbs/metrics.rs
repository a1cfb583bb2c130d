//! `musher metrics`

use std::io::Write;

use musher_api::metrics::exposition;
use musher_api::{Settings, SettingsRequest};

use crate::args::{Cli, MetricsArgs};
use crate::failure::Failure;
use crate::output::{note, sanitize};
use crate::session;

/// Prints the metrics, or sets where they go to.
pub(crate) async fn run(cli: &Cli, args: &MetricsArgs) -> Result<(), Failure> {
    let sets = args.listen.is_some() || args.otlp.is_some() || args.every.is_some();
    if sets {
        // What is set is for the daemon that runs now and all that follow.
        let (client, _) = session::started(cli)?;
        let every = args.every.map(|every| u64::try_from(every.as_millis()).unwrap_or(u64::MAX));
        let request = SettingsRequest {
            metrics: args.listen.clone(),
            public: args.public,
            otlp: args.otlp.clone(),
            otlp_every_ms: every,
        };
        let settings = client.set(&request).await?;
        return show(&settings, args.json);
    }
    let client = session::client(cli)?;
    if args.show {
        return show(&client.settings().await?, args.json);
    }
    let metrics = client.metrics().await?;
    let text = if args.json {
        serde_json::to_string_pretty(&metrics).map_err(std::io::Error::from)? + "\n"
    } else {
        exposition(&metrics, args.openmetrics)
    };
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())?;
    Ok(out.flush()?)
}

fn show(settings: &Settings, json: bool) -> Result<(), Failure> {
    let text = if json {
        serde_json::to_string_pretty(settings).map_err(std::io::Error::from)? + "\n"
    } else {
        text(settings)
    };
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()?;
    for trouble in &settings.troubles {
        note(&sanitize(trouble));
    }
    Ok(())
}

fn text(settings: &Settings) -> String {
    let served = match settings.metrics.as_deref() {
        None => "nowhere; musher metrics --listen 127.0.0.1:9616".to_owned(),
        Some(place) if place.starts_with("unix:") => sanitize(place),
        Some(place) => format!("http://{}/metrics", sanitize(place)),
    };
    let sent = match settings.otlp.as_deref() {
        None => "nowhere; musher metrics --otlp http://127.0.0.1:4318".to_owned(),
        Some(url) => format!("{}, metrics every {} s", sanitize(url), settings.otlp_every_ms as f64 / 1000.0),
    };
    format!("served  {served}\notlp    {sent}\n")
}

#[cfg(test)]
mod tests {
    use musher_api::Settings;

    use super::text;

    #[test]
    fn what_is_set_is_shown_with_what_to_do() {
        let nothing = text(&Settings::default());
        assert!(nothing.contains("--listen") && nothing.contains("--otlp"), "{nothing}");
        let settings = Settings {
            metrics: Some("127.0.0.1:9616".into()),
            otlp: Some("http://127.0.0.1:4318".into()),
            otlp_every_ms: 1500,
            ..Settings::default()
        };
        let set = text(&settings);
        assert!(set.contains("http://127.0.0.1:9616/metrics") && set.contains("every 1.5 s"), "{set}");
    }
}
