//! A server that answers anything, in any pieces, neither stops the load tester nor makes it count more than there is: the
//! same bytes give the same answer however they are cut.

#![no_main]

use libfuzzer_sys::fuzz_target;
use musher_load::http::{Answer, Reply, ReplyError, Step, Wanted};

fn read(bytes: &[u8], piece: usize, to_head: bool) -> Result<(usize, Answer), ReplyError> {
    let mut reply = Reply::default();
    reply.begin(to_head, Wanted { location: true, cookies: true, show: 0 });
    let mut seen = 0;
    for part in bytes.chunks(piece) {
        match reply.push(part)? {
            Step::More => seen += part.len(),
            Step::Done(used, answer) => return Ok((seen + used, answer)),
        }
    }
    reply.end().map(|answer| (seen, answer))
}

fuzz_target!(|input: &[u8]| {
    let [piece, head, bytes @ ..] = input else { return };
    let piece = usize::from(*piece).max(1);
    let whole = read(bytes, usize::MAX, head % 2 == 1);
    let pieces = read(bytes, piece, head % 2 == 1);
    assert_eq!(whole.is_ok(), pieces.is_ok());
    if let (Ok(whole), Ok(pieces)) = (whole, pieces) {
        assert_eq!(whole, pieces);
        assert!(whole.0 <= bytes.len());
        assert!(whole.1.head_bytes + whole.1.body_bytes <= bytes.len() as u64);
    }
});
