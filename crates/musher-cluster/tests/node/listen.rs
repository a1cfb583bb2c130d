//! What unmodified Node programs listen on.

use std::collections::BTreeSet;

use musher_core::spec::Balance;
use crate::team::{HTTP, Team, get};

#[test]
fn two_workers_share_a_port() {
    for policy in [Balance::Kernel, Balance::Shared, Balance::RoundRobin] {
        let mut team = Team::new(policy);
        let script = team.script("server.js", HTTP);
        let (one, two) = (team.start(0, &script), team.start(1, &script));
        let address = team.listening(one);
        assert_eq!(team.listening(two), address, "{policy:?}");
        let answered: BTreeSet<String> = (0..64).map(|_| get(&address)).collect();
        // With one socket the kernel may give all to one.
        assert!(answered.len() == 2 || policy == Balance::Shared, "{policy:?} {answered:?}");
    }
}
