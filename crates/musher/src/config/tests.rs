//! Whole process files and command lines: what they mean and how they are refused.
//!
//! A [`Ground`] is a directory with programs and a PATH of its own, so that no case depends on what this machine has.

mod accepted;
mod command_line;
mod pm2;
mod refused;

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use musher_core::spec::AppSpec;
use proptest::prelude::{any, prop, proptest};

use super::fault::Faults;
use super::keys::{KEYS, Kind};
use super::{ConfigError, Overrides, StartArgs, Surroundings, Syntax, from_bytes, from_command, from_file};

struct Ground {
    directory: tempfile::TempDir,
    around: Surroundings,
}

impl Ground {
    /// Scripts `server.js`, `server.ts`, `worker.py`, `run` (executable), `plain` (not), a directory `sub` and programs
    /// `node` (that says it is 24.1), `python3`, `bash` and `tool`.
    fn new() -> Ground {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().to_path_buf();
        std::fs::create_dir_all(root.join("sub")).unwrap();
        for name in [
            "server.js",
            "server.mjs",
            "server.ts",
            "worker.py",
            "task.sh",
            "plain",
            "sub/other.js",
            "page.tsx",
            "ecosystem.config.js",
        ] {
            std::fs::write(root.join(name), "").unwrap();
        }
        let env = BTreeMap::from([("PATH".to_owned(), format!("{}/bin", root.display()))]);
        let ground = Ground {
            directory,
            around: Surroundings { cwd: root, env, cores: 3, zone: "Europe/Berlin".into(), as_pm2: false },
        };
        ground.program("bin/node", "#!/bin/sh\necho v24.1.0\n");
        for name in ["bin/python3", "bin/bash", "bin/tool", "bin/deno", "bin/bun", "run"] {
            ground.program(name, "#!/bin/sh\n");
        }
        ground.program("sub/next", "#!/usr/bin/env node\n");
        ground
    }

    fn program(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn load(&self, name: &str, text: &str, overrides: &Overrides) -> Result<Vec<AppSpec>, ConfigError> {
        std::fs::write(self.path(name), text).unwrap();
        from_file(Path::new(name), overrides, &self.around).map(|loaded| loaded.specs)
    }

    fn toml(&self, text: &str) -> Result<Vec<AppSpec>, ConfigError> {
        self.load("t.toml", text, &Overrides::default())
    }

    /// The one app with these lines beside `script = "server.js"`.
    #[track_caller]
    fn app(&self, lines: &str) -> AppSpec {
        self.whole(&format!("script = \"server.js\"\n{lines}"))
    }

    #[track_caller]
    fn whole(&self, lines: &str) -> AppSpec {
        let apps = self.toml(&format!("[[app]]\n{lines}")).unwrap_or_else(|error| panic!("{lines}\n{error}"));
        apps.into_iter().next().unwrap()
    }

    /// What is said about one app with these lines; its paths without this directory.
    #[track_caller]
    fn refused(&self, lines: &str) -> String {
        let text = format!("[[app]]\n{lines}");
        let error = self.toml(&text).expect_err(lines).to_string();
        error.replace(&format!("{}/", self.directory.path().display()), "")
    }

    fn start(&self, start: StartArgs) -> Result<AppSpec, String> {
        from_command(&start, &self.around)
            .map_err(|error| error.to_string().replace(&format!("{}/", self.directory.path().display()), ""))
    }
}

#[test]
fn every_key_of_the_table_is_known_to_the_decoder_and_checks_its_type() {
    // A date fits no key: a key that the decoder ignored would take it.
    let ground = Ground::new();
    for key in KEYS {
        let (table, name) = key.path.rsplit_once('.').unwrap_or(("", key.path));
        let lines = match table {
            "" => format!("{name} = 2026-01-01\n"),
            "listen" => format!("listen = [{{ address = 80, {name} = 2026-01-01 }}]\n")
                .replace("address = 80, address", "address"),
            table => format!("{table} = {{ {name} = 2026-01-01 }}\n"),
        };
        let script = if matches!(key.path, "script" | "command") { "" } else { "script = \"server.js\"\n" };
        let error = ground.refused(&format!("{script}{lines}"));
        assert!(error.contains(&format!("{}: expected ", key.path)), "{}: {error}", key.path);
        assert!(error.contains("found the date 2026-01-01"), "{}: {error}", key.path);
        assert!(!error.contains("unknown key"), "{}: {error}", key.path);
    }
}

#[test]
fn the_defaults_that_the_table_states_are_those_of_the_spec() {
    // Writing every stated default changes nothing.
    let ground = Ground::new();
    let plain = ground.app("");
    for key in KEYS {
        let stated = key.default.starts_with(['"', '[', '{']) || key.default.parse::<f64>().is_ok();
        if !stated || matches!(key.kind, Kind::Table(_)) && key.path.contains('.') {
            continue;
        }
        // A table that says something by being there.
        let plain = match key.path.rsplit_once('.') {
            Some((table @ ("reload.canary" | "instances" | "watch"), _)) => ground.app(&format!("{table} = {{}}")),
            Some(("schedule", _)) => ground.app("schedule = \"0 3 * * *\""),
            _ => plain.clone(),
        };
        let line = match key.path.rsplit_once('.') {
            Some(("schedule", name)) => format!("schedule = {{ cron = \"0 3 * * *\", {name} = {} }}", key.default),
            None => format!("{} = {}", key.path, key.default),
            Some(("listen", _)) => continue,
            Some((table, name)) => format!("{table} = {{ {name} = {} }}", key.default),
        };
        assert_eq!(ground.app(&line), plain, "{line}");
    }
}

proptest! {
    #[test]
    fn arbitrary_bytes_are_apps_or_faults(
        bytes in prop::collection::vec(any::<u8>(), 0..200),
        pieces in prop::collection::vec(pieces(), 0..30),
    ) {
        let around = Surroundings { cwd: "/".into(), env: BTreeMap::new(), cores: 2, zone: "UTC".into(), as_pm2: false };
        for syntax in [Syntax::Toml, Syntax::Yaml, Syntax::Json] {
            for text in [bytes.clone(), pieces.concat().into_bytes()] {
                let result = from_bytes(&text, syntax, Path::new("/"), &Overrides::default(), &around, Faults::default());
                if let Err(faults) = result {
                    assert!(!faults.into_error(None).to_string().is_empty());
                }
            }
        }
    }
}

/// Pieces of process files, wrong ones too.
fn pieces() -> impl proptest::strategy::Strategy<Value = String> {
    use proptest::prelude::Strategy;
    let fixed = prop::sample::select(vec![
        "[[app]]\n",
        "app:\n",
        "{\"app\": [",
        "  - ",
        "\n",
        "[app]\n",
        " = ",
        ": ",
        "{ ",
        " }",
        "[",
        "]",
        ",",
        "\"",
        "'",
        "max",
        "-1",
        "1e99",
        "\"2s\"",
        "true",
        "2026-01-01",
        "\"tcp://[::1]:80\"",
        "\"/bin/sh\"",
        "null",
        "\\",
    ]);
    let keys = prop::sample::select(KEYS.iter().map(|key| key.path).collect::<Vec<_>>());
    proptest::prop_oneof![fixed.prop_map(str::to_owned), keys.prop_map(str::to_owned), ".{0,6}"]
}
