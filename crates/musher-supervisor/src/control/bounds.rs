//! What a request may contain: counts, lengths and ranges. The driver sees nothing that has not passed here.

use std::collections::BTreeSet;

use musher_api::{
    Action, ActionRequest, ApiError, ErrorCode, InputRequest, LogQuery, MAX_INPUT, MAX_LOG_LINES, MAX_PATH, MAX_SPECS,
    MAX_TARGETS, MAX_WORD, ResurrectRequest, SaveRequest, SendRequest, SettingsRequest, ShutdownRequest, StartRequest,
    UpgradeRequest,
};
use musher_core::spec::MAX_INSTANCES;

/// The longest wait of a canary, in milliseconds: as in a spec, a year.
const MAX_WAIT_MS: u64 = 365 * 24 * 3600 * 1000;

/// A request that can be out of bounds.
pub(super) trait Bounded {
    /// Says what is out of bounds.
    fn check(&self) -> Result<(), ApiError>;
}

impl Bounded for StartRequest {
    fn check(&self) -> Result<(), ApiError> {
        word("request_id", &self.request_id)?;
        count("specs", self.specs.len(), MAX_SPECS)?;
        let mut names = BTreeSet::new();
        let mut faults = Vec::new();
        for spec in &self.specs {
            if !names.insert(&spec.name) {
                faults.push(format!("{}: there are two apps of this name", spec.name));
            }
            if let Err(found) = spec.check() {
                faults.extend(found.iter().map(|fault| format!("{}: {fault}", spec.name)));
            }
        }
        if faults.is_empty() { Ok(()) } else { Err(ApiError::new(ErrorCode::InvalidSpec, faults.join("\n"))) }
    }
}

impl Bounded for ActionRequest {
    fn check(&self) -> Result<(), ApiError> {
        word("request_id", &self.request_id)?;
        count("targets", self.targets.len(), MAX_TARGETS)?;
        self.targets.iter().try_for_each(|target| word("target", target))?;
        match self.action {
            Action::Scale { to } if to == 0 || to > MAX_INSTANCES => {
                Err(ApiError::bad_request(format!("{to} instances are out of range: 1 to {MAX_INSTANCES}"))
                    .with_hint("use stop or delete to run none"))
            }
            Action::Canary { slots, wait_ms }
                if slots > MAX_INSTANCES || wait_ms.is_some_and(|wait| wait > MAX_WAIT_MS) =>
            {
                Err(ApiError::bad_request(format!(
                    "a canary has at most {MAX_INSTANCES} slots and waits at most a year"
                )))
            }
            Action::Signal { signal, .. } if !(1..=64).contains(&signal) => {
                Err(ApiError::bad_request(format!("{signal} is not the number of a signal: 1 to 64")))
            }
            Action::Scale { .. }
            | Action::Signal { .. }
            | Action::Start
            | Action::Stop
            | Action::Restart
            | Action::Reload
            | Action::Canary { .. }
            | Action::Reset
            | Action::Flush
            | Action::ReopenLogs
            | Action::Delete => Ok(()),
        }
    }
}

impl Bounded for SettingsRequest {
    fn check(&self) -> Result<(), ApiError> {
        let texts = [("metrics", &self.metrics), ("otlp", &self.otlp)];
        texts.into_iter().filter_map(|(name, text)| Some((name, text.as_ref()?))).try_for_each(|(name, text)| {
            let fits = text.len() <= MAX_PATH;
            fits.then_some(()).ok_or_else(|| ApiError::bad_request(format!("{name} is longer than {MAX_PATH} bytes")))
        })
    }
}

impl Bounded for SaveRequest {
    fn check(&self) -> Result<(), ApiError> {
        word("request_id", &self.request_id)
    }
}

impl Bounded for ResurrectRequest {
    fn check(&self) -> Result<(), ApiError> {
        word("request_id", &self.request_id)
    }
}

impl Bounded for SendRequest {
    fn check(&self) -> Result<(), ApiError> {
        word("request_id", &self.request_id)?;
        word("target", &self.target)
    }
}

impl Bounded for UpgradeRequest {
    fn check(&self) -> Result<(), ApiError> {
        word("request_id", &self.request_id)?;
        if !self.path.starts_with('/') || self.path.len() > MAX_PATH || self.path.contains('\0') {
            return Err(ApiError::bad_request(format!(
                "path has to be an absolute path of at most {MAX_PATH} bytes: the daemon has no working directory"
            )));
        }
        Ok(())
    }
}

impl Bounded for ShutdownRequest {
    fn check(&self) -> Result<(), ApiError> {
        word("request_id", &self.request_id)
    }
}

impl Bounded for LogQuery {
    fn check(&self) -> Result<(), ApiError> {
        if self.lines.is_some_and(|lines| lines > MAX_LOG_LINES) {
            return Err(ApiError::bad_request(format!("lines is out of range: 0 to {MAX_LOG_LINES}")));
        }
        if self.text.as_ref().is_some_and(|text| text.len() > 4096) {
            return Err(ApiError::bad_request("text is longer than 4096 bytes"));
        }
        if self.pattern.as_ref().is_some_and(|pattern| pattern.len() > 4096) {
            return Err(ApiError::bad_request("pattern is longer than 4096 bytes"));
        }
        if let Some(target) = &self.target {
            targets(target)?;
        }
        Ok(())
    }
}

impl Bounded for InputRequest {
    fn check(&self) -> Result<(), ApiError> {
        word("request_id", &self.request_id)?;
        word("target", &self.target)?;
        if self.text.is_empty() || self.text.len() > MAX_INPUT {
            return Err(ApiError::bad_request(format!("text has {} bytes: 1 to {MAX_INPUT}", self.text.len())));
        }
        Ok(())
    }
}

/// Targets with commas between them.
pub(super) fn targets(list: &str) -> Result<Vec<String>, ApiError> {
    let targets: Vec<String> = list.split(',').map(str::to_owned).collect();
    count("target", targets.len(), MAX_TARGETS)?;
    targets.iter().try_for_each(|target| word("target", target))?;
    Ok(targets)
}

/// A target or request id: not empty, not long, no control characters.
pub(super) fn word(what: &str, word: &str) -> Result<(), ApiError> {
    if word.is_empty() {
        Err(ApiError::bad_request(format!("{what} is empty")))
    } else if word.len() > MAX_WORD {
        Err(ApiError::bad_request(format!("{what} has {} bytes; at most {MAX_WORD} are possible", word.len())))
    } else if word.chars().any(char::is_control) {
        Err(ApiError::bad_request(format!("{what} contains a control character")))
    } else {
        Ok(())
    }
}

fn count(what: &str, count: usize, most: usize) -> Result<(), ApiError> {
    if count == 0 {
        Err(ApiError::bad_request(format!("{what} is empty")))
    } else if count > most {
        Err(ApiError::bad_request(format!("{what} has {count} entries; at most {most} are possible")))
    } else {
        Ok(())
    }
}
