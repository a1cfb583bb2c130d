//! The endpoint and the sender, as the settings want them.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use musher_api::{ApiError, ErrorCode, EventKind, Settings, SettingsRequest};
use tokio::task::AbortHandle;

use crate::control::{DriverHandle, News};
use crate::endpoint::{self, Place};
use crate::link::KeeperLink;

use super::settings::{changed, load, store};
use super::{export, serve};

/// The listening socket in the keeper: it survives the supervisor, so that Prometheus is never refused.
pub(crate) const METRICS_NAME: &str = "metrics";
/// How long to wait before an address that is taken is tried again.
const AGAIN: Duration = Duration::from_secs(30);

/// What is set, and what works for it. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Telemetry {
    shared: Arc<Shared>,
}

struct Shared {
    home: PathBuf,
    link: KeeperLink,
    /// Held by whoever changes the settings, also while they are written.
    setting: Mutex<()>,
    /// Never held while something waits for the disk: the supervisor asks for it.
    state: Mutex<State>,
}

struct State {
    settings: Settings,
    serving: Option<AbortHandle>,
    sending: Option<AbortHandle>,
    /// What does not work, by its part.
    troubles: BTreeMap<&'static str, String>,
}

impl Telemetry {
    /// What is set in this home; nothing is done yet.
    pub(crate) fn of_home(home: PathBuf, link: KeeperLink) -> Telemetry {
        let settings = load(&home);
        let state = State { settings, serving: None, sending: None, troubles: BTreeMap::new() };
        Telemetry { shared: Arc::new(Shared { home, link, setting: Mutex::new(()), state: Mutex::new(state) }) }
    }

    /// Begins with what is set. `held` is the listening socket of an earlier supervisor.
    pub(crate) fn begin(&self, held: Option<OwnedFd>, driver: &DriverHandle) {
        let mut state = self.shared.lock();
        if let Some(place) = state.settings.metrics.as_deref().and_then(Place::parse) {
            // Another address may have been set just before the earlier supervisor was killed.
            let held = held.filter(|socket| endpoint::listens_at(socket, &place));
            state.serving = Some(tokio::spawn(self.clone().keep_serving(place, held, driver.clone())).abort_handle());
        } else if held.is_some() {
            self.shared.link.remove(METRICS_NAME);
        }
        self.send(&mut state, driver);
    }

    /// What is set, and what is wrong with it.
    pub(crate) fn settings(&self) -> Settings {
        self.shared.lock().shown()
    }

    /// Changes what is set. It waits for the disk.
    pub(crate) fn set(&self, request: &SettingsRequest, driver: &DriverHandle) -> Result<Settings, ApiError> {
        let _one = self.shared.setting.lock().unwrap_or_else(PoisonError::into_inner);
        let (old, is_troubled) = {
            let state = self.shared.lock();
            (state.settings.clone(), state.troubles.contains_key(METRICS_NAME))
        };
        let mut new = changed(&old, request)?;
        let socket = match new.metrics.as_deref().and_then(Place::parse) {
            Some(place) if new.metrics != old.metrics || is_troubled => {
                let (socket, place) = endpoint::open(&place).map_err(|error| cannot_serve(&place, &error))?;
                new.metrics = Some(place.to_string());
                Some((socket, place))
            }
            _ => None,
        };
        store(&self.shared.home, &new)
            .map_err(|error| ApiError::internal(format!("the settings cannot be written: {error}")))?;
        let sends = (&new.otlp, new.otlp_every_ms) != (&old.otlp, old.otlp_every_ms);
        let mut state = self.shared.lock();
        state.settings = new;
        if socket.is_some() || state.settings.metrics.is_none() {
            state.troubles.remove(METRICS_NAME);
            if let Some(serving) = state.serving.take() {
                serving.abort();
                self.shared.link.remove(METRICS_NAME);
            }
        }
        if let Some((socket, place)) = socket {
            self.shared.link.put(METRICS_NAME, socket.as_fd());
            let serving = tokio::spawn(self.clone().keep_serving(place, Some(socket), driver.clone()));
            state.serving = Some(serving.abort_handle());
        }
        if sends {
            self.send(&mut state, driver);
        }
        Ok(state.shown())
    }

    /// Sends as it is set now.
    fn send(&self, state: &mut State, driver: &DriverHandle) {
        if let Some(sending) = state.sending.take() {
            sending.abort();
        }
        state.troubles.remove(export::NAME);
        let Some(url) = state.settings.otlp.clone() else { return };
        let every = Duration::from_millis(state.settings.otlp_every_ms);
        let telemetry = self.clone();
        let tell = move |trouble: Option<String>| telemetry.note(export::NAME, trouble);
        state.sending = Some(tokio::spawn(export::run(driver.clone(), url, every, tell)).abort_handle());
    }

    /// Serves on this socket, or opens one as soon as its address is free.
    async fn keep_serving(self, place: Place, mut socket: Option<OwnedFd>, driver: DriverHandle) {
        loop {
            let opened = match socket.take() {
                Some(socket) => Ok(socket),
                None => endpoint::open(&place).map(|(socket, _)| socket),
            };
            let failed = match opened {
                Ok(socket) => {
                    self.shared.link.put(METRICS_NAME, socket.as_fd());
                    if self.note(METRICS_NAME, None) {
                        driver.events().publish(News::new(EventKind::Other, format!("metrics are served on {place}")));
                    }
                    endpoint::serve(socket, &place, serve::router(driver.clone())).await.err()
                }
                Err(error) => Some(error),
            };
            let Some(error) = failed else { return };
            if !self.note(METRICS_NAME, Some(cannot_serve(&place, &error).message)) {
                let told = format!("metrics cannot be served on {place}: {error}; it is tried again");
                tracing::warn!("{told}");
                driver.events().publish(News::new(EventKind::Other, told));
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    /// Keeps what does not work, or that it does. Whether there was trouble before.
    fn note(&self, part: &'static str, trouble: Option<String>) -> bool {
        let mut state = self.shared.lock();
        let before = match trouble {
            Some(trouble) => state.troubles.insert(part, trouble),
            None => state.troubles.remove(part),
        };
        before.is_some()
    }
}

/// Sets where metrics are served for a daemon that is about to begin in this home, and opens the socket, so that who
/// starts it is told what is wrong. Other machines may reach it: it is said for a container.
///
/// # Errors
///
/// When the address is none, is taken, or the home cannot be written.
pub fn serve_from_the_beginning(home: &std::path::Path, address: &str) -> Result<OwnedFd, ApiError> {
    let request = SettingsRequest { metrics: Some(address.to_owned()), public: true, ..SettingsRequest::default() };
    let mut settings = changed(&load(home), &request)?;
    let place = settings.metrics.as_deref().and_then(Place::parse);
    let place = place.ok_or_else(|| ApiError::bad_request("an address is needed: 0.0.0.0:9616"))?;
    let (socket, place) = endpoint::open(&place).map_err(|error| cannot_serve(&place, &error))?;
    settings.metrics = Some(place.to_string());
    store(home, &settings).map_err(|error| ApiError::internal(format!("the settings cannot be written: {error}")))?;
    Ok(socket)
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn shown(&self) -> Settings {
        Settings { troubles: self.troubles.values().cloned().collect(), ..self.settings.clone() }
    }
}

fn cannot_serve(place: &Place, error: &std::io::Error) -> ApiError {
    ApiError::new(ErrorCode::Conflict, format!("metrics cannot be served on {place}: {error}"))
        .with_hint("another port, or 0 for any that is free")
}
