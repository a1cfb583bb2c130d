//! The flags of PM2's command line as keys of its process files.

use musher_core::spec::{AppSpec, DEFAULT_NAMESPACE, WatchFiles};
use serde_json::{Map, Value};

use super::args::Args;
use crate::config::Flags;
use crate::output::one_word;

/// What the flags say over every app of a process file.
pub(super) fn over_file(args: &Args) -> Flags {
    Flags {
        env: args.env.clone().into_iter().collect(),
        instances: args.instances.clone(),
        user: args.uid.clone().or_else(|| args.user.clone()),
        group: args.gid.clone(),
        ..Flags::default()
    }
}

/// What the flags say of apps of a process file that the file says nothing of; and words for all programs. Gives the names of
/// those that cannot take the words.
pub(super) fn complete(specs: &mut [AppSpec], args: &Args) -> Vec<String> {
    let mut without = Vec::new();
    for spec in specs {
        if let Some(namespace) = args.namespace.as_ref().filter(|_| spec.namespace == DEFAULT_NAMESPACE) {
            spec.namespace.clone_from(namespace);
        }
        if !args.watch.is_empty() && spec.watch.is_none() {
            let named: Vec<_> = args.watch.iter().filter(|path| !path.is_empty()).collect();
            let paths = named.iter().map(|path| spec.cwd.join(path).components().collect()).collect();
            let paths = if named.is_empty() { vec![spec.cwd.clone()] } else { paths };
            spec.watch = Some(WatchFiles { ignore: args.ignore_watch.clone(), ..WatchFiles::of(paths) });
        }
        match spec.exec.args.as_mut_slice() {
            _ if args.args.is_empty() => {}
            _ if spec.exec.script.is_some() => spec.exec.args.extend(args.args.iter().cloned()),
            [flag, line] if flag == "-c" => {
                args.args.iter().for_each(|word| line.push_str(&format!(" {}", one_word(word))))
            }
            _ => without.push(spec.name.clone()),
        }
    }
    without
}

/// What the flags say of an app, as keys of a process file.
pub(super) fn keys(args: &Args) -> Map<String, Value> {
    let mut app = Map::new();
    let texts = [
        ("name", &args.name),
        ("interpreter", &args.interpreter),
        ("node_args", &args.interpreter_args),
        ("out_file", &args.output),
        ("error_file", &args.error),
        ("log_type", &args.log_type),
        ("log_date_format", &args.log_date_format),
        ("instances", &args.instances),
        ("pid_file", &args.pid),
        ("kill_timeout", &args.kill_timeout),
        ("listen_timeout", &args.listen_timeout),
        ("max_memory_restart", &args.max_memory_restart),
        ("restart_delay", &args.restart_delay),
        ("exp_backoff_restart_delay", &args.exp_backoff_restart_delay),
        ("max_restarts", &args.max_restarts),
        ("user", &args.user),
        ("uid", &args.uid),
        ("gid", &args.gid),
        ("namespace", &args.namespace),
        ("cwd", &args.cwd),
        ("cron_restart", &args.cron),
    ];
    for (key, value) in texts {
        if let Some(value) = value {
            app.insert(key.into(), value.as_str().into());
        }
    }
    // `--log` without a file means nothing.
    if let Some(log) = args.log.as_deref().filter(|log| !log.is_empty()) {
        app.insert("log_file".into(), log.into());
    }
    let flags = [
        ("time", args.time),
        ("disable_logs", args.disable_logs),
        ("shutdown_with_message", args.shutdown_with_message),
        ("execute_command", args.execute_command),
        ("source_map_support", args.source_map_support),
        ("disable_source_map_support", args.disable_source_map_support),
        ("wait_ready", args.wait_ready),
    ];
    app.extend(flags.into_iter().filter(|(_, given)| *given).map(|(key, _)| (key.to_owned(), true.into())));
    let off = [("autostart", args.no_autostart), ("autorestart", args.no_autorestart), ("treekill", args.no_treekill)];
    app.extend(off.into_iter().filter(|(_, given)| *given).map(|(key, _)| (key.to_owned(), false.into())));
    let words: Vec<&str> = args.filter_env.iter().map(String::as_str).filter(|word| !word.is_empty()).collect();
    match (args.filter_env.is_empty(), words.is_empty()) {
        (false, true) => drop(app.insert("filter_env".into(), true.into())),
        (false, false) => drop(app.insert("filter_env".into(), words.into())),
        (true, _) => {}
    }
    if !args.watch.is_empty() {
        let paths: Vec<&str> = args.watch.iter().map(String::as_str).filter(|path| !path.is_empty()).collect();
        app.insert("watch".into(), if paths.is_empty() { true.into() } else { paths.into() });
    }
    if !args.ignore_watch.is_empty() {
        let paths: Vec<&str> = args.ignore_watch.iter().flat_map(|paths| paths.split_whitespace()).collect();
        app.insert("ignore_watch".into(), paths.into());
    }
    if let Some(endings) = &args.ext {
        app.insert("ext".into(), endings.clone().into());
    }
    if let Some(delay) = &args.watch_delay {
        // Seconds, or with a unit.
        let seconds = delay.parse::<f64>().ok().filter(|seconds| (0.0..=86_400.0).contains(seconds));
        let text = seconds.map_or_else(|| delay.clone(), |seconds| format!("{:.0}ms", seconds * 1000.0));
        app.insert("watch_delay".into(), text.into());
    }
    if args.merge_logs {
        app.insert("merge_logs".into(), true.into());
    }
    if !args.stop_exit_codes.is_empty() {
        let codes = args.stop_exit_codes.iter().flat_map(|codes| codes.split(',')).map(Value::from);
        app.insert("stop_exit_codes".into(), codes.collect());
    }
    if !args.args.is_empty() {
        app.insert("args".into(), args.args.clone().into());
    }
    app
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use clap::Parser;
    use musher_core::spec::{AppSpec, Exec, Runtime, WatchFiles};

    use super::{Args, complete, over_file};

    #[test]
    fn flags_complete_what_a_file_says() {
        let args = |line: &str| Args::try_parse_from(line.split(' ')).unwrap();
        let exec = || Exec {
            program: "/bin/web".into(),
            args: Vec::new(),
            script: Some("/bin/web".into()),
            runtime: Runtime::default(),
        };
        let plain = || AppSpec::new("web", exec(), "/srv");
        let named = || {
            let watch = WatchFiles::of(vec!["/srv/src".into()]);
            AppSpec { namespace: "shop".into(), watch: Some(watch), ..plain() }
        };
        let mut specs = [plain(), named()];
        complete(&mut specs, &args("pm2 start a.json --namespace n --watch --ignore-watch *.md -- -x 1"));
        let watched = |spec: &AppSpec| spec.watch.clone().unwrap();
        assert_eq!(watched(&specs[0]).paths, [Path::new("/srv")]);
        assert_eq!(watched(&specs[0]).ignore, ["*.md"]);
        assert_eq!(watched(&specs[1]), watched(&named()));
        assert_eq!((specs[0].namespace.as_str(), specs[1].namespace.as_str()), ("n", "shop"));
        assert!(specs.iter().all(|spec| spec.exec.args.ends_with(&["-x".to_owned(), "1".to_owned()])));

        let with = |words: &[&str]| {
            let exec = Exec { args: words.iter().map(ToString::to_string).collect(), script: None, ..exec() };
            AppSpec { exec, ..plain() }
        };
        let mut specs = [with(&["-c", "node x"]), with(&["serve", "/srv"])];
        assert_eq!(complete(&mut specs, &args("pm2 start a.json -- it's")), ["web"]);
        assert_eq!(specs[0].exec.args, ["-c", r"node x 'it'\''s'"]);
        assert_eq!(specs[1].exec.args, ["serve", "/srv"]);

        let mut specs = [plain()];
        complete(&mut specs, &args("pm2 start a.json --watch lib"));
        assert_eq!(watched(&specs[0]).paths, [PathBuf::from("/srv/lib")]);
        complete(&mut specs, &args("pm2 start a.json"));
        assert_eq!(watched(&specs[0]).paths, [PathBuf::from("/srv/lib")]);

        let flags = over_file(&args("pm2 start a.json -i 3 --uid www --env production"));
        assert_eq!((flags.instances.as_deref(), flags.user.as_deref()), (Some("3"), Some("www")));
        assert_eq!(flags.env, ["production"]);
    }
}
