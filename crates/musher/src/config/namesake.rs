//! Apps that PM2 knows by one name: PM2 takes as many as one likes, here a name is one app.
//!
//! The second app called `web` is `web::2` to musher, and `web` to who calls musher as PM2.

use musher_core::spec::check_name;

/// The longest name of a command line: room is left for what is put behind it, a number or an environment.
const MAX_LINE: usize = 48;
/// What stands before the number.
const MARK: &str = "::";

/// The name that PM2 would show of an app.
pub(crate) fn shown(app: &str) -> &str {
    match app.rsplit_once(MARK) {
        Some((name, number)) if !name.is_empty() && number.parse::<u32>().is_ok_and(|number| number > 0) => name,
        _ => app,
    }
}

/// `name` itself if no app has it, else the first further one that is free. A name of digits would be taken for an id.
pub(crate) fn free(name: &str, is_taken: impl Fn(&str) -> bool) -> String {
    let is_id = name.bytes().all(|byte| byte.is_ascii_digit());
    let own = (!is_id).then(|| name.to_owned());
    let further = (if is_id { 1_u32 } else { 2 }..).map(|number| format!("{name}{MARK}{number}"));
    own.into_iter().chain(further).find(|name| !is_taken(name)).unwrap_or_default()
}

/// A name for an app that PM2 calls by its command line: its words, without what cannot be in a name, as many as fit.
pub(crate) fn of_line(line: &str) -> String {
    let line = line.replace(['"', '\'', '`'], "");
    let is_possible = |c: char| c.is_alphanumeric() || "._-@:".contains(c);
    let mut name = String::new();
    for word in line.split(|c| !is_possible(c)).filter(|word| word.contains(char::is_alphanumeric)) {
        if !name.is_empty() && name.len() + 1 + word.len() > MAX_LINE {
            break;
        }
        let room = word.floor_char_boundary(MAX_LINE);
        name.extend((!name.is_empty()).then_some(' '));
        name.push_str(word.get(..room).unwrap_or_default());
    }
    let name = name.trim_start_matches(['.', '-']);
    if check_name(name).is_ok() { name.to_owned() } else { format!("command {name}").trim_end().to_owned() }
}

#[cfg(test)]
mod tests {
    use musher_core::spec::check_name;

    use super::{free, of_line, shown};

    #[test]
    fn a_further_app_of_one_name_is_shown_by_that_name() {
        let taken = ["web", "web::2", "a:b"];
        let next = free("web", |name| taken.contains(&name));
        assert_eq!((next.as_str(), shown(&next)), ("web::3", "web"));
        assert_eq!((free("7", |_| false).as_str(), shown("7::1")), ("7::1", "7"));
        assert_eq!(free("api", |name| taken.contains(&name)), "api");
        for own in ["a:b", "a::b", "::2", "a::0", "a::", "a::b::c"] {
            assert_eq!(shown(own), own);
        }
    }

    #[test]
    fn a_command_line_gives_a_name_that_is_valid() {
        for (line, name) in [
            ("node server.js --x 'a b'", "node server.js --x a b"),
            ("./run.sh --port=3000", "run.sh --port 3000"),
            ("node ./a/b.js | tee $LOG", "node a b.js tee LOG"),
            (
                "node -e 'setTimeout(function() { }, 100000); console.log(process.env.TEST)'",
                "node -e setTimeout function 100000 console.log",
            ),
            ("-- all", "command all"),
            ("7 | '8'", "7 8"),
            ("1", "command 1"),
            ("( )", "command"),
        ] {
            assert_eq!(of_line(line), name, "{line}");
            check_name(name).unwrap();
        }
        check_name(&of_line(&"ä".repeat(100))).unwrap();
    }
}
