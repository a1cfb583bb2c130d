//! Where telemetry goes to: an address with a path for each signal, headers, a time limit.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use hyper::Uri;
use hyper::header::{HeaderName, HeaderValue};

/// How long one try may take when nobody says so, as in the specification.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The longest time limit.
const LONGEST: Duration = Duration::from_secs(300);

/// What is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// Lines.
    Logs,
    /// Figures.
    Metrics,
}

/// Where one signal goes to.
#[derive(Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// By TLS.
    pub(super) secure: bool,
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) path: String,
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
    pub(super) timeout: Duration,
    /// Certificates to trust in place of the system's.
    pub(super) authorities: Option<PathBuf>,
}

impl Signal {
    fn path(self) -> &'static str {
        match self {
            Signal::Logs => "/v1/logs",
            Signal::Metrics => "/v1/metrics",
        }
    }

    /// Its word in the names of variables.
    fn word(self) -> &'static str {
        match self {
            Signal::Logs => "LOGS",
            Signal::Metrics => "METRICS",
        }
    }
}

impl Endpoint {
    /// The endpoint for a signal at a base such as `http://localhost:4318`; headers and limits are the environment's.
    ///
    /// # Errors
    ///
    /// What is wrong with the address or with the environment, without any secret.
    pub fn of(base: &str, signal: Signal) -> Result<Endpoint, String> {
        Endpoint::with(base, signal, true, &|name| std::env::var(name).ok())
    }

    /// What the environment says; none: nothing.
    ///
    /// # Errors
    ///
    /// What is wrong in it, without any secret.
    pub fn from_env(signal: Signal) -> Option<Result<Endpoint, String>> {
        Endpoint::from_variables(signal, &|name| std::env::var(name).ok())
    }

    fn from_variables(signal: Signal, env: &dyn Fn(&str) -> Option<String>) -> Option<Result<Endpoint, String>> {
        let given = |name: &str| env(name).filter(|value| !value.trim().is_empty());
        // The variable of the signal is the whole address; the general one is a base.
        let own = given(&format!("OTEL_EXPORTER_OTLP_{}_ENDPOINT", signal.word()));
        let base = own.is_none();
        let address = own.or_else(|| given("OTEL_EXPORTER_OTLP_ENDPOINT"))?;
        Some(Endpoint::with(&address, signal, base, env))
    }

    fn with(
        address: &str,
        signal: Signal,
        base: bool,
        env: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Endpoint, String> {
        let variable = |name: &str| {
            let own = env(&format!("OTEL_EXPORTER_OTLP_{}_{name}", signal.word()));
            own.or_else(|| env(&format!("OTEL_EXPORTER_OTLP_{name}"))).filter(|value| !value.trim().is_empty())
        };
        let wrong = || format!("{} is not an address such as http://localhost:4318", without_user(address));
        let uri: Uri = address.trim().parse().map_err(|_| wrong())?;
        let secure = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(wrong()),
        };
        let authority = uri.authority().ok_or_else(wrong)?;
        if authority.as_str().contains('@') {
            return Err("no user and password in the address: put them into OTEL_EXPORTER_OTLP_HEADERS".into());
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        let mut path = uri.path().trim_end_matches('/').to_owned();
        if base && !path.ends_with(signal.path()) {
            path.push_str(signal.path());
        }
        if path.is_empty() {
            path.push('/');
        }
        let timeout = match variable("TIMEOUT") {
            Some(text) => text
                .trim()
                .parse()
                .map(|ms| Duration::from_millis(ms).clamp(Duration::from_millis(1), LONGEST))
                .map_err(|_| format!("OTEL_EXPORTER_OTLP_TIMEOUT is {text:?}: it is a number of milliseconds"))?,
            None => TIMEOUT,
        };
        Ok(Endpoint {
            secure,
            host,
            port: authority.port_u16().unwrap_or(if secure { 443 } else { 80 }),
            path,
            headers: headers(&variable("HEADERS").unwrap_or_default())?,
            timeout,
            authorities: variable("CERTIFICATE").map(PathBuf::from),
        })
    }
}

/// Without what may be secret.
impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.secure { "https" } else { "http" };
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        write!(f, "{scheme}://{host}:{}{}", self.port, self.path)
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Endpoint({self})")
    }
}

/// An address without what stands before an `@`.
fn without_user(address: &str) -> String {
    let shown = address.rsplit_once('@').map_or(address, |(_, host)| host);
    format!("{shown:?}")
}

fn headers(text: &str) -> Result<Vec<(HeaderName, HeaderValue)>, String> {
    let header = |(name, value): (String, String)| {
        let wrong = |_| format!("OTEL_EXPORTER_OTLP_HEADERS has a header {name:?} that cannot be sent");
        let mut value = HeaderValue::from_str(&value).map_err(|_| wrong(()))?;
        value.set_sensitive(true);
        Ok((HeaderName::from_bytes(name.as_bytes()).map_err(|_| wrong(()))?, value))
    };
    pairs(text).map(header).collect()
}

/// `key=value,key=value`, values with `%20` and the like (W3C Baggage).
pub(super) fn pairs(text: &str) -> impl Iterator<Item = (String, String)> {
    let pair = |pair: &str| {
        let (key, value) = pair.split_once('=')?;
        Some((unescaped(key.trim()), unescaped(value.trim())))
    };
    text.split(',').filter_map(pair).filter(|(key, _)| !key.is_empty())
}

fn unescaped(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((byte, behind)) = rest.split_first() {
        let escaped = (*byte == b'%').then(|| behind.get(..2)).flatten();
        let escaped = escaped.and_then(|hex| std::str::from_utf8(hex).ok());
        // `+f` would be a number, too.
        let escaped = escaped.filter(|hex| hex.bytes().all(|digit| digit.is_ascii_hexdigit()));
        match escaped.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(found) => {
                bytes.push(found);
                rest = &behind[2..];
            }
            None => {
                bytes.push(*byte);
                rest = behind;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(variables: &[(&str, &str)], signal: Signal) -> Option<Result<Endpoint, String>> {
        Endpoint::from_variables(signal, &|name| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn a_base_gets_the_path_of_the_signal_and_an_address_of_its_own_stays() {
        for (base, whole) in [
            ("http://localhost:4318", "http://localhost:4318/v1/logs"),
            ("http://localhost:4318/", "http://localhost:4318/v1/logs"),
            ("http://localhost:4318/v1/logs", "http://localhost:4318/v1/logs"),
            ("https://otel.example/in", "https://otel.example:443/in/v1/logs"),
            ("http://[::1]:4318", "http://[::1]:4318/v1/logs"),
        ] {
            assert_eq!(Endpoint::of(base, Signal::Logs).unwrap().to_string(), whole, "{base}");
        }
        let own = [("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "http://a/m"), ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://b")];
        assert_eq!(of(&own, Signal::Metrics).unwrap().unwrap().to_string(), "http://a:80/m");
        assert_eq!(of(&own, Signal::Logs).unwrap().unwrap().to_string(), "http://b:80/v1/logs");
        assert!(of(&[], Signal::Logs).is_none());
    }

    #[test]
    fn headers_come_from_the_environment_and_are_not_shown() {
        let variables = [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://b"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20s3cret, x-scope=a"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "2500"),
        ];
        let endpoint = of(&variables, Signal::Logs).unwrap().unwrap();
        assert_eq!(endpoint.headers[0].1, "Bearer s3cret");
        assert_eq!(endpoint.headers.len(), 2);
        assert_eq!(endpoint.timeout, Duration::from_millis(2500));
        assert!(!format!("{endpoint:?} {endpoint}").contains("s3cret"));
        let broken = [("OTEL_EXPORTER_OTLP_ENDPOINT", "http://b"), ("OTEL_EXPORTER_OTLP_HEADERS", "a b=s3cret")];
        let why = of(&broken, Signal::Logs).unwrap().unwrap_err();
        assert!(why.contains("a b") && !why.contains("s3cret"), "{why}");
    }

    #[test]
    fn what_is_no_address_is_refused_without_its_secrets() {
        for wrong in ["", "localhost:4318", "ftp://x", "http://", "not an address"] {
            assert!(Endpoint::of(wrong, Signal::Logs).is_err(), "{wrong}");
        }
        let why = Endpoint::of("http://me:s3cret@host", Signal::Logs).unwrap_err();
        assert!(why.contains("OTEL_EXPORTER_OTLP_HEADERS") && !why.contains("s3cret"), "{why}");
    }
}
