//! `pm2 serve [FOLDER] [PORT]`: the words of `musher serve`, but for some that only PM2 has.

use std::ffi::OsString;

/// The words behind `serve`, if this is that command; as musher takes them.
pub(super) fn words_of(words: &[OsString]) -> Option<Vec<String>> {
    let words: Vec<&str> = words.iter().skip(1).map(|word| word.to_str()).collect::<Option<_>>()?;
    let at = words.iter().position(|word| !word.starts_with('-'))?;
    if !matches!(words[at], "serve" | "expose") {
        return None;
    }
    let mut translated = vec!["serve".to_owned()];
    let mut port = None;
    let mut places = 0;
    let mut rest = words[..at].iter().chain(&words[at + 1..]);
    while let Some(word) = rest.next() {
        match *word {
            "--port" => port = rest.next().map(|port| (*port).to_owned()),
            "--no-daemon" => translated.push("--foreground".to_owned()),
            // It is looked after without; or it belongs to PM2's cloud; or the list is not shown anyway.
            "--monitor" => drop(rest.next()),
            "-s" | "--silent" | "-f" | "--force" | "--no-autorestart" | "--watch" => {}
            word => {
                let value = translated.last().is_some_and(|last| last.starts_with('-') && takes_value(last));
                places += usize::from(!word.starts_with('-') && !value);
                translated.push(word.to_owned());
            }
        }
    }
    if let Some(port) = port {
        // The folder comes first.
        if places == 0 {
            translated.push(".".to_owned());
        }
        if places < 2 {
            translated.push(port);
        }
    }
    Some(translated)
}

fn takes_value(flag: &str) -> bool {
    matches!(
        flag,
        "--name"
            | "-n"
            | "-i"
            | "--instances"
            | "--host"
            | "--basic-auth-username"
            | "--basic-auth-password"
            | "--cache"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_pm2_are_those_of_musher_but_for_some() {
        for (line, translated) in [
            ("pm2 serve", Some("serve")),
            ("pm2 serve dist 3000 --spa --name web", Some("serve dist 3000 --spa --name web")),
            ("pm2 --silent serve --port 3000", Some("serve . 3000")),
            ("pm2 expose --name web dist --port 3000", Some("serve --name web dist 3000")),
            ("pm2 serve dist --monitor / --no-daemon", Some("serve dist --foreground")),
            ("pm2 start serve", None),
            ("pm2", None),
        ] {
            let words: Vec<OsString> = line.split(' ').map(OsString::from).collect();
            assert_eq!(words_of(&words).map(|words| words.join(" ")).as_deref(), translated, "{line}");
        }
    }
}
