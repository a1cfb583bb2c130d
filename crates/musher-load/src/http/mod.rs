//! HTTP/1.1 as a client that measures needs it: heads, bodies' lengths, cookies. No connection, no clock.

mod chunked;
pub mod cookies;
mod reply;
mod request;

pub use reply::{Answer, Reply, ReplyError, Step, Wanted};
pub(crate) use request::{base64_of, head};
