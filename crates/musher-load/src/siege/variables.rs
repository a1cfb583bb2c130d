//! `$(NAME)` and `${NAME}` in siege's files.

use std::collections::BTreeMap;

/// The longest that a line may become.
const LONGEST: usize = 64 * 1024 * 1024;

/// What stands for a name: the file's own variables first, then the environment's.
pub(super) struct Variables<'e> {
    pub(super) own: BTreeMap<String, String>,
    pub(super) environment: &'e dyn Fn(&str) -> Option<String>,
}

impl Variables<'_> {
    /// Replaces all variables of a text; `\$` is a dollar.
    pub(super) fn expand(&self, text: &str) -> Result<String, String> {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(at) = rest.find(['$', '\\']) {
            out.push_str(&rest[..at]);
            let (here, after) = (&rest[at..], &rest[at + 1..]);
            if let Some(after) = here.strip_prefix("\\$") {
                out.push('$');
                rest = after;
                continue;
            }
            let close = match after.chars().next() {
                Some('(') if here.starts_with('$') => ')',
                Some('{') if here.starts_with('$') => '}',
                _ => {
                    out.push_str(&here[..1]);
                    rest = after;
                    continue;
                }
            };
            let (name, after) =
                after[1..].split_once(close).ok_or_else(|| format!("a variable without its {close:?}"))?;
            let value = self.own.get(name).cloned().or_else(|| (self.environment)(name));
            out.push_str(&value.ok_or_else(|| format!("there is no variable {name:?} here or in the environment"))?);
            if out.len() > LONGEST {
                return Err("it is longer than 64 MiB with its variables".into());
            }
            rest = after;
        }
        out.push_str(rest);
        Ok(out)
    }
}

/// Whether a line sets a variable: its name and value.
pub(super) fn assignment(line: &str) -> Option<(&str, &str)> {
    let (name, value) = line.split_once('=')?;
    let name = name.trim_end();
    let starts_well = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    (starts_well && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')).then(|| (name, value.trim()))
}
