//! Text from programs that is not trusted to a terminal.
//!
//! A program's output may contain escape sequences that move the cursor, retitle the window or type for the user. What
//! musher quotes is shown with every control character as a visible escape.

/// `text` with control characters (tabs too) as visible escapes: `\x1b`, `\u{202e}`.
pub(crate) fn sanitize(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    text.split('\n').enumerate().for_each(|(n, line)| {
        if n > 0 {
            safe.push('\n');
        }
        line.chars().for_each(|c| push(&mut safe, c));
    });
    safe
}

/// The same for one line, but sequences that only set colours (SGR, ECMA-48 8.3.117) are kept; a line that has any
/// ends with a reset.
pub(crate) fn sanitize_keeping_colours(line: &str) -> String {
    let mut safe = String::with_capacity(line.len());
    let mut coloured = false;
    let mut rest = line;
    while let Some(c) = rest.chars().next() {
        if let Some(length) = sgr(rest) {
            safe.push_str(&rest[..length]);
            coloured = true;
            rest = &rest[length..];
        } else {
            if c == '\t' {
                safe.push(c)
            } else {
                push(&mut safe, c)
            }
            rest = &rest[c.len_utf8()..];
        }
    }
    if coloured {
        safe.push_str("\x1b[0m");
    }
    safe
}

/// The same without the sequences that set colours, which are left out.
pub(crate) fn sanitize_without_colours(line: &str) -> String {
    let mut safe = String::with_capacity(line.len());
    let mut rest = line;
    while let Some(c) = rest.chars().next() {
        if let Some(length) = sgr(rest) {
            rest = &rest[length..];
        } else {
            push(&mut safe, c);
            rest = &rest[c.len_utf8()..];
        }
    }
    safe
}

/// The length of the SGR sequence at the beginning of `text`, if there is one.
fn sgr(text: &str) -> Option<usize> {
    let parameters = text.strip_prefix("\x1b[")?;
    let end = parameters.find(|c: char| !(c.is_ascii_digit() || c == ';' || c == ':'))?;
    parameters[end..].starts_with('m').then_some(2 + end + 1)
}

fn push(safe: &mut String, c: char) {
    if c == '\t' {
        safe.push_str("    ");
    } else if c.is_control() && u32::from(c) < 0x100 {
        safe.push_str(&format!("\\x{:02x}", u32::from(c)));
    } else if is_deceptive(c) {
        safe.extend(c.escape_unicode());
    } else {
        safe.push(c);
    }
}

/// Characters without a shape that change how others are read: bidirectional controls and the like (Unicode TR 36).
fn is_deceptive(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{sanitize, sanitize_keeping_colours};

    #[test]
    fn escape_sequences_become_visible() {
        assert_eq!(sanitize("a\x1b[2Jb\x07\r\u{9b}31m\u{7f}"), "a\\x1b[2Jb\\x07\\x0d\\x9b31m\\x7f");
        assert_eq!(sanitize("a\u{202e}b"), "a\\u{202e}b");
        assert_eq!(sanitize("two\nlines\tand ü 漢"), "two\nlines    and ü 漢");
    }

    #[test]
    fn colours_can_be_kept_and_nothing_else() {
        assert_eq!(sanitize_keeping_colours("\x1b[1;31mred\x1b[2J"), "\x1b[1;31mred\\x1b[2J\x1b[0m");
        assert_eq!(sanitize_keeping_colours("\x1b]0;title\x07"), "\\x1b]0;title\\x07");
        assert_eq!(sanitize_keeping_colours("plain\ttext"), "plain\ttext");
        assert_eq!(super::sanitize_without_colours("\x1b[1;31mred\x1b[m \x1b[2J\t."), "red \\x1b[2J    .");
    }

    proptest! {
        #[test]
        fn no_control_character_gets_through(text in any::<String>()) {
            prop_assert!(sanitize(&text).chars().all(|c| c == '\n' || !c.is_control()));
        }

        #[test]
        fn an_escape_that_is_kept_begins_a_colour(text in "[\x1b\\[0-9;:mJa]{0,40}") {
            let safe = sanitize_keeping_colours(&text);
            for (at, _) in safe.match_indices('\x1b') {
                prop_assert!(super::sgr(&safe[at..]).is_some());
            }
        }
    }
}
