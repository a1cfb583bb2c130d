//! siege's own files, so that whoever has them goes on with them: lists of URLs and `.siegerc`.
//!
//! The grammars are siege's, as its manual and its behaviour tell them; what siege takes silently for something else is an
//! error here, with its line.

mod rc;
mod urls;
mod variables;

pub use rc::{Defaults, parse as parse_rc, siege_time as time};
pub use urls::{UrlFile, parse as parse_urls};

/// Something wrong in a file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {what}")]
pub struct Fault {
    /// From 1.
    pub line: usize,
    /// What.
    pub what: String,
}
