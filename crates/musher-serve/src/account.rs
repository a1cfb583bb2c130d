//! Who may see a site: HTTP's basic authentication (RFC 7617).

use std::fmt;

use axum::http::HeaderValue;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// A name and its password.
#[derive(Clone)]
pub(crate) struct Account {
    /// `name:password`, as it is sent before it is encoded.
    words: Vec<u8>,
}

/// Nothing of it is ever shown.
impl fmt::Debug for Account {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Account")
    }
}

impl Account {
    pub(crate) fn new(name: &str, password: &str) -> Account {
        Account { words: format!("{name}:{password}").into_bytes() }
    }

    /// Whether the header of a request names it.
    pub(crate) fn is_named_by(&self, header: Option<&HeaderValue>) -> bool {
        header
            .and_then(|value| value.to_str().ok())
            .and_then(|text| text.split_once(' '))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("basic"))
            .and_then(|(_, words)| STANDARD.decode(words.trim()).ok())
            .is_some_and(|words| same(&words, &self.words))
    }
}

/// Whether both are equal, in a time that does not tell where they differ.
fn same(one: &[u8], other: &[u8]) -> bool {
    one.len() == other.len() && one.iter().zip(other).fold(0, |differs, (a, b)| differs | (a ^ b)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_right_words_open() {
        let account = Account::new("ann", "a:b");
        let encoded = |words: &str| format!("Basic {}", STANDARD.encode(words));
        for (header, opens) in [
            (encoded("ann:a:b"), true),
            (encoded("ann:a:b").replace("Basic", "basic"), true),
            (encoded("ann:a:"), false),
            (encoded("ann:a:c"), false),
            (encoded(""), false),
            ("Basic".to_owned(), false),
            ("Basic %%%".to_owned(), false),
            ("Bearer YW5uOmE6Yg==".to_owned(), false),
        ] {
            let value = HeaderValue::from_str(&header).unwrap();
            assert_eq!(account.is_named_by(Some(&value)), opens, "{header}");
        }
        assert!(!account.is_named_by(None));
    }

    #[test]
    fn it_is_not_shown() {
        assert_eq!(format!("{:?}", Account::new("ann", "secret")), "Account");
    }
}
