//! What is to be run when another commit of a program was checked out: `post_update`, PM2's key, in files of either kind.

use std::path::Path;

use super::deploy::{entries_of, parsed};
use super::fault::Faults;
use super::tree::{Entry, Node, Value};
use super::{ConfigError, Surroundings, bytes_of, pm2};

/// Lines for the shell, of the app with one of these names, in order. A file that has no such app, or no such key, has none.
///
/// # Errors
///
/// It cannot be read.
pub(crate) fn post_update(path: &Path, names: &[&str], around: &Surroundings) -> Result<Vec<String>, ConfigError> {
    let mut faults = Faults::default();
    let root = bytes_of(path, around, &mut faults).and_then(|(bytes, syntax)| parsed(&bytes, syntax, &mut faults));
    match root {
        Some(root) => Ok(lines_of(&root, names)),
        None => Err(faults.into_error(Some(path))),
    }
}

fn lines_of(root: &Node, names: &[&str]) -> Vec<String> {
    let named = |app: &&Node| matches!(value(app, "name"), Some(Value::Text(name)) if names.contains(&name.as_str()));
    let apps = value(root, "apps").or_else(|| value(root, "pm2")).unwrap_or(&root.value);
    let app = match apps {
        Value::List(apps) => apps.iter().find(named),
        _ => Some(root).filter(named),
    };
    match app.and_then(|app| value(app, "post_update")) {
        Some(Value::Text(line)) => vec![line.clone()],
        Some(Value::List(lines)) => lines
            .iter()
            .filter_map(|line| if let Value::Text(line) = &line.value { Some(line.clone()) } else { None })
            .collect(),
        _ => Vec::new(),
    }
}

fn value<'n>(node: &'n Node, key: &str) -> Option<&'n Value> {
    let is_key = |entry: &&Entry| pm2::snake(&entry.key) == key;
    entries_of(node)?.iter().find(is_key).map(|entry| &entry.node.value)
}

#[cfg(test)]
mod tests {
    use super::lines_of;
    use crate::config::fault::Faults;
    use crate::config::tree::{Syntax, parse};

    #[test]
    fn the_lines_are_those_of_the_app() {
        for (json, lines) in [
            (
                r#"{"apps": [{"name": "a", "post_update": ["x"]}, {"name": "web", "post_update": ["npm ci", "make"]}]}"#,
                2,
            ),
            (r#"[{"name": "web", "postUpdate": "npm ci"}]"#, 1),
            (r#"{"name": "web", "post_update": ["npm ci"]}"#, 1),
            (r#"{"name": "web", "version": "1.0.0"}"#, 0),
            (r#"{"apps": [{"name": "other", "post_update": ["x"]}]}"#, 0),
            (r#"{"apps": {"name": "web"}, "name": "x"}"#, 0),
        ] {
            let root = parse(json.as_bytes(), Syntax::Json, &mut Faults::default()).unwrap();
            let found = lines_of(&root, &["web"]);
            assert_eq!(found.len(), lines, "{json}");
            assert!(found.first().is_none_or(|line| line == "npm ci"), "{found:?}");
        }
    }
}
