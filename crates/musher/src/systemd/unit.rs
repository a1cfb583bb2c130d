//! The text of the unit, and how its words are quoted (systemd.service(5), systemd.syntax(7)).

use crate::exit_codes;
use crate::failure::Failure;

/// What the unit is made for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unit {
    /// A unit of the user's own systemd.
    pub(crate) user: bool,
    /// Whom a unit of the system runs as.
    pub(crate) run_as: String,
    /// Absolute path of the executable.
    pub(crate) executable: String,
    /// Absolute path of the home.
    pub(crate) home: String,
    /// Where programs are looked for, as it is where the unit is made: `node` may well be somewhere special.
    pub(crate) path: String,
}

/// The line by which a unit is known as ours.
pub(crate) const HOME_LINE: &str = "X-MusherHome=";

impl Unit {
    /// The unit as systemd reads it.
    pub(crate) fn text(&self) -> Result<String, Failure> {
        let Unit { user, run_as, executable, home, path } = self;
        for word in [run_as, executable, home, path] {
            if word.chars().any(char::is_control) {
                return Err(Failure::new(
                    exit_codes::USAGE,
                    format!("{word:?} cannot stand in a unit: it has a control character"),
                ));
            }
        }
        let home_word = argument(home);
        let exe = quoted(executable);
        let scope = if *user { " --user" } else { "" };
        // A unit of the user's systemd knows neither targets of the system nor another user.
        let (mounts, order, as_user, target) = if *user {
            (String::new(), "", String::new(), "default.target")
        } else {
            let order = "Wants=network-online.target\nAfter=network-online.target\n";
            let mounts = format!("RequiresMountsFor={}\n", quoted(home));
            (mounts, order, format!("User={}\n", run_as.replace('%', "%%")), "multi-user.target")
        };
        Ok(format!(
            "# Made by `musher startup`; `musher unstartup` removes it. Changes of your own: `systemctl edit`.\n\
             [Unit]\n\
             Description=musher ({})\n\
             {HOME_LINE}{home}\n\
             {order}{mounts}\
             # Whatever happens to musher's own processes: it is tried again for ever, and the workers serve meanwhile.\n\
             StartLimitIntervalSec=0\n\
             \n\
             [Service]\n\
             # Started when the apps are. Only the main process speaks; workers have a socket of their own to notify.\n\
             Type=notify\n\
             NotifyAccess=main\n\
             {as_user}\
             Environment={}\n\
             # Without a list of its own the daemon begins with the saved one.\n\
             Environment=MUSHER_AT_BOOT=1\n\
             ExecStart={exe} --home {home_word} attend --unit %n{scope}\n\
             # Waits for the end and tells how it went; no request is lost.\n\
             ExecReload={exe} --home {home_word} reload all\n\
             # Slow apps are waited for; a start does not fail because of one app.\n\
             TimeoutStartSec=10min\n\
             # Longer as long as the apps drain.\n\
             TimeoutStopSec=2min\n\
             # Not after `musher kill`, which ends the unit; nor when trying again cannot help.\n\
             Restart=on-failure\n\
             RestartSec=1s\n\
             RestartPreventExitStatus={}\n\
             # A supervisor that does not answer is replaced before this is over; the main process holds nothing that\n\
             # anybody would miss, and SIGKILL ends it even when it is stopped.\n\
             WatchdogSec=60s\n\
             WatchdogSignal=SIGKILL\n\
             # systemd ends the main process, never workers: a restart keeps them. A stop is carried out by musher.\n\
             KillMode=process\n\
             # A worker that runs out of memory is one worker's death, not the end of all.\n\
             OOMPolicy=continue\n\
             # musher makes a cgroup for each worker, to find and to kill all of its processes.\n\
             Delegate=yes\n\
             # Workers count: the default would be a share of the system's.\n\
             TasksMax=infinity\n\
             # What workers may have open, first what they begin with. musher raises its own.\n\
             LimitNOFILE=65536:524288\n\
             # No OOMScoreAdjust: workers would inherit it, and musher itself is small.\n\
             \n\
             [Install]\n\
             WantedBy={target}\n",
            home.replace('%', "%%"),
            quoted(&format!("PATH={path}")),
            exit_codes::USAGE,
        ))
    }
}

/// A name that a unit can have, without `.service`.
pub(crate) fn checked_name(name: &str) -> Result<&str, Failure> {
    let name = name.strip_suffix(".service").unwrap_or(name);
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b":-_.".contains(&byte);
    // `@` would make it a template.
    if !name.is_empty() && name.len() <= 200 && name.bytes().all(plain) && !name.starts_with(['.', '-']) {
        return Ok(name);
    }
    Err(Failure::new(exit_codes::USAGE, format!("{name:?} cannot be the name of a unit"))
        .with_hint("letters, digits, `-`, `_`, `.` and `:`: --name musher-web"))
}

/// The home that a unit of ours is for; none: it is not of ours.
pub(crate) fn home_of(text: &str) -> Option<&str> {
    text.lines().find_map(|line| line.strip_prefix(HOME_LINE))
}

/// One word, where specifiers are expanded.
fn quoted(word: &str) -> String {
    let escaped = word.replace('\\', "\\\\").replace('"', "\\\"").replace('%', "%%");
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-=:+,@%".contains(&byte);
    if !word.is_empty() && word.bytes().all(plain) { escaped } else { format!("\"{escaped}\"") }
}

/// The same, where variables are expanded as well: an argument of a command, not its path.
fn argument(word: &str) -> String {
    quoted(&word.replace('$', "$$"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unit() -> Unit {
        Unit {
            user: false,
            run_as: "ann".into(),
            executable: "/opt/my tools/100%/mu$her".into(),
            home: "/home/ann/$x \"q\" \\b 5%".into(),
            path: "/usr/bin:/home/ann/a b".into(),
        }
    }

    #[test]
    fn words_are_quoted_as_systemd_reads_them() {
        let text = unit().text().unwrap();
        let line = |begin: &str| text.lines().find(|line| line.starts_with(begin)).unwrap().to_owned();
        assert_eq!(
            line("ExecStart="),
            r#"ExecStart="/opt/my tools/100%%/mu$her" --home "/home/ann/$$x \"q\" \\b 5%%" attend --unit %n"#
        );
        assert!(line("ExecReload=").ends_with("reload all"));
        assert_eq!(line("Environment=\"PATH"), "Environment=\"PATH=/usr/bin:/home/ann/a b\"");
        assert_eq!(line("RequiresMountsFor="), r#"RequiresMountsFor="/home/ann/$x \"q\" \\b 5%%""#);
        assert_eq!(line("User="), "User=ann");
        assert_eq!(home_of(&text), Some(unit().home.as_str()));
        assert_eq!(home_of("[Unit]\nDescription=x\n"), None);
    }

    #[test]
    fn a_unit_of_the_users_systemd_names_nobody_and_no_target_of_the_system() {
        let text = Unit { user: true, ..unit() }.text().unwrap();
        assert!(!text.contains("User=") && !text.contains("network-online") && !text.contains("RequiresMounts"));
        assert!(text.contains("WantedBy=default.target") && text.contains("attend --unit %n --user\n"));
    }

    #[test]
    fn what_cannot_stand_in_a_unit_is_refused() {
        assert!(Unit { home: "/a\nExecStart=/bin/sh".into(), ..unit() }.text().is_err());
        for wrong in ["", "a/b", "a b", "x@", "..", ".service", "-x", &"x".repeat(201)] {
            assert!(checked_name(wrong).is_err(), "{wrong}");
        }
        assert_eq!(checked_name("musher-web.service").unwrap(), "musher-web");
    }
}
