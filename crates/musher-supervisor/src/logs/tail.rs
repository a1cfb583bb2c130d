//! The last lines that a run wrote to stderr, for the story of its death.

/// How many lines are told.
const LINES: usize = 40;
/// How many bytes are kept at most.
const BYTES: usize = 8192;

/// Grows only when something is written.
#[derive(Debug, Default)]
pub(super) struct Tail {
    bytes: Vec<u8>,
}

impl Tail {
    pub(super) fn push(&mut self, written: &[u8]) {
        let written = &written[written.len().saturating_sub(BYTES)..];
        let surplus = (self.bytes.len() + written.len()).saturating_sub(BYTES);
        self.bytes.drain(..surplus);
        self.bytes.extend_from_slice(written);
    }

    pub(super) fn lines(&self) -> Vec<String> {
        let text = String::from_utf8_lossy(&self.bytes);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(LINES)..].iter().map(|line| (*line).to_owned()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_last_lines_and_bytes_are_kept() {
        let mut tail = Tail::default();
        assert!(tail.lines().is_empty());
        for n in 0..1000 {
            tail.push(format!("line {n}\n").as_bytes());
        }
        let expected: Vec<String> = (1000 - LINES..1000).map(|n| format!("line {n}")).collect();
        assert_eq!(tail.lines(), expected);
        tail.push(&[b'x'; 100_000]);
        assert_eq!(tail.lines(), ["x".repeat(BYTES)]);
    }
}
