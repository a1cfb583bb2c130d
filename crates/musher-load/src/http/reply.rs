//! One answer, from its first byte to its last.
//!
//! Bytes are looked at where they were read: only a head that comes in pieces is kept, and of a body only its length. That
//! is what makes an answer cheap. [`Reply::push`] takes what came and says whether the answer is complete.

use super::chunked::Chunked;

/// The longest head that is taken.
const LONGEST_HEAD: usize = 64 * 1024;
/// The most header lines that are taken.
const MOST_HEADERS: usize = 128;

/// What of the head somebody wants to read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Where a redirect leads.
    pub location: bool,
    /// Cookies that are set.
    pub cookies: bool,
    /// Everything, and the body up to this many bytes: for showing it.
    pub show: usize,
}

/// An answer that is complete.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// Whether the connection may not be used again.
    pub closes: bool,
    /// Bytes of the head.
    pub head_bytes: u64,
    /// Bytes of the body as they came, chunks' sizes included.
    pub body_bytes: u64,
    /// What was wanted.
    pub extras: Option<Box<Extras>>,
}

/// What was wanted of an answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Extras {
    /// `Location`.
    pub location: Option<String>,
    /// `Set-Cookie`, each.
    pub cookies: Vec<String>,
    /// The head and the body's begin.
    pub shown: Vec<u8>,
    /// `Content-Encoding`.
    pub encoding: Option<String>,
}

/// What became of the answer with the bytes that came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// It goes on.
    More,
    /// It is complete; so many of the bytes belonged to it.
    Done(usize, Answer),
}

/// Why an answer is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReplyError {
    /// Not HTTP.
    #[error("the answer is not HTTP/1.x: {0}")]
    Malformed(&'static str),
    /// A head without an end.
    #[error("the head of the answer is longer than 64 KiB or has more than 128 lines")]
    TooLong,
    /// Two lengths.
    #[error("the answer says two different lengths")]
    TwoLengths,
    /// A chunked body that is not.
    #[error("the chunks of the answer are not as they should be")]
    BadChunk,
    /// The connection ended in the middle.
    #[error("the connection was closed within the answer")]
    Short,
    /// The connection ended before.
    #[error("the connection was closed without an answer")]
    Nothing,
}

#[derive(Clone, Copy, Debug)]
enum Body {
    Length(u64),
    Chunked(Chunked),
    UntilClose,
}

/// An answer that is being read.
#[derive(Debug, Default)]
pub struct Reply {
    wanted: Wanted,
    /// Whether it answers HEAD: no body then.
    to_head: bool,
    /// A head that is not complete yet.
    partial: Vec<u8>,
    body: Option<Body>,
    answer: Answer,
}

impl Reply {
    /// Before the answer to a request; `to_head` when that is a HEAD.
    pub fn begin(&mut self, to_head: bool, wanted: Wanted) {
        self.wanted = wanted;
        self.to_head = to_head;
        self.partial.clear();
        self.body = None;
        self.answer = Answer::default();
    }

    /// Whether anything of it has come.
    #[must_use]
    pub fn has_begun(&self) -> bool {
        self.body.is_some() || !self.partial.is_empty()
    }

    /// Takes what was read.
    ///
    /// # Errors
    ///
    /// When it is not an answer.
    pub fn push(&mut self, bytes: &[u8]) -> Result<Step, ReplyError> {
        if self.body.is_some() {
            return self.push_body(bytes, 0);
        }
        if self.partial.is_empty() {
            return match self.read_head(bytes)? {
                Some(used) => self.push_body(&bytes[used..], used),
                None => {
                    self.partial.extend_from_slice(bytes);
                    Ok(Step::More)
                }
            };
        }
        let before = self.partial.len();
        let mut whole = std::mem::take(&mut self.partial);
        whole.extend_from_slice(bytes);
        match self.read_head(&whole)? {
            // The head was not complete before, so it ends within the new bytes.
            Some(used) => {
                let of_new = used.saturating_sub(before).min(bytes.len());
                self.push_body(&bytes[of_new..], of_new)
            }
            None => {
                self.partial = whole;
                Ok(Step::More)
            }
        }
    }

    /// The connection has ended.
    ///
    /// # Errors
    ///
    /// When the answer had not.
    pub fn end(&mut self) -> Result<Answer, ReplyError> {
        match self.body {
            Some(Body::UntilClose) => Ok(std::mem::take(&mut self.answer)),
            _ if self.has_begun() => Err(ReplyError::Short),
            _ => Err(ReplyError::Nothing),
        }
    }

    /// Reads a head; how many bytes it has, with all interim answers before it.
    fn read_head(&mut self, bytes: &[u8]) -> Result<Option<usize>, ReplyError> {
        let mut start = 0;
        loop {
            let mut headers = [const { std::mem::MaybeUninit::uninit() }; MOST_HEADERS];
            let mut response = httparse::Response::new(&mut []);
            let parsed = httparse::ParserConfig::default().parse_response_with_uninit_headers(
                &mut response,
                &bytes[start..],
                &mut headers,
            );
            let used = match parsed {
                Ok(httparse::Status::Complete(used)) => used,
                Ok(httparse::Status::Partial) if bytes.len() - start > LONGEST_HEAD => return Err(ReplyError::TooLong),
                Ok(httparse::Status::Partial) => {
                    // Interim answers that have been seen need not be seen again, but keeping them keeps the count simple.
                    return if bytes.len() > 4 * LONGEST_HEAD { Err(ReplyError::TooLong) } else { Ok(None) };
                }
                Err(httparse::Error::TooManyHeaders) => return Err(ReplyError::TooLong),
                Err(error) => return Err(ReplyError::Malformed(why(error))),
            };
            let status = response.code.unwrap_or(0);
            let head = &bytes[start..start + used];
            start += used;
            // 101 ends HTTP; the others announce the real answer.
            if (100..200).contains(&status) && status != 101 {
                continue;
            }
            self.answer.status = status;
            self.answer.head_bytes = start as u64;
            let framing = framing(&response)?;
            self.extras(&response, head);
            self.decide(status, response.version == Some(0), framing);
            return Ok(Some(start));
        }
    }

    /// How long the body is (RFC 9112, 6.3).
    fn decide(&mut self, status: u16, is_old: bool, framing: Framing) {
        self.answer.closes = framing.close || (is_old && !framing.keep_alive);
        let bodiless = self.to_head || status == 204 || status == 304 || status == 101;
        self.body = Some(match (bodiless, framing.chunked, framing.length) {
            (true, _, _) => Body::Length(0),
            (false, true, _) => Body::Chunked(Chunked::new()),
            (false, false, Some(length)) => Body::Length(length),
            (false, false, None) => {
                self.answer.closes = true;
                Body::UntilClose
            }
        });
    }

    fn extras(&mut self, response: &httparse::Response<'_, '_>, head: &[u8]) {
        let Wanted { location, cookies, show } = self.wanted;
        if !location && !cookies && show == 0 {
            return;
        }
        let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
        let mut extras = Extras::default();
        for header in response.headers.iter() {
            if location && header.name.eq_ignore_ascii_case("location") {
                extras.location = Some(text(header.value));
            } else if cookies && header.name.eq_ignore_ascii_case("set-cookie") {
                extras.cookies.push(text(header.value));
            } else if show > 0 && header.name.eq_ignore_ascii_case("content-encoding") {
                extras.encoding = Some(text(header.value));
            }
        }
        if show > 0 {
            extras.shown = head.to_vec();
        }
        if extras != Extras::default() {
            self.answer.extras = Some(Box::new(extras));
        }
    }

    fn push_body(&mut self, bytes: &[u8], head: usize) -> Result<Step, ReplyError> {
        let (used, done) = match &mut self.body {
            None => (0, false),
            Some(Body::Length(left)) => {
                let used = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                *left -= used as u64;
                (used, *left == 0)
            }
            Some(Body::Chunked(chunked)) => match chunked.push(bytes).map_err(|_| ReplyError::BadChunk)? {
                Some(used) => (used, true),
                None => (bytes.len(), false),
            },
            Some(Body::UntilClose) => (bytes.len(), false),
        };
        self.answer.body_bytes += used as u64;
        if self.wanted.show > 0
            && let Some(extras) = &mut self.answer.extras
        {
            let room = self.wanted.show.saturating_sub(extras.shown.len());
            extras.shown.extend_from_slice(&bytes[..used.min(room)]);
        }
        if !done {
            return Ok(Step::More);
        }
        self.body = None;
        Ok(Step::Done(head + used, std::mem::take(&mut self.answer)))
    }
}

#[derive(Default)]
struct Framing {
    length: Option<u64>,
    chunked: bool,
    close: bool,
    keep_alive: bool,
}

fn framing(response: &httparse::Response<'_, '_>) -> Result<Framing, ReplyError> {
    let mut framing = Framing::default();
    for header in response.headers.iter() {
        // By length first: this is done for every line of every answer.
        match header.name.len() {
            14 if header.name.eq_ignore_ascii_case("content-length") => {
                let length = length(header.value).ok_or(ReplyError::Malformed("its length is no number"))?;
                if framing.length.is_some_and(|other| other != length) {
                    return Err(ReplyError::TwoLengths);
                }
                framing.length = Some(length);
            }
            17 if header.name.eq_ignore_ascii_case("transfer-encoding") => {
                let last = header.value.rsplit(|byte| *byte == b',').next().unwrap_or_default();
                framing.chunked = last.trim_ascii().eq_ignore_ascii_case(b"chunked");
            }
            10 if header.name.eq_ignore_ascii_case("connection") => {
                for word in header.value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
                    framing.close |= word.eq_ignore_ascii_case(b"close");
                    framing.keep_alive |= word.eq_ignore_ascii_case(b"keep-alive");
                }
            }
            _ => {}
        }
    }
    Ok(framing)
}

fn length(value: &[u8]) -> Option<u64> {
    let digits = value.trim_ascii();
    if digits.is_empty() || digits.len() > 19 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(digits.iter().fold(0, |number, digit| number * 10 + u64::from(digit - b'0')))
}

fn why(error: httparse::Error) -> &'static str {
    match error {
        httparse::Error::Version => "another version or protocol",
        httparse::Error::Status => "its status is no number",
        httparse::Error::HeaderName => "a header's name",
        httparse::Error::HeaderValue => "a header's value",
        _ => "its first lines",
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Answer, Reply, ReplyError, Step, Wanted};

    fn read(bytes: &[u8], piece: usize, to_head: bool) -> Result<(usize, Answer), ReplyError> {
        let mut reply = Reply::default();
        reply.begin(to_head, Wanted { location: true, cookies: true, show: 0 });
        let mut seen = 0;
        for part in bytes.chunks(piece.max(1)) {
            match reply.push(part)? {
                Step::More => seen += part.len(),
                Step::Done(used, answer) => return Ok((seen + used, answer)),
            }
        }
        reply.end().map(|answer| (seen, answer))
    }

    #[test]
    fn answers_end_where_they_say() {
        for (text, status, body, closes, rest) in [
            ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP", 200, 2, false, 4),
            ("HTTP/1.1 200 OK\r\ncontent-length: 0\r\nConnection: Close\r\n\r\n", 200, 0, true, 0),
            ("HTTP/1.1 204 No Content\r\n\r\nx", 204, 0, false, 1),
            ("HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n", 304, 0, false, 0),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\nx", 200, 12, false, 1),
            ("HTTP/1.1 200 OK\r\n\r\nall", 200, 3, true, 0),
            ("HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\nx", 200, 1, true, 0),
            ("HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 1\r\n\r\nx", 200, 1, false, 0),
            (
                "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 E\r\nLink: x\r\n\r\nHTTP/1.1 201 C\r\nContent-Length: 1\r\n\r\nx",
                201,
                1,
                false,
                0,
            ),
        ] {
            for piece in [1, 3, 7, 1000] {
                let (used, answer) = read(text.as_bytes(), piece, false).unwrap();
                assert_eq!(
                    (answer.status, answer.body_bytes, answer.closes),
                    (status, body, closes),
                    "{text:?}/{piece}"
                );
                assert_eq!(text.len() - used, rest, "{text:?} in pieces of {piece}");
            }
        }
        let (used, answer) = read(b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n", 9, true).unwrap();
        assert_eq!((used, answer.body_bytes), (39, 0));
    }

    #[test]
    fn what_is_wanted_is_kept_and_nothing_else() {
        let text =
            b"HTTP/1.1 302 Found\r\nLocation: /a\r\nSet-Cookie: a=b\r\nSet-Cookie: c=d\r\nContent-Length: 0\r\n\r\n";
        let (_, answer) = read(text, 10, false).unwrap();
        let extras = answer.extras.unwrap();
        assert_eq!((extras.location.as_deref(), extras.cookies.len()), (Some("/a"), 2));
        let (_, plain) = read(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 10, false).unwrap();
        assert_eq!(plain.extras, None);
    }

    #[test]
    fn an_answer_that_is_none_is_told() {
        for (text, error) in [
            ("SSH-2.0-OpenSSH\r\n", ReplyError::Malformed("another version or protocol")),
            ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc", ReplyError::Short),
            ("HTTP/1.1 200 O", ReplyError::Short),
            ("", ReplyError::Nothing),
            ("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", ReplyError::TwoLengths),
            ("HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", ReplyError::Malformed("its length is no number")),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", ReplyError::BadChunk),
        ] {
            assert_eq!(read(text.as_bytes(), 4, false), Err(error), "{text:?}");
        }
        let endless = format!("HTTP/1.1 200 OK\r\nX: {}", "y".repeat(70_000));
        assert_eq!(read(endless.as_bytes(), 9000, false), Err(ReplyError::TooLong));
    }

    proptest! {
        #[test]
        fn pieces_do_not_change_an_answer(bytes in prop::collection::vec(any::<u8>(), 0..200), piece in 1usize..50) {
            let mut text = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
            text.extend(&bytes);
            prop_assert_eq!(read(&text, piece, false), read(&text, usize::MAX, false));
            prop_assert_eq!(read(&bytes, piece, false).is_ok(), read(&bytes, usize::MAX, false).is_ok());
        }
    }
}
