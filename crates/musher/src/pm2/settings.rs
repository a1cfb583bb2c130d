//! `init`, and the settings that there are: none.

use std::io::Write;

use super::{Context, failed};
use crate::failure::Failure;

const FILE: &str = "ecosystem.config.js";

/// What a new process file says.
const TEMPLATE: &str = "\
module.exports = {
  apps: [
    {
      name: 'web',
      script: './server.js',
      // One worker on each core, sharing the port.
      instances: 'max',
      exec_mode: 'cluster',
      env: { PORT: 3000 },
      // pm2 start ecosystem.config.js --env production
      env_production: { NODE_ENV: 'production' },
    },
  ],
};
";

/// `init`: a process file to begin with. One that is there is left alone.
pub(super) fn init(context: &Context<'_>, _words: &[String]) -> Result<(), Failure> {
    let file = std::fs::OpenOptions::new().write(true).create_new(true).open(FILE);
    match file.and_then(|mut file| file.write_all(TEMPLATE.as_bytes())) {
        Ok(()) => {
            context.say(&format!("{FILE} is written: edit it, then `pm2 start {FILE}`"));
            Ok(())
        }
        Err(error) => Err(failed(&format!("{FILE} cannot be written: {error}"))),
    }
}

/// `set`, `get`, `conf`: PM2 keeps settings of itself and of its modules, of which there are none here.
pub(super) fn settings(context: &Context<'_>, command: &str, words: &[String]) -> Result<(), Failure> {
    match (command, words) {
        ("get" | "conf" | "config" | "unset", _) => Ok(()),
        _ => {
            context.say("nothing is set");
            Err(failed(
                "there are no settings here: what an app needs stands in its process file, as `env` for example",
            ))
        }
    }
}
