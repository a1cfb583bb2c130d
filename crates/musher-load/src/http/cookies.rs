//! The cookies of one user, as far as a load test needs them (RFC 6265 without lists of public suffixes).

use crate::url::Url;

/// The most cookies that are kept; the oldest go.
const MOST: usize = 64;
/// The longest cookie that is kept.
const LONGEST: usize = 4096;

#[derive(Clone, Debug, PartialEq, Eq)]
struct Cookie {
    name: String,
    value: String,
    host: String,
    /// Whether hosts below it get the cookie, too.
    below: bool,
    path: String,
    secure: bool,
}

/// What a user was given.
#[derive(Clone, Debug, Default)]
pub struct Jar {
    cookies: Vec<Cookie>,
}

impl Jar {
    /// Takes a `Set-Cookie` that came from `url`.
    pub fn set(&mut self, url: &Url, line: &str) {
        let mut parts = line.split(';').map(str::trim);
        let Some((name, value)) = parts.next().and_then(|pair| pair.split_once('=')) else { return };
        if line.len() > LONGEST || name.trim().is_empty() || line.chars().any(char::is_control) {
            return;
        }
        let default_path = url.path.split('?').next().and_then(|path| path.rsplit_once('/')).map_or("", |(dir, _)| dir);
        let mut cookie = Cookie {
            name: name.trim().to_owned(),
            value: value.trim().to_owned(),
            host: url.host.to_ascii_lowercase(),
            below: false,
            path: if default_path.is_empty() { "/".to_owned() } else { default_path.to_owned() },
            secure: false,
        };
        let mut gone = false;
        for part in parts {
            let (key, value) = part.split_once('=').map_or((part, ""), |(key, value)| (key.trim(), value.trim()));
            match key.to_ascii_lowercase().as_str() {
                "domain" if !value.is_empty() => {
                    let domain = value.trim_start_matches('.').to_ascii_lowercase();
                    if !is_below(&cookie.host, &domain) {
                        return;
                    }
                    cookie.host = domain;
                    cookie.below = true;
                }
                "path" if value.starts_with('/') => value.clone_into(&mut cookie.path),
                "secure" => cookie.secure = true,
                // What expires later than a load test lasts does not expire.
                "max-age" => gone = value.parse::<i64>().is_ok_and(|seconds| seconds <= 0),
                "expires" => gone = gone || value.contains("1970"),
                _ => {}
            }
        }
        self.cookies.retain(|old| (&old.name, &old.host, &old.path) != (&cookie.name, &cookie.host, &cookie.path));
        if !gone {
            if self.cookies.len() == MOST {
                self.cookies.remove(0);
            }
            self.cookies.push(cookie);
        }
    }

    /// The `Cookie` line for a request, without its name; none when there are none.
    #[must_use]
    pub fn line(&self, url: &Url) -> Option<String> {
        let host = url.host.to_ascii_lowercase();
        let path = url.path.split('?').next().unwrap_or("/");
        let fits = |cookie: &&Cookie| {
            (cookie.host == host || (cookie.below && is_below(&host, &cookie.host)))
                && (!cookie.secure || url.scheme.is_secure())
                && path
                    .strip_prefix(cookie.path.trim_end_matches('/'))
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        let pairs: Vec<String> =
            self.cookies.iter().filter(fits).map(|cookie| format!("{}={}", cookie.name, cookie.value)).collect();
        (!pairs.is_empty()).then(|| pairs.join("; "))
    }
}

fn is_below(host: &str, domain: &str) -> bool {
    host == domain || host.strip_suffix(domain).is_some_and(|rest| rest.ends_with('.'))
}

#[cfg(test)]
mod tests {
    use super::Jar;
    use crate::url::Url;

    #[test]
    fn cookies_go_back_to_where_they_belong() {
        let at = |text: &str| Url::parse(text).unwrap();
        let mut jar = Jar::default();
        jar.set(&at("http://a.example/x/y"), "s=1; Path=/; HttpOnly");
        jar.set(&at("http://a.example/x/y"), "t=2");
        jar.set(&at("http://a.example/"), "u=3; Domain=.example; Secure");
        jar.set(&at("http://a.example/"), "v=4; Domain=other");
        jar.set(&at("http://a.example/"), "no cookie");
        let line = |text: &str| jar.line(&at(text)).unwrap_or_default();
        assert_eq!(line("http://a.example/"), "s=1");
        assert_eq!(line("http://a.example/x/z?q"), "s=1; t=2");
        assert_eq!(line("http://a.example/xyz"), "s=1");
        assert_eq!(line("https://b.example/"), "u=3");
        assert_eq!(line("http://other/"), "");
    }

    #[test]
    fn a_cookie_can_be_replaced_and_taken_back() {
        let url = Url::parse("http://a/").unwrap();
        let mut jar = Jar::default();
        jar.set(&url, "s=1");
        jar.set(&url, "s=2");
        assert_eq!(jar.line(&url).as_deref(), Some("s=2"));
        jar.set(&url, "s=; Max-Age=0");
        assert_eq!(jar.line(&url), None);
    }
}
