//! The words of PM2's command line: what each does here, or what is to be used instead.

use super::failed;
use crate::failure::Failure;
use crate::output::sanitize;

/// What a word asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verb {
    Start,
    Restart,
    Reload,
    End,
    Scale,
    Reset,
    Signal,
    Logs,
    ShowLogs,
    List,
    Jlist,
    Prettylist,
    Machine,
    Pid,
    Id,
    Env,
    Describe,
    Monit,
    Send,
    Attach,
    Trigger,
    Inspect,
    Save,
    Resurrect,
    ClearDump,
    Kill,
    Update,
    Web,
    Ping,
    Report,
    Deploy,
    Versions,
    Startup,
    Unstartup,
    Completion,
    Init,
    Examples,
    Settings,
}

const VERBS: &[(&[&str], Verb)] = &[
    (&["start"], Verb::Start),
    (&["restart"], Verb::Restart),
    (&["reload", "gracefulReload", "startOrReload", "startOrGracefulReload", "startOrRestart"], Verb::Reload),
    (&["stop", "delete", "del"], Verb::End),
    (&["scale"], Verb::Scale),
    (&["reset"], Verb::Reset),
    (&["sendSignal"], Verb::Signal),
    (&["flush", "reloadLogs"], Verb::Logs),
    (&["logs", "log"], Verb::ShowLogs),
    (&["list", "ls", "l", "ps", "status"], Verb::List),
    (&["jlist"], Verb::Jlist),
    (&["prettylist"], Verb::Prettylist),
    (&["slist", "sysinfos"], Verb::Machine),
    (&["pid"], Verb::Pid),
    (&["id"], Verb::Id),
    (&["env"], Verb::Env),
    (&["describe", "desc", "info", "show"], Verb::Describe),
    (&["monit", "dash", "dashboard", "imonit"], Verb::Monit),
    (&["send"], Verb::Send),
    (&["attach"], Verb::Attach),
    (&["trigger"], Verb::Trigger),
    (&["inspect"], Verb::Inspect),
    (&["save", "dump"], Verb::Save),
    (&["resurrect"], Verb::Resurrect),
    (&["cleardump"], Verb::ClearDump),
    (&["kill"], Verb::Kill),
    (&["update", "updatePM2", "deepUpdate"], Verb::Update),
    (&["web"], Verb::Web),
    (&["ping"], Verb::Ping),
    (&["report"], Verb::Report),
    (&["deploy"], Verb::Deploy),
    (&["pull", "forward", "backward"], Verb::Versions),
    (&["startup"], Verb::Startup),
    (&["unstartup"], Verb::Unstartup),
    (&["completion"], Verb::Completion),
    (&["init", "ecosystem"], Verb::Init),
    (&["examples"], Verb::Examples),
    (&["set", "get", "unset", "multiset", "conf", "config"], Verb::Settings),
];

/// Words of PM2 that do nothing here, and what to use.
const INSTEAD: &[(&[&str], &str)] = &[
    (
        &["link", "unlink", "plus", "register", "login", "logout", "monitor", "unmonitor", "open", "interact"],
        "it belongs to PM2's own services; here `musher monit`, `musher web` and `musher metrics` show what they show",
    ),
    (
        &["install", "uninstall", "module:update", "module:generate", "package", "publish"],
        "musher has no modules: logs are rotated by itself (`logs.max_size`, `logs.keep`), metrics are at `musher metrics`, \
         and any other program is an app: `pm2 start`",
    ),
    (&["logrotate"], "logs are rotated by musher itself: `logs.max_size` and `logs.keep` of the process file"),
    (&["sysmonit"], "the machine is looked at when somebody asks: `pm2 slist`"),
    (&["autoinstall"], "musher installs nothing: what an app needs is installed by its own package manager"),
    (
        &["install-otel", "uninstall-otel"],
        "metrics go to OpenTelemetry without a package: `musher metrics --help`; for traces an app loads its own",
    ),
    (
        &["profile:cpu", "profile:mem", "profile"],
        "PM2 profiles its own daemon. For a worker: `pm2 inspect NAME`, then the Profiler and Memory of Chrome's \
         chrome://inspect; or `--node-args --cpu-prof`, which writes a profile when the worker ends",
    ),
    (&["create"], "`pm2 init` writes a process file to begin with"),
];

impl Verb {
    /// What a word asks for, if it does something here.
    pub(super) fn of(word: &str) -> Option<Verb> {
        VERBS.iter().find(|(words, _)| words.contains(&word)).map(|(_, verb)| *verb)
    }
}

/// What is said of a word that does nothing here.
pub(super) fn unknown(word: &str) -> Failure {
    let instead = INSTEAD.iter().find(|(words, _)| words.contains(&word)).map(|(_, instead)| *instead);
    let text = format!("command not found: {}", sanitize(word));
    failed(&text).with_hint(instead.unwrap_or("`pm2 --help` lists the commands"))
}

#[cfg(test)]
mod tests {
    use super::{INSTEAD, VERBS, Verb};

    /// All that `pm2 --help` of version 7 lists.
    const PM2: &str = "start stop delete del restart reload startOrRestart startOrReload startOrGracefulReload scale reset list ls l \
        ps status jlist prettylist slist sysinfos describe desc info show env pid id logs flush reloadLogs logrotate monit dashboard \
        dash imonit sendSignal send attach trigger inspect save dump resurrect cleardump startup unstartup kill ping update updatePM2 \
        deepUpdate report ecosystem init create examples completion serve expose deploy set get multiset unset conf config install \
        uninstall module:update module:generate package publish pull forward backward profile:cpu profile:mem install-otel \
        uninstall-otel link unlink monitor unmonitor open plus register login logout autoinstall web";

    #[test]
    fn every_word_of_pm2_does_something_or_says_what_to_use() {
        for word in PM2.split_whitespace() {
            let is_said = INSTEAD.iter().any(|(words, _)| words.contains(&word));
            // `serve` is read as a command line of its own.
            let is_done = Verb::of(word).is_some() || ["serve", "expose"].contains(&word);
            assert!(is_said != is_done, "{word}: said {is_said}, done {is_done}");
        }
    }

    #[test]
    fn no_word_is_there_twice() {
        let all = VERBS.iter().flat_map(|(words, _)| *words).chain(INSTEAD.iter().flat_map(|(words, _)| *words));
        let mut all: Vec<&str> = all.copied().collect();
        let count = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), count);
    }
}
