//! What is set for the daemon as a whole: checked, and kept in `settings.json` of the home. It outlives the list of apps.

use std::fs::OpenOptions;
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use musher_api::{ApiError, Settings, SettingsRequest};

use crate::endpoint::Place;
use crate::otlp::{Endpoint, Signal};

/// The word that ends a setting.
const OFF: &str = "off";
const FILE: &str = "settings.json";
/// What is larger was not written by us.
const MAX_FILE: u64 = 64 << 10;
/// The usual time between two sends, and its bounds, in milliseconds.
const USUAL_EVERY: u64 = 30_000;
const SHORTEST_EVERY: u64 = 1_000;
const LONGEST_EVERY: u64 = 3_600_000;

/// The settings as a request changes them.
pub(super) fn changed(old: &Settings, request: &SettingsRequest) -> Result<Settings, ApiError> {
    let mut new = Settings { troubles: Vec::new(), ..old.clone() };
    match request.metrics.as_deref() {
        None => {}
        Some(OFF) => new.metrics = None,
        Some(text) => {
            let place = Place::parse(text).ok_or_else(|| {
                ApiError::bad_request(format!("{text:?} is no address to serve metrics on"))
                    .with_hint("127.0.0.1:9616, a port alone, the path of a unix socket, or off")
            })?;
            if !place.is_private() && !request.public {
                let message =
                    format!("{place} can be reached from other machines, and whoever reaches it reads the metrics");
                return Err(ApiError::bad_request(message).with_hint("127.0.0.1:9616; or --public, if that is meant"));
            }
            new.metrics = Some(place.to_string());
        }
    }
    match request.otlp.as_deref() {
        None => {}
        Some(OFF) => new.otlp = None,
        Some(url) => {
            Endpoint::of(url, Signal::Metrics).map_err(|why| {
                ApiError::bad_request(format!("the receiver of OTLP: {why}")).with_hint("as http://127.0.0.1:4318")
            })?;
            new.otlp = Some(url.to_owned());
        }
    }
    if let Some(every) = request.otlp_every_ms {
        if !(SHORTEST_EVERY..=LONGEST_EVERY).contains(&every) {
            return Err(ApiError::bad_request("metrics are sent every second at most, and every hour at least"));
        }
        new.otlp_every_ms = every;
    }
    Ok(new)
}

/// What is on the disk. What cannot be read is told, and is as if it were not there.
pub(super) fn load(home: &Path) -> Settings {
    let path = home.join(FILE);
    let read = || -> io::Result<Settings> {
        let mut text = Vec::new();
        std::fs::File::open(&path)?.take(MAX_FILE).read_to_end(&mut text)?;
        Ok(serde_json::from_slice(&text)?)
    };
    let settings = read().unwrap_or_else(|error| {
        if error.kind() != io::ErrorKind::NotFound {
            tracing::error!(path = %path.display(), %error, "the settings cannot be read: nothing is set");
        }
        Settings::default()
    });
    let every = if settings.otlp_every_ms == 0 { USUAL_EVERY } else { settings.otlp_every_ms };
    Settings { otlp_every_ms: every.clamp(SHORTEST_EVERY, LONGEST_EVERY), troubles: Vec::new(), ..settings }
}

/// Writes them, so that a kill leaves the old ones or these.
pub(super) fn store(home: &Path, settings: &Settings) -> io::Result<()> {
    let (path, new) = (home.join(FILE), home.join(format!("{FILE}.new")));
    let text = serde_json::to_vec_pretty(settings)?;
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    file.write_all(&text)?;
    file.sync_all()?;
    std::fs::rename(new, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(metrics: &str, public: bool) -> Result<Settings, ApiError> {
        let request = SettingsRequest { metrics: Some(metrics.into()), public, ..SettingsRequest::default() };
        changed(&Settings::default(), &request)
    }

    #[test]
    fn metrics_are_served_to_this_machine_unless_more_is_said() {
        for (text, place) in [
            ("9616", "127.0.0.1:9616"),
            (":9616", "127.0.0.1:9616"),
            ("localhost:1", "127.0.0.1:1"),
            ("[::1]:9616", "[::1]:9616"),
            ("/run/m.sock", "unix:///run/m.sock"),
            ("unix:///run/m.sock", "unix:///run/m.sock"),
        ] {
            assert_eq!(ask(text, false).unwrap().metrics.as_deref(), Some(place), "{text}");
        }
        for wrong in ["", "example.com:80", "127.0.0.1", "99999", "0.0.0.0:9616", "192.0.2.1:1"] {
            assert!(ask(wrong, false).is_err(), "{wrong}");
        }
        assert_eq!(ask("0.0.0.0:9616", true).unwrap().metrics.as_deref(), Some("0.0.0.0:9616"));
        assert_eq!(ask("off", false).unwrap().metrics, None);
    }

    #[test]
    fn only_what_is_asked_for_changes() {
        let old = Settings { metrics: Some("127.0.0.1:1".into()), otlp_every_ms: 5000, ..Settings::default() };
        let request = SettingsRequest { otlp: Some("http://127.0.0.1:4318".into()), ..SettingsRequest::default() };
        let new = changed(&old, &request).unwrap();
        assert_eq!((&new.metrics, new.otlp_every_ms), (&old.metrics, 5000));
        assert_eq!(new.otlp.as_deref(), Some("http://127.0.0.1:4318"));
        for wrong in ["nowhere", "ftp://x"] {
            let request = SettingsRequest { otlp: Some(wrong.into()), ..SettingsRequest::default() };
            assert!(changed(&old, &request).is_err(), "{wrong}");
        }
        let request = SettingsRequest { otlp_every_ms: Some(10), ..SettingsRequest::default() };
        assert!(changed(&old, &request).is_err());
    }

    #[test]
    fn settings_are_on_the_disk_and_damage_is_as_if_there_were_none() {
        let home = tempfile::tempdir().unwrap();
        assert_eq!(load(home.path()).metrics, None);
        let settings = Settings { metrics: Some("127.0.0.1:9".into()), otlp_every_ms: 7000, ..load(home.path()) };
        store(home.path(), &settings).unwrap();
        assert_eq!(load(home.path()), settings);
        std::fs::write(home.path().join(FILE), "{").unwrap();
        assert_eq!(load(home.path()).metrics, None);
    }
}
