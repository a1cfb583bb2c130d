//! Which apps need which others, and in what order they are started and stopped. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::lifecycle::Standing;
use crate::spec::{AppSpec, Condition};

/// What each app needs, by name.
pub type Needs = BTreeMap<String, BTreeMap<String, Condition>>;

/// Why apps cannot be started in any order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unorderable {
    /// An app needs one that there is not.
    Unknown {
        /// The app.
        app: String,
        /// What it needs.
        needs: String,
    },
    /// Apps need each other. The last one is the first again.
    Cycle(Vec<String>),
    /// An app waits for the end of one that never ends.
    NeverEnds {
        /// The app.
        app: String,
        /// The one it waits for.
        needs: String,
    },
}

/// Whether an app has what it needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It has.
    Holds,
    /// Not yet.
    NotYet,
    /// It will not by itself, for this reason.
    Failed(String),
}

/// What these apps need.
pub fn needs<'a>(specs: impl IntoIterator<Item = &'a AppSpec>) -> Needs {
    specs.into_iter().map(|spec| (spec.name.clone(), spec.depends_on.clone())).collect()
}

/// Whether these apps can be started: every one that is needed exists, and none needs itself over others.
///
/// # Errors
///
/// The first fault by name, with the way to it.
pub fn check(needs: &Needs) -> Result<(), Unorderable> {
    for (app, of) in needs {
        if let Some(unknown) = of.keys().find(|name| !needs.contains_key(*name)) {
            return Err(Unorderable::Unknown { app: app.clone(), needs: unknown.clone() });
        }
    }
    let mut done = BTreeSet::new();
    for app in needs.keys() {
        let mut path = Vec::new();
        visit(needs, app, &mut path, &mut done)?;
    }
    Ok(())
}

/// Whether no app waits for the end of one that is always started again.
///
/// # Errors
///
/// The first one that does.
pub fn check_ends<'a>(needs: &Needs, spec: impl Fn(&str) -> Option<&'a AppSpec>) -> Result<(), Unorderable> {
    for (app, of) in needs {
        for (name, _) in of.iter().filter(|(_, condition)| **condition == Condition::ExitedOk) {
            let never_ends = |spec: &AppSpec| {
                spec.restart.policy == crate::spec::RestartPolicy::Always && spec.restart.stop_exit_codes.is_empty()
            };
            if spec(name).is_some_and(never_ends) {
                return Err(Unorderable::NeverEnds { app: app.clone(), needs: name.clone() });
            }
        }
    }
    Ok(())
}

/// Goes down what `app` needs. No deeper than there are apps.
fn visit<'a>(
    needs: &'a Needs,
    app: &'a str,
    path: &mut Vec<&'a str>,
    done: &mut BTreeSet<&'a str>,
) -> Result<(), Unorderable> {
    if let Some(at) = path.iter().position(|name| *name == app) {
        let cycle = path[at..].iter().chain([&app]).map(|name| (*name).to_owned());
        return Err(Unorderable::Cycle(cycle.collect()));
    }
    if done.contains(app) {
        return Ok(());
    }
    path.push(app);
    for name in needs.get(app).into_iter().flatten().map(|(name, _)| name) {
        visit(needs, name, path, done)?;
    }
    path.pop();
    done.insert(app);
    Ok(())
}

/// All of `apps` and what they need, each after what it needs. With a cycle each app still comes once.
pub fn with_what_they_need<'a>(needs: &'a Needs, apps: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    let mut order = Vec::new();
    // A stack of its own: apps may be many. False: first what it needs.
    let mut seen = BTreeSet::new();
    for app in apps {
        let mut stack = vec![(app, false)];
        while let Some((app, ready)) = stack.pop() {
            if ready {
                order.push(app.to_owned());
                continue;
            }
            if !seen.insert(app) {
                continue;
            }
            stack.push((app, true));
            let of = needs.get(app).into_iter().flatten().map(|(name, _)| name.as_str());
            stack.extend(of.filter(|name| !seen.contains(name)).map(|name| (name, false)));
        }
    }
    order
}

/// The apps that need this one directly.
pub fn dependents<'a>(needs: &'a Needs, app: &'a str) -> impl Iterator<Item = &'a str> {
    needs.iter().filter(move |(_, of)| of.contains_key(app)).map(|(name, _)| name.as_str())
}

/// Whether an app that stands so is as another one needs it.
pub fn verdict(name: &str, condition: Condition, standing: Option<&Standing>) -> Verdict {
    let Some(standing) = standing else { return Verdict::Failed(format!("there is no app {name:?} any more")) };
    let holds = match condition {
        Condition::Started => standing.wanted && standing.started,
        Condition::Ready => standing.wanted && standing.ready,
        Condition::ExitedOk => standing.ended_well,
    };
    match &standing.failed {
        _ if holds => Verdict::Holds,
        _ if !standing.wanted => Verdict::Failed(format!("{name} is stopped")),
        Some(why) => Verdict::Failed(format!("{name} {why}")),
        None => Verdict::NotYet,
    }
}

impl fmt::Display for Unorderable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unorderable::Unknown { app, needs } => write!(f, "{app} needs {needs:?}, and there is no such app"),
            Unorderable::Cycle(path) => write!(f, "apps need each other: {}", path.join(" -> ")),
            Unorderable::NeverEnds { app, needs } => {
                write!(f, "{app} waits for the end of {needs}, which is started again after each end")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{prop_assert, prop_assert_eq, proptest};

    use super::{Needs, Standing, Unorderable, Verdict, check, dependents, verdict, with_what_they_need};
    use crate::spec::Condition;

    fn graph(text: &str) -> Needs {
        let line = |line: &str| {
            let (app, of) = line.split_once(':').unwrap();
            let of = of.split_whitespace().map(|name| (name.to_owned(), Condition::Ready)).collect();
            (app.trim().to_owned(), of)
        };
        text.split(';').map(line).collect()
    }

    #[test]
    fn what_is_needed_comes_first() {
        let needs = graph("web: api cache; api: db migrate; migrate: db; db:; cache:; alone:");
        assert_eq!(check(&needs), Ok(()));
        assert_eq!(with_what_they_need(&needs, ["api"]), ["db", "migrate", "api"]);
        assert_eq!(with_what_they_need(&needs, ["web", "alone"]), ["cache", "db", "migrate", "api", "web", "alone"]);
        assert_eq!(dependents(&needs, "db").collect::<Vec<_>>(), ["api", "migrate"]);
    }

    #[test]
    fn what_cannot_be_ordered_is_told_with_the_way_to_it() {
        let cases = [
            ("a: b; b: c; c: a", "apps need each other: a -> b -> c -> a"),
            ("a: b; b: c; c: d; d: b", "apps need each other: b -> c -> d -> b"),
            ("a: a", "apps need each other: a -> a"),
            ("a: b; b: nobody", "b needs \"nobody\", and there is no such app"),
        ];
        for (text, expected) in cases {
            assert_eq!(check(&graph(text)).unwrap_err().to_string(), expected);
        }
    }

    #[test]
    fn an_app_is_as_another_needs_it_or_not_yet_or_never() {
        use Condition::{ExitedOk, Ready, Started};
        let standing = Standing { wanted: true, ..Standing::default() };
        let started = Standing { started: true, ..standing.clone() };
        let ready = Standing { ready: true, ..started.clone() };
        let ended = Standing { ended_well: true, ..ready.clone() };
        let failed = Standing { failed: Some("was given up".into()), ..standing.clone() };
        let stopped = Standing::default();
        let no = |why: &str| Verdict::Failed(why.to_owned());
        let cases = [
            (Started, Some(&standing), Verdict::NotYet),
            (Started, Some(&started), Verdict::Holds),
            (Ready, Some(&started), Verdict::NotYet),
            (Ready, Some(&ready), Verdict::Holds),
            (ExitedOk, Some(&ready), Verdict::NotYet),
            (ExitedOk, Some(&ended), Verdict::Holds),
            (Ready, Some(&failed), no("db was given up")),
            (Started, Some(&stopped), no("db is stopped")),
            (ExitedOk, None, no("there is no app \"db\" any more")),
        ];
        for (condition, standing, expected) in cases {
            assert_eq!(verdict("db", condition, standing), expected, "{condition:?} {standing:?}");
        }
    }

    proptest! {
        #[test]
        fn each_app_comes_once_and_after_what_it_needs(edges in proptest::collection::vec((0_u8..12, 0_u8..12), 0..40)) {
            let mut needs: Needs = (0..12).map(|n| (format!("a{n}"), Default::default())).collect();
            // From larger to smaller numbers: there is no cycle.
            for (a, b) in edges.into_iter().filter(|(a, b)| a != b) {
                let of = needs.get_mut(&format!("a{}", a.max(b))).unwrap();
                of.insert(format!("a{}", a.min(b)), Condition::Ready);
            }
            prop_assert_eq!(check(&needs), Ok(()));
            let order = with_what_they_need(&needs, needs.keys().map(String::as_str));
            prop_assert_eq!(order.len(), 12);
            for (app, of) in &needs {
                let place = |name: &String| order.iter().position(|other| other == name).unwrap();
                prop_assert!(of.keys().all(|needed| place(needed) < place(app)));
            }
        }

        #[test]
        fn a_cycle_is_found_wherever_it_is(edges in proptest::collection::vec((0_u8..8, 0_u8..8), 0..24)) {
            let mut needs: Needs = (0..8).map(|n| (format!("a{n}"), Default::default())).collect();
            for (a, b) in &edges {
                needs.get_mut(&format!("a{a}")).unwrap().insert(format!("a{b}"), Condition::Ready);
            }
            // Another way: whoever has nothing left to wait for is taken away, until nobody is.
            let mut left = needs.clone();
            while let Some(free) = left.iter().find(|(_, of)| of.keys().all(|name| !left.contains_key(name))).map(|(name, _)| name.clone()) {
                left.remove(&free);
            }
            match check(&needs) {
                Ok(()) => prop_assert!(left.is_empty()),
                Err(Unorderable::Cycle(path)) => {
                    prop_assert!(path.len() > 1 && path.first() == path.last());
                    prop_assert!(path.windows(2).all(|pair| needs[&pair[0]].contains_key(&pair[1])));
                }
                Err(other) => prop_assert!(false, "{other}"),
            }
        }
    }
}
