//! Which members of a group get new connections. Pure.

/// How a slot can serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fitness {
    /// It is being given up.
    Retiring,
    /// Nobody accepts from it.
    Vacant,
    /// Its worker is blocked.
    Blocked,
    /// Its worker accepts.
    Serving,
}

/// The indices of the members that get new connections: those that can serve best. Retiring slots never do; when all
/// others are vacant they share what comes, to keep it for their next workers.
pub(crate) fn chosen(members: impl Iterator<Item = Fitness> + Clone) -> Vec<u32> {
    let Some(best) = members.clone().max().filter(|best| *best > Fitness::Retiring) else { return Vec::new() };
    (0..).zip(members).filter(|(_, fitness)| *fitness == best).map(|(index, _)| index).collect()
}

#[cfg(test)]
mod tests {
    use super::Fitness::{Blocked, Retiring, Serving, Vacant};
    use super::chosen;

    #[test]
    fn the_fittest_are_chosen() {
        let table = [
            (vec![], vec![]),
            (vec![Serving, Serving], vec![0, 1]),
            (vec![Vacant, Serving, Blocked, Serving], vec![1, 3]),
            (vec![Vacant, Blocked, Retiring], vec![1]),
            (vec![Vacant, Vacant, Retiring], vec![0, 1]),
            (vec![Retiring], vec![]),
        ];
        for (members, expected) in table {
            assert_eq!(chosen(members.iter().copied()), expected, "{members:?}");
        }
    }
}
