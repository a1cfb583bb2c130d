//! What an app of PM2 runs, and in how many workers of which kind.

use std::path::Path;

use super::super::program::{first_line, is_executable};
use super::super::tree::{Node, Value};
use super::{App, is_true, number};

impl App<'_> {
    /// `script` and all that says how it is run.
    pub(super) fn program(&mut self) {
        let Some(script_node) = self.given.get("script").copied() else { return };
        let Some(script) = self.text("script") else {
            return self.set("script", script_node.at, script_node.value.clone());
        };
        let at = script_node.at;
        let cwd = self.cwd(&script);
        let path = cwd.join(&script);
        let interpreter = self.text("interpreter").filter(|text| !text.is_empty());
        let is_file = path.is_file();
        let mut node_program = false;
        let is_script = is_file || interpreter.as_deref().is_some_and(|name| name != "none");
        if is_script || (script.contains('/') && !is_line(&script, &cwd)) {
            self.set("script", at, Value::Text(script.clone()));
            node_program = is_node(&path, interpreter.as_deref());
            if let Some(name) = &interpreter {
                let place = self.given.get("interpreter").map_or(at, |node| node.at);
                let name = name.strip_prefix("node@").map_or(name.as_str(), |version| {
                    self.notes.add(format!(
                        "interpreter: node@{version} is not installed by musher: the node in PATH is taken"
                    ));
                    "node"
                });
                self.set("interpreter", place, Value::Text(name.to_owned()));
            } else if is_file && is_plain_text(&path) {
                self.set("interpreter", at, Value::Text("node".into()));
                node_program = true;
            }
        } else {
            // A line for the shell, or a program that PATH has.
            let words = if script.contains(' ') { vec!["bash", "-c", script.as_str()] } else { vec![script.as_str()] };
            let words = words.into_iter().map(|word| Node { at, value: Value::Text(word.to_owned()) }).collect();
            self.set("command", at, Value::List(words));
        }
        let has_clusters = node_program || !is_file || is_other_runtime(&path, interpreter.as_deref());
        self.kind(node_program, has_clusters);
        if node_program && self.maps_sources(&path) {
            let word = Node { at, value: Value::Text("--enable-source-maps".into()) };
            self.add_words("interpreter_args", at, vec![word]);
        }
    }

    /// Whether Node is to tell places in what a script was made from: when asked to, and as PM2 when there is a map beside it.
    fn maps_sources(&self, script: &Path) -> bool {
        let mut map = script.as_os_str().to_owned();
        map.push(".map");
        let no = self.is_true("disable_source_map_support");
        self.is_true("source_map_support")
            || (!no && !self.given.contains_key("source_map_support") && Path::new(&map).is_file())
    }

    /// Where the program runs. PM2 takes the shell's directory, whatever that of the file is.
    fn cwd(&mut self, script: &str) -> std::path::PathBuf {
        let (base, here) = (self.context.base, self.context.around.cwd.as_path());
        let cwd = match self.given.get("cwd").copied() {
            Some(node) => {
                let Some(text) = self.text("cwd") else {
                    self.set("cwd", node.at, node.value.clone());
                    return base.to_owned();
                };
                let named = Path::new(&text);
                let from = if here.join(named).is_dir() { here } else { base };
                (from.join(named), node.at)
            }
            None if here.join(script).is_file() || !base.join(script).is_file() => (here.to_owned(), self.at),
            None => (base.to_owned(), self.at),
        };
        if cwd.0 != base {
            self.set("cwd", cwd.1, Value::Text(cwd.0.to_string_lossy().into_owned()));
        }
        cwd.0
    }

    /// How many workers: the number, if something is given; no number: one for each core.
    pub(super) fn count(&mut self) -> Option<Option<i64>> {
        let node = self.given.get("instances").copied()?;
        let count = number(&node.value);
        let cores = i64::from(self.context.around.cores);
        let value = match count {
            Some(count) if count > 0 => Value::Integer(count),
            Some(count) if count < 0 => Value::Integer((cores + count).max(1)),
            _ => Value::Text("max".into()),
        };
        self.set("instances", node.at, value);
        Some(count)
    }

    /// Whether the workers are those of a cluster.
    fn kind(&mut self, node_program: bool, has_clusters: bool) {
        let count = self.count();
        let mode = self.text("exec_mode").unwrap_or_default();
        let cluster = match mode.as_str() {
            "cluster" | "cluster_mode" if !has_clusters => {
                self.notes
                    .add("exec_mode: only a Node program can be a cluster; its workers run each by itself (fork)");
                false
            }
            "cluster" | "cluster_mode" => true,
            "" => {
                let asks = count.is_some_and(|count| count.is_none_or(|count| count >= -1));
                node_program && asks && !self.given.get("execute_command").is_some_and(|node| is_true(&node.value))
            }
            "fork" | "fork_mode" => false,
            other => {
                let at = self.given.get("exec_mode").map_or(self.at, |node| node.at);
                let message = format!("{other:?} is not a mode");
                self.faults.add(at, "exec_mode", message).hint("\"fork\" or \"cluster\"");
                return;
            }
        };
        let at = self.given.get("exec_mode").map_or(self.at, |node| node.at);
        if cluster {
            self.set("cluster", at, Value::Bool(true));
        } else {
            if node_program {
                self.set("cluster", at, Value::Bool(false));
            }
            // It opens its port by itself, so that two of them cannot run at a time: a reload is a restart, one by one.
            self.set("reload.max_surge", at, Value::Integer(0));
            self.set("reload.max_unavailable", at, Value::Integer(1));
        }
    }
}

/// Whether a text with a path in it is a command line, not the path of a script that is not there.
fn is_line(text: &str, cwd: &Path) -> bool {
    let Some((first, _)) = text.split_once(' ') else { return false };
    !first.contains('/') || first.contains(['=', '$', '~', '"', '\'']) || cwd.join(first).is_file()
}

/// Whether Node runs it.
fn is_node(path: &Path, interpreter: Option<&str>) -> bool {
    match interpreter {
        Some(name) => {
            let name = Path::new(name).file_name().and_then(|name| name.to_str()).unwrap_or_default();
            name == "node" || name == "nodejs" || name.starts_with("node@")
        }
        None => {
            let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
            matches!(extension, "js" | "cjs" | "mjs" | "ts" | "cts" | "mts")
                || (extension.is_empty() && first_line(path).is_some_and(|line| line.ends_with("node")))
        }
    }
}

/// Whether bun or deno runs it, of which somebody may expect clusters: they are told what to do instead.
fn is_other_runtime(path: &Path, interpreter: Option<&str>) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    let runs = interpreter.and_then(|name| Path::new(name).file_name()?.to_str()).unwrap_or_default();
    matches!(runs, "bun" | "deno") || (interpreter.is_none() && matches!(extension, "tsx" | "jsx"))
}

/// A file that nothing says how to run: PM2 gives it to Node.
fn is_plain_text(path: &Path) -> bool {
    path.extension().is_none() && !is_executable(path) && first_line(path).is_none_or(|line| !line.starts_with("#!"))
}

/// Words as PM2 splits them: at spaces, with quotes around words that have some, and nothing else is special.
pub(super) fn split(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    for c in text.chars() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (None, '"' | '\'') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, ' ' | '\t' | '\n') => words.extend(word.take()),
            (_, c) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}

#[cfg(test)]
mod tests {
    use super::{is_line, split};

    #[test]
    fn a_line_begins_with_what_can_be_run() {
        let cwd = std::path::Path::new("/");
        for line in ["node ./server.js", "/bin/sh -c x", "bin/sh x", "A=/tmp node x.js", "$HOME/bin/x --y"] {
            assert!(is_line(line, cwd), "{line}");
        }
        for path in ["/srv/my app/server.js", "./server.js", "node"] {
            assert!(!is_line(path, cwd), "{path}");
        }
    }

    #[test]
    fn words_are_split_at_spaces_outside_of_quotes() {
        assert_eq!(
            split("--port  3000 --name 'a b' --x=\"c d\" $HOME"),
            ["--port", "3000", "--name", "a b", "--x=c d", "$HOME"]
        );
        assert_eq!(split("''"), [""]);
        assert!(split("  ").is_empty());
    }
}
