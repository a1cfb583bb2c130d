//! Which members of a group get new connections. Pure.

/// How a slot, or the front, can serve.
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

/// Who deals connections out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Deal {
    /// We do, in turns: all come to the front, as there are workers of a spec with `round-robin`.
    Turns,
    /// The kernel does, to the slots.
    Kernel,
    /// The kernel does, to the slots and to the front, from which workers of a spec with `shared` accept themselves.
    KernelAndFront,
}

/// The indices of the members that get new connections: those that serve; without any, or when connections are dealt out
/// in turns, the front, where whoever can serve first takes them. A group without a front gives them to the fittest.
/// Retiring slots never get any.
pub(crate) fn chosen(members: &[Option<Fitness>], deal: Deal) -> Vec<u32> {
    let front = members.iter().position(Option::is_none);
    let best = members.iter().flatten().max().copied().unwrap_or(Fitness::Retiring);
    match front.and_then(|front| u32::try_from(front).ok()) {
        Some(front) if deal == Deal::Turns || best < Fitness::Serving => vec![front],
        Some(_) if deal == Deal::KernelAndFront => {
            let serves = |member: &Option<Fitness>| member.is_none_or(|fitness| fitness == Fitness::Serving);
            (0..).zip(members).filter(|(_, member)| serves(member)).map(|(index, _)| index).collect()
        }
        _ if best == Fitness::Retiring => Vec::new(),
        _ => (0..).zip(members).filter(|(_, member)| **member == Some(best)).map(|(index, _)| index).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::Fitness::{self, Blocked, Retiring, Serving, Vacant};
    use super::{Deal, chosen};

    #[test]
    fn the_fittest_are_chosen() {
        let slots = |fitnesses: &[Fitness]| fitnesses.iter().copied().map(Some).collect::<Vec<_>>();
        let table = [
            (slots(&[]), vec![]),
            (slots(&[Serving, Serving]), vec![0, 1]),
            (slots(&[Vacant, Serving, Blocked, Serving]), vec![1, 3]),
            (slots(&[Vacant, Blocked, Retiring]), vec![1]),
            (slots(&[Vacant, Vacant, Retiring]), vec![0, 1]),
            (slots(&[Retiring]), vec![]),
            (vec![Some(Serving), None, Some(Serving)], vec![0, 2]),
            (vec![None, Some(Blocked), Some(Retiring)], vec![0]),
            (vec![None, Some(Vacant)], vec![0]),
            (vec![Some(Retiring), None], vec![1]),
        ];
        for (members, expected) in table {
            assert_eq!(chosen(&members, Deal::Kernel), expected, "{members:?}");
        }
        assert_eq!(chosen(&[Some(Serving), None, Some(Serving)], Deal::Turns), [1]);
        assert_eq!(chosen(&[Some(Serving), Some(Serving)], Deal::Turns), [0, 1]);
        assert_eq!(chosen(&[Some(Serving), None, Some(Blocked), Some(Serving)], Deal::KernelAndFront), [0, 1, 3]);
        assert_eq!(chosen(&[Some(Vacant), None], Deal::KernelAndFront), [1]);
    }
}
