//! Apps that PM2 knows by one name: PM2 takes as many as one likes, here a name is one app.
//!
//! The second app called `web` is `web::2` to musher, and `web` to who calls musher as PM2.

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

#[cfg(test)]
mod tests {
    use super::{free, shown};

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
}
