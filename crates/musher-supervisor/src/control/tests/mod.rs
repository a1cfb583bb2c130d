//! The server with a driver that is not real, asked by the real client and by peers that misbehave.

mod answers;
mod events;
mod fake;
mod misbehaviour;
