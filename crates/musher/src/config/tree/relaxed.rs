//! JSON as PM2's users write it. PM2 runs such a file as JavaScript; what people use of that is data still, and is taken:
//! comments, a comma behind the last of a list, keys without quotes, text in single quotes. Whatever computes is refused.

/// The text with spaces in place of comments and of commas before a closing bracket, so that places stay what they are.
/// Nothing else is changed: what was no data before is none after.
pub(super) fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    let blank = |plain: &mut String, text: &str| {
        plain.extend(text.chars().flat_map(|c| {
            let width = if c == '\n' { 0 } else { c.len_utf8() };
            std::iter::repeat_n(' ', width).chain((c == '\n').then_some('\n'))
        }));
    };
    while let Some(c) = rest.chars().next() {
        let end = match c {
            '"' | '\'' => literal(rest),
            '/' if rest.starts_with("//") => {
                let end = rest.find('\n').unwrap_or(rest.len());
                blank(&mut plain, &rest[..end]);
                rest = &rest[end..];
                continue;
            }
            '/' if rest.starts_with("/*") => {
                let end = rest[2..].find("*/").map_or(rest.len(), |at| at + 4);
                blank(&mut plain, &rest[..end]);
                rest = &rest[end..];
                continue;
            }
            c => c.len_utf8(),
        };
        plain.push_str(&rest[..end]);
        rest = &rest[end..];
    }
    without_last_commas(&plain)
}

fn without_last_commas(text: &str) -> String {
    let mut bytes = text.as_bytes().to_vec();
    let (mut comma, mut at) = (None, 0);
    while let Some(byte) = text.as_bytes().get(at).copied() {
        match byte {
            b',' => comma = Some(at),
            b'}' | b']' => {
                if let Some(comma) = comma.take().and_then(|comma| bytes.get_mut(comma)) {
                    *comma = b' ';
                }
            }
            b'"' | b'\'' => {
                comma = None;
                at += literal(&text[at..]);
                continue;
            }
            byte if byte.is_ascii_whitespace() => {}
            _ => comma = None,
        }
        at += 1;
    }
    String::from_utf8(bytes).unwrap_or_else(|_| text.to_owned())
}

/// The length of the text in quotes that `rest` begins with, or all of it if nothing closes it.
fn literal(rest: &str) -> usize {
    let mut bytes = rest.bytes().enumerate();
    let quote = bytes.next().map(|(_, byte)| byte);
    let mut escaped = false;
    let close = bytes.find(|(_, byte)| {
        let found = Some(*byte) == quote && !escaped;
        escaped = *byte == b'\\' && !escaped;
        found
    });
    close.map_or(rest.len(), |(at, _)| at + 1)
}

/// The length of the name that `rest` begins with.
pub(super) fn name(rest: &str) -> usize {
    rest.find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '_' | '$'))).unwrap_or(rest.len())
}

/// Text in single quotes, quotes included, as it is in double ones.
pub(super) fn requoted(literal: &str) -> String {
    let inner = literal.strip_prefix('\'').unwrap_or(literal);
    let inner = inner.strip_suffix('\'').unwrap_or(inner);
    let mut quoted = String::with_capacity(literal.len() + 2);
    quoted.push('"');
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => match chars.next() {
                Some('\'') => quoted.push('\''),
                next => {
                    quoted.push('\\');
                    quoted.extend(next);
                }
            },
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// Plain text as proper JSON, if it is data at all; and how to find places again.
pub(super) struct Proper {
    pub(super) text: String,
    /// Where a place of `text` is in the plain text, from there on.
    shifts: Vec<(usize, usize)>,
}

impl Proper {
    /// Puts keys and text into double quotes.
    pub(super) fn of(plain: &str) -> Proper {
        let mut proper = Proper { text: String::with_capacity(plain.len()), shifts: Vec::new() };
        let mut at = 0;
        while let Some(rest) = plain.get(at..)
            && let Some(c) = rest.chars().next()
        {
            let length = match c {
                '"' | '\'' => literal(rest),
                c if c.is_ascii_alphanumeric() || matches!(c, '_' | '$') => name(rest),
                c => c.len_utf8(),
            };
            let word = &rest[..length];
            let is_key = || rest[length..].trim_start().starts_with(':');
            at += length;
            match c {
                '\'' => proper.push(&requoted(word), at),
                c if !c.is_ascii_digit() && c.is_ascii() && name(word) == length && is_key() => {
                    proper.push(&format!("\"{word}\""), at);
                }
                _ => proper.text.push_str(word),
            }
        }
        proper
    }

    /// Adds what is not as long as it was; in the plain text it ended at `end`.
    fn push(&mut self, changed: &str, end: usize) {
        self.text.push_str(changed);
        self.shifts.push((self.text.len(), end));
    }

    /// The place in the plain text of a line and a column of this one, both from 1.
    pub(super) fn origin(&self, line: usize, column: usize) -> usize {
        let lines = self.text.split_inclusive('\n').take(line.saturating_sub(1));
        let offset = lines.map(str::len).sum::<usize>() + column.saturating_sub(1);
        let before = self.shifts.partition_point(|(here, _)| *here <= offset);
        match before.checked_sub(1).and_then(|before| self.shifts.get(before)) {
            Some((here, there)) => offset - here + there,
            None => offset,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Proper, plain, requoted};

    #[test]
    fn what_is_data_becomes_proper() {
        let table = [
            ("{ apps: [{ script: 'a.js', }, ] }", "{ \"apps\": [{ \"script\": \"a.js\"  }  ] }"),
            ("{a:1,$b_2 : true}", "{\"a\":1,\"$b_2\" : true}"),
            ("{\"a:\": 'b: //c,]', d: null}", "{\"a:\": \"b: //c,]\", \"d\": null}"),
            (r#"['say "x"', 'it\'s', "it's", 'a\\']"#, r#"["say \"x\"", "it's", "it's", "a\\"]"#),
            ("{n: -1.5e3, é: 1}", "{\"n\": -1.5e3, é: 1}"),
            ("{1a: 'open", "{1a: \"open\""),
            ("{x: y ? z : 1}", "{\"x\": y ? \"z\" : 1}"),
        ];
        for (text, expected) in table {
            assert_eq!(Proper::of(&plain(text)).text, expected, "{text}");
        }
        assert_eq!(requoted("'"), "\"\"");
    }

    #[test]
    fn places_are_found_again() {
        let text = "{\n a: 'x', bc: [f(1)] }";
        let proper = Proper::of(text);
        let line = proper.text.lines().nth(1).unwrap();
        let column = line.find("f(").unwrap() + 1;
        assert_eq!(proper.origin(2, column), text.find("f(").unwrap());
        assert_eq!(proper.origin(1, 1), 0);
    }
}
