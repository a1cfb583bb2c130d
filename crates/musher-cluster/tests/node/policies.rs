//! A spec with another policy, or other sockets, takes the place of the one before while the app serves.

use std::collections::BTreeSet;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;

use musher_core::ids::RunId;
use musher_core::spec::Balance;

use crate::team::{HTTP, LIMIT, Team, ask, finish, get, wait_a_little};

const POLICIES: [Balance; 3] = [Balance::Kernel, Balance::Shared, Balance::RoundRobin];

/// Clients that ask all the time, until they are stopped; a request that is not answered fails the test.
struct Clients {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
    threads: Vec<JoinHandle<()>>,
}

impl Clients {
    fn start(address: &str) -> Clients {
        let (stop, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let client = || {
            let (stop, answered, address) = (Arc::clone(&stop), Arc::clone(&answered), address.to_owned());
            std::thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    get(&address);
                    answered.fetch_add(1, Ordering::Relaxed);
                }
            })
        };
        let threads = (0..4).map(|_| client()).collect();
        Clients { stop, answered, threads }
    }

    fn stop(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads {
            thread.join().unwrap();
        }
        self.answered.load(Ordering::Relaxed)
    }
}

/// Who answers some rounds of requests: a worker that gets no processor time for a while is left out of a round.
fn answers(address: &str, count: usize) -> BTreeSet<String> {
    let mut answered = BTreeSet::new();
    for _ in 0..10 {
        let clients: Vec<_> = (0..count).map(|_| ask(address, "/")).collect();
        answered.extend(clients.into_iter().map(finish));
        if answered.len() > 1 {
            break;
        }
        wait_a_little();
    }
    answered
}

/// Replaces the runs of slots 0 and 1, one after the other.
fn replace(team: &mut Team, script: &std::path::Path, old: [RunId; 2], address: &str) -> [RunId; 2] {
    [0, 1].map(|slot: u32| {
        let new = team.start(slot, script);
        assert_eq!(team.listening(new), address);
        let old = old[slot as usize];
        team.cluster.drain(old, std::time::Duration::from_millis(50), LIMIT);
        team.drained(old);
        team.exited(old);
        new
    })
}

#[test]
fn new_workers_get_the_new_policy_of_an_address_that_is_open_and_no_connection_is_lost() {
    for from in POLICIES {
        for to in POLICIES {
            let mut team = Team::new(from);
            let script = team.script("server.js", HTTP);
            let old = [0, 1].map(|slot| team.start(slot, &script));
            let address = old.map(|run| team.listening(run))[0].clone();
            let clients = Clients::start(&address);
            team.change(to, Vec::new());
            let new = replace(&mut team, &script, old, &address);
            // Every kind of socket is kept and found again.
            team.replace_supervisor();
            for run in new {
                assert_eq!(team.listening(run), address);
            }
            assert!(clients.stop() > 0);
            let answered = answers(&address, 64);
            assert!(answered.len() == 2 || to == Balance::Shared, "{from:?} to {to:?}: {answered:?}");
            // And back, with the sockets as they are now.
            team.change(from, Vec::new());
            let clients = Clients::start(&address);
            replace(&mut team, &script, new, &address);
            clients.stop();
            let answered = answers(&address, 64);
            assert!(answered.len() == 2 || from == Balance::Shared, "{to:?} back to {from:?}: {answered:?}");
        }
    }
}

#[test]
fn round_robin_takes_strict_turns_also_of_what_the_kernel_dealt_before() {
    let mut team = Team::new(Balance::Kernel);
    let script = team.script("server.js", HTTP);
    let old = [0, 1].map(|slot| team.start(slot, &script));
    let address = old.map(|run| team.listening(run))[0].clone();
    team.change(Balance::RoundRobin, Vec::new());
    replace(&mut team, &script, old, &address);
    let before = team.stats().handed_over;
    for _ in 0..400 {
        get(&address);
    }
    assert_eq!(team.wait_for_stats(|stats| stats.unanswered == 0).handed_over - before, 400);
}

#[test]
fn shared_leaves_all_to_the_workers_also_of_what_was_handed_over_before() {
    for from in [Balance::Kernel, Balance::RoundRobin] {
        let mut team = Team::new(from);
        let script = team.script("server.js", HTTP);
        let old = [0, 1].map(|slot| team.start(slot, &script));
        let address = old.map(|run| team.listening(run))[0].clone();
        team.change(Balance::Shared, Vec::new());
        replace(&mut team, &script, old, &address);
        let before = team.stats().handed_over;
        answers(&address, 100);
        assert_eq!(team.stats().handed_over, before, "{from:?}");
    }
}

#[test]
fn the_kernel_deals_what_one_socket_had_before() {
    for from in [Balance::Shared, Balance::RoundRobin] {
        let mut team = Team::new(from);
        let script = team.script("server.js", HTTP);
        let old = [0, 1].map(|slot| team.start(slot, &script));
        let address = old.map(|run| team.listening(run))[0].clone();
        team.change(Balance::Kernel, Vec::new());
        let new = replace(&mut team, &script, old, &address);
        let before = team.stats().handed_over;
        let answered = answers(&address, 100);
        // But for those that wait where a worker does not get the processor.
        let handed_over = team.stats().handed_over - before;
        assert!(answered.len() == 2 && handed_over < 80, "{from:?}: {answered:?}, {handed_over} handed over");
        // A slot whose worker is gone gets nothing.
        team.kill(new[0]);
        assert_eq!(answers(&address, 50).len(), 1);
    }
}

#[test]
fn the_old_workers_serve_on_when_the_new_policy_is_taken_back() {
    for from in POLICIES {
        for to in POLICIES {
            let mut team = Team::new(from);
            let script = team.script("server.js", HTTP);
            let old = [0, 1].map(|slot| team.start(slot, &script));
            let address = old.map(|run| team.listening(run))[0].clone();
            team.change(to, Vec::new());
            let failed = team.start(0, &script);
            team.listening(failed);
            let clients = Clients::start(&address);
            team.cluster.drain(failed, std::time::Duration::from_millis(50), LIMIT);
            team.drained(failed);
            team.exited(failed);
            clients.stop();
            let answered = answers(&address, 64);
            assert!(answered.len() == 2 || from == Balance::Shared, "{from:?} to {to:?}: {answered:?}");
            // One of them is replaced by another of its kind.
            team.change(from, Vec::new());
            team.kill(old[1]);
            let again = team.start(1, &script);
            assert_eq!(team.listening(again), address);
            let answered = answers(&address, 64);
            assert!(answered.len() == 2 || from == Balance::Shared, "{from:?} to {to:?} and back: {answered:?}");
        }
    }
}

#[test]
fn another_spec_has_other_descriptors_of_the_same_number() {
    let listener = || std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    for policy in POLICIES {
        let (one, two) = (listener(), listener());
        let addresses = [&one, &two].map(|listener| listener.local_addr().unwrap().to_string());
        let mut team = Team::with_inherited(policy, vec![OwnedFd::from(one)]);
        let script = team.script("server.js", &HTTP.replace("0, '127.0.0.1'", "{fd: 3}"));
        let old = team.start(0, &script);
        assert_eq!(team.listening(old), addresses[0]);
        team.change(policy, vec![OwnedFd::from(two)]);
        let new = team.start(0, &script);
        assert_eq!(team.listening(new), addresses[1], "{policy:?}");
        assert_ne!(get(&addresses[0]), get(&addresses[1]), "both serve");
    }
}
