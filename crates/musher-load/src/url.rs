//! Where a request goes. No more of RFC 3986 than a load tester needs: nothing is decoded or normalised, what is typed is
//! what is sent.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The longest URL that is taken.
const LONGEST: usize = 16 * 1024;

/// How a server is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scheme {
    /// In the clear.
    Http,
    /// Over TLS.
    Https,
    /// WebSocket in the clear.
    Ws,
    /// WebSocket over TLS.
    Wss,
}

impl Scheme {
    /// Whether TLS is spoken.
    #[must_use]
    pub fn is_secure(self) -> bool {
        matches!(self, Scheme::Https | Scheme::Wss)
    }

    /// Whether it is WebSocket.
    #[must_use]
    pub fn is_websocket(self) -> bool {
        matches!(self, Scheme::Ws | Scheme::Wss)
    }

    fn default_port(self) -> u16 {
        if self.is_secure() { 443 } else { 80 }
    }

    fn word(self) -> &'static str {
        match self {
            Scheme::Http => "http",
            Scheme::Https => "https",
            Scheme::Ws => "ws",
            Scheme::Wss => "wss",
        }
    }
}

/// A URL.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Url {
    /// How.
    pub scheme: Scheme,
    /// Name or address; an IPv6 address without its brackets.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Path and query, beginning with `/`.
    pub path: String,
    /// `user:password`, as typed. Not shown, and not written into reports.
    #[serde(skip)]
    pub login: Option<String>,
}

/// Why a text is no URL.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// Nothing there.
    #[error("an empty URL")]
    Empty,
    /// Longer than anything sensible.
    #[error("a URL of {0} bytes, at most {LONGEST}")]
    TooLong(usize),
    /// Another protocol.
    #[error("the scheme {0:?} is not spoken here: http, https, ws or wss")]
    Scheme(String),
    /// No host.
    #[error("no host in {0:?}")]
    NoHost(String),
    /// A port that is none.
    #[error("{0:?} is no port")]
    Port(String),
    /// Something that would break the request.
    #[error("a blank or control character in {0:?}: write it as %20 or the like")]
    Blank(String),
}

impl Url {
    /// Reads a URL; without a scheme it is http, as siege takes it.
    ///
    /// # Errors
    ///
    /// When it is none.
    pub fn parse(text: &str) -> Result<Url, UrlError> {
        let text = text.trim();
        if text.is_empty() {
            return Err(UrlError::Empty);
        }
        if text.len() > LONGEST {
            return Err(UrlError::TooLong(text.len()));
        }
        if text.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return Err(UrlError::Blank(text.into()));
        }
        let (scheme, rest) = match text.split_once("://") {
            Some((word, rest)) if word.chars().all(|c| c.is_ascii_alphanumeric() || c == '+') => (scheme(word)?, rest),
            _ => (Scheme::Http, text),
        };
        // A fragment is the browser's own.
        let rest = rest.split('#').next().unwrap_or_default();
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        let (login, authority) = match authority.rsplit_once('@') {
            Some((login, rest)) => (Some(login.to_owned()), rest),
            None => (None, authority),
        };
        let (host, port) = host_and_port(authority)?;
        if host.is_empty() {
            return Err(UrlError::NoHost(Url::without_login(text)));
        }
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        Ok(Url { scheme, host: host.to_owned(), port: port.unwrap_or_else(|| scheme.default_port()), path, login })
    }

    /// Where a `Location` leads from here (RFC 3986, 5.2, as far as servers use it).
    ///
    /// # Errors
    ///
    /// When it leads nowhere.
    pub fn join(&self, location: &str) -> Result<Url, UrlError> {
        let location = location.trim();
        let colon = location.find(':').unwrap_or(usize::MAX);
        if colon < location.find(['/', '?', '#']).unwrap_or(usize::MAX) {
            return Url::parse(location);
        }
        if let Some(rest) = location.strip_prefix("//") {
            return Url::parse(&format!("{}://{rest}", self.scheme.word()));
        }
        if location.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return Err(UrlError::Blank(location.into()));
        }
        let location = location.split('#').next().unwrap_or_default();
        let base = self.path.split('?').next().unwrap_or("/");
        let path = match location {
            "" => self.path.clone(),
            query if query.starts_with('?') => format!("{base}{query}"),
            absolute if absolute.starts_with('/') => without_dots(absolute),
            relative => without_dots(&format!("{}/{relative}", base.rsplit_once('/').map_or("", |(dir, _)| dir))),
        };
        Ok(Url { path, ..self.clone() })
    }

    /// What `Host:` says.
    #[must_use]
    pub fn authority(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        if self.port == self.scheme.default_port() { host } else { format!("{host}:{}", self.port) }
    }

    /// Whether both are reached by the same connection.
    #[must_use]
    pub fn same_origin(&self, other: &Url) -> bool {
        self.scheme == other.scheme && self.port == other.port && self.host.eq_ignore_ascii_case(&other.host)
    }

    fn without_login(text: &str) -> String {
        match text.split_once('@') {
            Some((_, rest)) => format!("…@{rest}"),
            None => text.to_owned(),
        }
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}{}", self.scheme.word(), self.authority(), self.path)
    }
}

fn scheme(word: &str) -> Result<Scheme, UrlError> {
    match word.to_ascii_lowercase().as_str() {
        "http" => Ok(Scheme::Http),
        "https" => Ok(Scheme::Https),
        "ws" => Ok(Scheme::Ws),
        "wss" => Ok(Scheme::Wss),
        _ => Err(UrlError::Scheme(word.into())),
    }
}

fn host_and_port(authority: &str) -> Result<(&str, Option<u16>), UrlError> {
    let bad = |text: &str| UrlError::Port(text.into());
    let (host, port) = if let Some(rest) = authority.strip_prefix('[') {
        let (host, rest) = rest.split_once(']').ok_or_else(|| UrlError::NoHost(authority.into()))?;
        match rest.strip_prefix(':') {
            Some(port) => (host, Some(port)),
            None if rest.is_empty() => (host, None),
            None => return Err(bad(rest)),
        }
    } else {
        authority.split_once(':').map_or((authority, None), |(host, port)| (host, Some(port)))
    };
    match port {
        None | Some("") => Ok((host, None)),
        Some(port) if port.bytes().all(|byte| byte.is_ascii_digit()) => {
            port.parse::<u16>().ok().filter(|port| *port > 0).map(|port| (host, Some(port))).ok_or_else(|| bad(port))
        }
        Some(port) => Err(bad(port)),
    }
}

/// Takes `.` and `..` out of a path.
fn without_dots(path: &str) -> String {
    let (path, query) = path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query)));
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/').skip(1) {
        match part {
            "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    let ends_open = matches!(path.rsplit('/').next(), Some("." | ".."));
    let mut clean = format!("/{}", parts.join("/"));
    if ends_open && !clean.ends_with('/') {
        clean.push('/');
    }
    query.map_or(clean.clone(), |query| format!("{clean}?{query}"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Scheme, Url, UrlError};

    fn parsed(text: &str) -> (Scheme, String, u16, String) {
        let url = Url::parse(text).unwrap();
        (url.scheme, url.host, url.port, url.path)
    }

    #[test]
    fn urls_are_read_as_people_type_them() {
        for (text, scheme, host, port, path) in [
            ("localhost:3000", Scheme::Http, "localhost", 3000, "/"),
            ("http://a.b/c?d=e#f", Scheme::Http, "a.b", 80, "/c?d=e"),
            ("https://a", Scheme::Https, "a", 443, "/"),
            ("HTTP://[::1]:8080/x", Scheme::Http, "::1", 8080, "/x"),
            ("a?b", Scheme::Http, "a", 80, "/?b"),
            ("ws://user:pass@h:1/", Scheme::Ws, "h", 1, "/"),
            ("www.example.com/a:b", Scheme::Http, "www.example.com", 80, "/a:b"),
        ] {
            assert_eq!(parsed(text), (scheme, host.into(), port, path.into()), "{text}");
        }
        assert_eq!(Url::parse("http://u:p@h/").unwrap().login.as_deref(), Some("u:p"));
    }

    #[test]
    fn what_is_no_url_is_told() {
        assert!(matches!(Url::parse("ftp://x"), Err(UrlError::Scheme(_))));
        assert!(matches!(Url::parse("http://"), Err(UrlError::NoHost(_))));
        assert!(matches!(Url::parse("http://h:99999"), Err(UrlError::Port(_))));
        assert!(matches!(Url::parse("http://h/a b"), Err(UrlError::Blank(_))));
        let secret = Url::parse("http://me:secret@").unwrap_err().to_string();
        assert!(!secret.contains("secret"), "{secret}");
    }

    #[test]
    fn redirects_lead_where_a_browser_goes() {
        let base = Url::parse("http://h:81/a/b/c?q").unwrap();
        for (location, to) in [
            ("http://x/y", "http://x/y"),
            ("//x/y", "http://x/y"),
            ("/d", "http://h:81/d"),
            ("d?e", "http://h:81/a/b/d?e"),
            ("../d", "http://h:81/a/d"),
            ("../../../d", "http://h:81/d"),
            ("?e", "http://h:81/a/b/c?e"),
            ("", "http://h:81/a/b/c?q"),
            (".", "http://h:81/a/b/"),
        ] {
            assert_eq!(base.join(location).unwrap().to_string(), to, "{location}");
        }
        assert!(base.join("/a b").is_err());
    }

    proptest! {
        #[test]
        fn whatever_is_typed_is_a_url_that_reads_the_same_again_or_an_error(text in "\\PC{0,40}") {
            if let Ok(url) = Url::parse(&text) {
                let mut again = Url::parse(&url.to_string()).unwrap();
                again.login = url.login.clone();
                prop_assert_eq!(again, url);
            }
        }

        #[test]
        fn whatever_a_server_answers_a_redirect_stays_a_request(location in "\\PC{0,40}") {
            if let Ok(to) = Url::parse("http://h/a/b").unwrap().join(&location) {
                prop_assert!(to.path.starts_with('/') && !to.path.contains(['\r', '\n', ' ']));
            }
        }
    }
}
