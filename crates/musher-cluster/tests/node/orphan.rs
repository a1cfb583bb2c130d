//! Whoever was at the other end of a worker's channel is dead.

use musher_core::spec::Balance;
use musher_process::ExitStatus;

use crate::team::{DEADLINE, Team, ask, finish, get};

/// What the daemon tells its workers besides: they outlive it.
const OF_DAEMON: &[(&str, &str)] = &[("MUSHER_SLOT", "0")];

/// On a message it does not come back to its event loop before the other end of the channel is closed, so that its next words
/// find nobody before it can know.
const WRITES_LATE: &str = "
const fs = require('fs');
const nap = new Int32Array(new SharedArrayBuffer(4));
let code = 'none';
require('http').createServer((request, response) => response.end(`${process.connected} ${code}`)).listen(0, '127.0.0.1');
process.on('message', () => {
  process.send('it waits');
  while (!fs.existsSync('closed')) Atomics.wait(nap, 0, 0, 1);
  process.send('late', (error) => { code = error?.code; });
  process.send('nobody waits for an error of this one');
});
";

/// A request waits for its answer until the channel has ended.
const ANSWERS_LATE: &str = "
const waiting = [];
require('http').createServer((request, response) => {
  waiting.push(response);
  process.send('asked');
}).listen(0, '127.0.0.1');
process.on('disconnect', () => setImmediate(() => waiting.forEach((response) => response.end('done'))));
";

#[test]
fn a_word_of_a_worker_to_a_daemon_that_is_dead_does_not_end_the_worker() {
    let mut team = Team::new(Balance::Kernel);
    let script = team.script("writes.js", WRITES_LATE);
    let run = team.start_as(0, &script, true, OF_DAEMON);
    let address = team.listening(run);
    team.cluster.send(run, "go".into());
    assert_eq!(team.message(run), "it waits");
    team.die();
    team.script("closed", "");
    let until = std::time::Instant::now() + DEADLINE;
    loop {
        let body = get(&address);
        if body == "false EPIPE" {
            break;
        }
        assert!(std::time::Instant::now() < until, "{body}");
    }
    team.signal(run, 15);
    assert_eq!(team.exited(run), ExitStatus::Code(0), "and it ends in order");
}

#[test]
fn a_worker_of_a_primary_that_is_no_daemon_finishes_and_ends_when_that_is_dead() {
    for policy in [Balance::Kernel, Balance::RoundRobin] {
        let mut team = Team::new(policy);
        let script = team.script("answers.js", ANSWERS_LATE);
        let run = team.start(0, &script);
        let address = team.listening(run);
        let waiting = ask(&address, "/");
        assert_eq!(team.message(run), "asked");
        team.die();
        assert_eq!(finish(waiting), "done");
        assert_eq!(team.exited(run), ExitStatus::Code(0), "{policy:?}");
    }
}
