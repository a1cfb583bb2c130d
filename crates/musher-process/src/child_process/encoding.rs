//! Bytes as text, in the encodings that Node has.

use std::fmt::Write;

/// How bytes become text.
///
/// ```
/// use musher_process::child_process::Encoding;
/// assert_eq!(Encoding::Hex.decode(&[0, 255]), "00ff");
/// assert_eq!(Encoding::Base64.decode(b"hello"), "aGVsbG8=");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Encoding {
    /// UTF-8; what is none becomes U+FFFD.
    #[default]
    Utf8,
    /// UTF-16, the least significant byte first.
    Utf16Le,
    /// ISO 8859-1: each byte is a character. Node also calls it `binary`.
    Latin1,
    /// The same without the highest bit.
    Ascii,
    /// Two digits for each byte.
    Hex,
    /// Base 64.
    Base64,
    /// Base 64 for URLs, without padding.
    Base64Url,
}

impl Encoding {
    /// The text that these bytes mean. Never fails: what is no text in the encoding becomes U+FFFD.
    ///
    /// ```
    /// use musher_process::child_process::Encoding;
    /// assert_eq!(Encoding::Latin1.decode(&[0xe4]), "ä");
    /// assert_eq!(Encoding::Utf8.decode(&[0xe4]), "\u{fffd}");
    /// ```
    #[must_use]
    pub fn decode(self, bytes: &[u8]) -> String {
        match self {
            Encoding::Utf8 => String::from_utf8_lossy(bytes).into_owned(),
            Encoding::Utf16Le => {
                let units = bytes.chunks_exact(2).map(|unit| u16::from_le_bytes([unit[0], unit[1]]));
                char::decode_utf16(units).map(|unit| unit.unwrap_or(char::REPLACEMENT_CHARACTER)).collect()
            }
            Encoding::Latin1 => bytes.iter().copied().map(char::from).collect(),
            Encoding::Ascii => bytes.iter().map(|byte| char::from(byte & 0x7f)).collect(),
            Encoding::Hex => bytes.iter().fold(String::new(), |mut text, byte| {
                let _ = write!(text, "{byte:02x}");
                text
            }),
            Encoding::Base64 => base64(bytes, b"+/", true),
            Encoding::Base64Url => base64(bytes, b"-_", false),
        }
    }

    /// The same of bytes that were cut somewhere: no more of it than so many characters, as JavaScript counts them, and
    /// none of the one that is not there as a whole.
    pub(super) fn decode_at_most(self, bytes: &[u8], most: usize) -> String {
        let whole = match std::str::from_utf8(bytes) {
            Err(error) if self == Encoding::Utf8 && error.error_len().is_none() => error.valid_up_to(),
            _ => bytes.len(),
        };
        let mut text = self.decode(&bytes[..whole]);
        let mut units = 0;
        let end = text.char_indices().find(|(_, character)| {
            units += character.len_utf16();
            units > most
        });
        if let Some((end, _)) = end {
            text.truncate(end);
        }
        text
    }
}

/// RFC 4648.
fn base64(bytes: &[u8], last: &[u8; 2], pad: bool) -> String {
    let digit = |number: u32| match number & 63 {
        number @ 0..=25 => b'A' + number as u8,
        number @ 26..=51 => b'a' + (number - 26) as u8,
        number @ 52..=61 => b'0' + (number - 52) as u8,
        62 => last[0],
        _ => last[1],
    };
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let bits = group.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - group.len()));
        for place in 0..4_u32 {
            if place as usize <= group.len() {
                text.push(char::from(digit(bits >> (18 - 6 * place))));
            } else if pad {
                text.push('=');
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_of_every_length() {
        let text = |bytes: &[u8]| Encoding::Base64.decode(bytes);
        assert_eq!(
            [text(b""), text(b"f"), text(b"fo"), text(b"foo"), text(b"foob")],
            ["", "Zg==", "Zm8=", "Zm9v", "Zm9vYg=="]
        );
        assert_eq!(Encoding::Base64Url.decode(&[0xfb, 0xff]), "-_8");
    }

    #[test]
    fn a_text_that_is_cut_has_so_many_characters_and_no_half_ones() {
        let cut = |text: &str, bytes: usize, most| Encoding::Utf8.decode_at_most(&text.as_bytes()[..bytes], most);
        assert_eq!(cut("中文测试", 12, 3), "中文测");
        assert_eq!(cut("中文测试", 8, 10), "中文");
        assert_eq!(cut("a𝄞b", 6, 2), "a", "a pair of units is one character");
        assert_eq!(Encoding::Hex.decode_at_most(&[1, 2, 3], 5), "01020");
    }

    #[test]
    fn characters() {
        assert_eq!(Encoding::Latin1.decode(&[0xe4]), "ä");
        assert_eq!(Encoding::Utf16Le.decode(&[0x34, 0xd8, 0x1e, 0xdd, 0x61, 0]), "𝄞a");
        assert_eq!(Encoding::Utf8.decode(&[0xff, b'a']), "\u{fffd}a");
        assert_eq!(Encoding::Ascii.decode(&[0xe1]), "a");
    }
}
