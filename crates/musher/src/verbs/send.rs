//! `musher send`

use musher_api::SendRequest;
use musher_api::client::request_id;
use serde_json::Value;

use super::targets;
use crate::args::{Cli, SendArgs};
use crate::exit_codes;
use crate::failure::Failure;
use crate::output::{note, sanitize, units};
use crate::session;

/// Sends a message to the workers of an app, and tells how many took it into their channels.
pub(crate) async fn send(cli: &Cli, args: &SendArgs) -> Result<(), Failure> {
    let message: Value = serde_json::from_str(&args.message).map_err(|error| {
        Failure::new(exit_codes::USAGE, format!("the message is not JSON: {}", sanitize(&error.to_string())))
            .with_hint("a text needs its own quotes: '\"hello\"'")
    })?;
    let client = session::client(cli)?;
    let (target, slot) = (args.target.clone(), args.slot);
    let request = SendRequest { request_id: request_id(), target: target.clone(), slot, message };
    match client.send(&request).await {
        Ok(sent) => {
            note(&format!("sent to {} of {}", units::count(sent.workers, "worker"), sanitize(&target)));
            Ok(())
        }
        Err(error) => Err(targets::with_suggestion(&client, error.into(), &[target]).await),
    }
}
