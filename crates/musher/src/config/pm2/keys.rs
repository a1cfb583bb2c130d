//! The keys of PM2's process files: what each is called here, and which have no meaning here, with the reason.

/// How a key of PM2 is translated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// The same value under this key.
    Same(&'static str),
    /// A time in milliseconds, or with a unit, under this key.
    Time(&'static str),
    /// A size in bytes, or with a unit, under this key.
    Size(&'static str),
    /// A file; `NULL` is none.
    File(&'static str),
    /// Words, or text that is split into them, under this key.
    Words(&'static str),
    /// Translated by code of its own.
    Special,
    /// It changes nothing here. Why.
    Needless(&'static str),
}

use Meaning::{File, Needless, Same, Size, Special, Time, Words};

const CLOUD: &str = "it belongs to PM2's own services";
const MEMORY_OF_PM2: &str = "it is how PM2 works inside";

/// Every key with its other names, in the order of PM2's own description.
const KEYS: &[(&[&str], Meaning)] = &[
    (&["script", "exec", "cmd", "command"], Special),
    (&["name"], Special),
    (&["namespace"], Same("namespace")),
    (&["cwd"], Special),
    (&["args"], Words("args")),
    (&["interpreter", "exec_interpreter"], Special),
    (&["node_args", "interpreter_args"], Words("interpreter_args")),
    (&["instances"], Special),
    (&["exec_mode"], Special),
    (&["execute_command"], Special),
    (&["watch"], Special),
    (&["ignore_watch"], Special),
    (&["watch_options"], Needless("files are watched by the kernel's notifications, and links are not followed")),
    (&["watch_delay"], Special),
    (&["ext"], Special),
    (&["autorestart"], Special),
    (&["stop_exit_codes"], Special),
    (&["max_restarts"], Special),
    (&["min_uptime"], Time("restart.min_uptime")),
    (&["restart_delay"], Special),
    (&["exp_backoff_restart_delay"], Special),
    (&["max_memory_restart"], Size("limits.memory")),
    (&["cron_restart", "cron"], Special),
    (&["kill_timeout"], Time("stop.grace")),
    (&["kill_retry_time"], Needless("the end of a process is told by the kernel, not asked for again and again")),
    (&["treekill"], Same("stop.tree")),
    (&["shutdown_with_message"], Same("stop.message")),
    (&["wait_ready"], Special),
    (&["listen_timeout"], Time("ready.timeout")),
    (&["autostart"], Same("autostart")),
    (&["env"], Special),
    (&["filter_env"], Same("filter_env")),
    (&["append_env_to_name"], Special),
    (&["increment_var"], Same("increment_var")),
    (&["instance_var"], Same("instance_var")),
    (&["port"], Special),
    (&["out_file", "output", "out", "out_log"], File("logs.out")),
    (&["error_file", "error", "err", "err_file", "err_log"], File("logs.err")),
    (&["log_file", "log"], Special),
    (&["merge_logs", "combine_logs"], Special),
    (&["disable_logs"], Special),
    (&["log_date_format"], Special),
    (&["time"], Special),
    (&["log_type"], Special),
    (&["pid_file", "pid"], File("pid_file")),
    (&["uid", "user"], Same("user")),
    (&["gid"], Same("group")),
    (&["force"], Needless("an app is known by its name here: the same script under another name is another app")),
    (&["source_map_support"], Special),
    (&["disable_source_map_support"], Special),
    (
        &["vizion", "versioning"],
        Needless("the repository of an app is looked at when somebody asks, which costs nothing"),
    ),
    // `pm2 pull` reads it.
    (&["post_update"], Special),
    (
        &["pmx", "automation", "trace", "v8", "event_loop_inspector", "deep_monitoring", "io", "km_link"],
        Needless(CLOUD),
    ),
    (
        &["write", "windows_hide", "username", "name_prefix", "install_url", "pm_id", "prev_restart_delay"],
        Needless(MEMORY_OF_PM2),
    ),
];

/// What a key means, by any of its names, and its first name.
pub(super) fn meaning(key: &str) -> Option<(&'static str, Meaning)> {
    KEYS.iter().find(|(names, _)| names.contains(&key)).map(|(names, meaning)| (names[0], *meaning))
}

/// Every name of every key.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    KEYS.iter().flat_map(|(names, _)| names.iter().copied())
}

/// `maxMemoryRestart` and `max-memory-restart` as `max_memory_restart`.
pub(in crate::config) fn snake(key: &str) -> String {
    let mut snake = String::with_capacity(key.len() + 4);
    for (n, c) in key.chars().enumerate() {
        match c {
            '-' => snake.push('_'),
            // Not the name of an environment, which is the user's own: env_productionEU.
            c if c.is_ascii_uppercase() && n > 0 && !key.starts_with("env_") => {
                snake.push('_');
                snake.push(c.to_ascii_lowercase());
            }
            c => snake.push(c),
        }
    }
    snake
}

#[cfg(test)]
mod tests {
    use super::{meaning, names, snake};
    use crate::config::keys::KEYS;

    #[test]
    fn no_name_is_there_twice_and_each_target_is_a_key() {
        let mut all: Vec<&str> = names().collect();
        all.sort_unstable();
        let count = all.len();
        all.dedup();
        assert_eq!(all.len(), count);
        for name in all {
            let (_, meaning) = meaning(name).unwrap();
            if let super::Same(path) | super::Time(path) | super::Size(path) | super::File(path) | super::Words(path) =
                meaning
            {
                assert!(KEYS.iter().any(|key| key.path == path), "{path}");
            }
        }
    }

    #[test]
    fn keys_are_known_in_every_spelling() {
        assert_eq!(snake("maxMemoryRestart"), "max_memory_restart");
        assert_eq!(snake("max-memory-restart"), "max_memory_restart");
        assert_eq!(snake("env_productionEU"), "env_productionEU");
        assert_eq!(meaning("exec_interpreter").unwrap().0, "interpreter");
    }
}
