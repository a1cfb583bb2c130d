//! `musher status`

use std::io::Write;

use musher_api::Status;
use serde_json::json;

use crate::args::{Cli, StatusArgs};
use crate::failure::Failure;
use crate::output::units;
use crate::session;

/// Shows the daemon. That none runs is an answer, not an error.
pub(crate) async fn run(cli: &Cli, args: &StatusArgs) -> Result<(), Failure> {
    let client = session::client(cli)?;
    let status = session::unless_absent(client.status().await)?;
    let home = session::home_path(cli)?.display().to_string();
    let own_version = musher_supervisor::VERSION;
    let mut out = std::io::stdout().lock();
    if args.json {
        let document = match &status {
            Some(status) => {
                let mut document = serde_json::to_value(status).map_err(std::io::Error::from)?;
                document["running"] = true.into();
                document
            }
            None => json!({
                "running": false,
                "version": own_version,
                "api_version": musher_api::API_VERSION,
                "home": home,
                "supervisor": null,
                "keeper": null,
                "apps": 0,
                "workers": 0,
            }),
        };
        let text = serde_json::to_string_pretty(&document).map_err(std::io::Error::from)?;
        writeln!(out, "{text}")?;
    } else {
        write!(out, "{}", text(status.as_ref(), &home, own_version))?;
    }
    out.flush()?;
    Ok(())
}

fn text(status: Option<&Status>, home: &str, own_version: &str) -> String {
    let Some(status) = status else {
        return format!("version     {own_version}\nhome        {home}\nsupervisor  not running\n");
    };
    let mut text = format!("version     {}\nhome        {}\n", status.version, status.home);
    for (name, process) in [("supervisor", &status.supervisor), ("keeper", &status.keeper)] {
        text.push_str(&format!(
            "{name:<10}  pid {}{}, up {}, {} of memory\n",
            process.pid,
            if process.version.is_empty() || process.version == status.version {
                String::new()
            } else {
                format!(", version {}", process.version)
            },
            units::uptime(process.uptime_ms),
            units::bytes(process.memory_bytes)
        ));
    }
    text.push_str(&format!(
        "apps        {}, {}\n",
        units::count(status.apps, "app"),
        units::count(status.workers, "worker")
    ));
    if status.version != own_version {
        text.push_str(&format!(
            "note        this command is version {own_version}; `musher upgrade` lets the daemon become it\n"
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use musher_api::{ProcessStatus, Status};

    use super::text;

    #[test]
    fn both_processes_are_told() {
        let process = |pid, version: &str| ProcessStatus {
            pid,
            uptime_ms: 61_000,
            memory_bytes: 3 << 20,
            version: version.into(),
        };
        let status = Status {
            version: "0.1.0".into(),
            api_version: 1,
            home: "/home/ann/.musher".into(),
            supervisor: process(12, "0.1.0"),
            keeper: process(11, "0.0.9"),
            apps: 1,
            workers: 2,
        };
        assert_eq!(
            text(Some(&status), "/home/ann/.musher", "0.2.0"),
            "version     0.1.0\n\
             home        /home/ann/.musher\n\
             supervisor  pid 12, up 1m 1s, 3.0 MB of memory\n\
             keeper      pid 11, version 0.0.9, up 1m 1s, 3.0 MB of memory\n\
             apps        1 app, 2 workers\n\
             note        this command is version 0.2.0; `musher upgrade` lets the daemon become it\n"
        );
        assert!(text(None, "/h", "0.1.0").contains("not running"));
    }
}
