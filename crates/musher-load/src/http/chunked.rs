//! Where a chunked body ends (RFC 9112, 7.1). The bytes themselves are of no interest.

/// The longest line of a chunk's size, and of a trailer.
const LONGEST_LINE: u32 = 4096;

/// What is read next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    /// A digit of a size; whether there was one already.
    Size { digits: bool },
    /// The rest of the size's line: extensions, CR.
    Extension,
    /// Bytes of the chunk.
    Data,
    /// CR and LF after the chunk.
    AfterData,
    /// Begin of a trailer's line, or of the empty line at the end.
    TrailerStart,
    /// A trailer's line.
    Trailer,
    /// LF of the empty line.
    Last,
}

/// A chunked body that is being read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Chunked {
    next: Next,
    left: u64,
    line: u32,
}

/// The body is not chunked as it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BadChunk;

impl Chunked {
    pub(super) fn new() -> Chunked {
        Chunked { next: Next::Size { digits: false }, left: 0, line: 0 }
    }

    /// Takes bytes; gives how many belong to the body, when it ended among them.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Result<Option<usize>, BadChunk> {
        let mut at = 0;
        while at < bytes.len() {
            if self.next == Next::Data {
                let here = usize::try_from(self.left).unwrap_or(usize::MAX).min(bytes.len() - at);
                at += here;
                self.left -= here as u64;
                if self.left == 0 {
                    self.next = Next::AfterData;
                }
                continue;
            }
            let byte = bytes[at];
            at += 1;
            if self.control(byte)? {
                return Ok(Some(at));
            }
        }
        Ok(None)
    }

    /// Takes a byte that is not data; whether it was the last.
    fn control(&mut self, byte: u8) -> Result<bool, BadChunk> {
        self.line += 1;
        if self.line > LONGEST_LINE {
            return Err(BadChunk);
        }
        self.next = match (self.next, byte) {
            (Next::Size { .. }, digit) if digit.is_ascii_hexdigit() => {
                let value = char::from(digit).to_digit(16).unwrap_or(0);
                self.left = self.left.checked_mul(16).ok_or(BadChunk)? + u64::from(value);
                Next::Size { digits: true }
            }
            (Next::Size { digits: true } | Next::Extension, b'\n') => {
                self.line = 0;
                if self.left == 0 { Next::TrailerStart } else { Next::Data }
            }
            (Next::Size { digits: true }, b';' | b' ' | b'\t' | b'\r') | (Next::Extension, _) => Next::Extension,
            (Next::AfterData, b'\r') => Next::AfterData,
            (Next::AfterData, b'\n') => {
                self.line = 0;
                Next::Size { digits: false }
            }
            (Next::TrailerStart, b'\r') => Next::Last,
            (Next::TrailerStart | Next::Last, b'\n') => return Ok(true),
            (Next::Trailer, b'\n') => Next::TrailerStart,
            (Next::TrailerStart | Next::Trailer, _) => Next::Trailer,
            _ => return Err(BadChunk),
        };
        Ok(false)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{BadChunk, Chunked};

    #[test]
    fn a_body_ends_after_its_trailers() {
        let body = b"5\r\nhello\r\n6;x=\"y\"\r\n world\r\n0\r\nA: b\r\n\r\nHTTP/1.1";
        assert_eq!(Chunked::new().push(body), Ok(Some(body.len() - 8)));
        for bad in [&b"x\r\n"[..], b"\r\n", b"5\r\nhelloX", b"ffffffffffffffffff\r\n", b"0\r\n\rX"] {
            assert_eq!(Chunked::new().push(bad), Err(BadChunk), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn the_end_is_found_however_it_is_cut(
            chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..50), 0..5), size in 1usize..40,
        ) {
            let mut body = Vec::new();
            for chunk in &chunks {
                body.extend(format!("{:x}\r\n", chunk.len()).bytes());
                body.extend(chunk);
                body.extend(b"\r\n");
            }
            body.extend(b"0\r\n\r\n");
            let length = body.len();
            body.extend(b"more");
            let mut reader = Chunked::new();
            let mut seen = 0;
            for piece in body.chunks(size) {
                if let Some(end) = reader.push(piece).unwrap() {
                    seen += end;
                    break;
                }
                seen += piece.len();
            }
            prop_assert_eq!(seen, length);
        }
    }
}
