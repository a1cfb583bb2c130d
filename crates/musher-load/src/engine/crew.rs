//! Several processes that send together: one plan, one begin, one report.
//!
//! Each has its part of the users and of the rate. They are told what to do, and tell what they did, in lines of JSON over a
//! socket each: the plan, and "ready"; "go", and an interval after the other; at the end, what it came to. A process whose
//! socket is closed by the other side ends at once, so that nobody sends on when the one who directs is gone.

use std::io::{self, BufRead, BufReader, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use musher_process::exit;
use serde::{Deserialize, Serialize};

use super::shared::{Control, Shared, Slice};
use super::{Engine, Observer, Outcome, RunError};
use crate::plan::Plan;

/// How long a process may take to be ready.
const READY: Duration = Duration::from_secs(30);

/// How long one that has closed its socket, or was killed, may take to end.
const ENDING: Duration = Duration::from_secs(1);
const SIGKILL: i32 = 9;

/// How a child of the crew is started, of which this gives the pidfd: it shall call [`serve`] with this socket.
pub type Launch<'l> = &'l mut dyn FnMut(UnixStream) -> io::Result<OwnedFd>;

/// What a process is told.
#[derive(Debug, Serialize, Deserialize)]
enum Order {
    Plan(Box<Plan>),
    Go,
    Mark(String),
    Stop,
    Cut,
}

/// What it tells.
#[derive(Debug, Serialize, Deserialize)]
enum Word {
    Ready,
    Refused(String),
    Slices(Vec<Slice>),
    Outcome(Box<Outcome>),
}

fn say<T: Serialize>(mut stream: &UnixStream, said: &T) -> io::Result<()> {
    let mut line = serde_json::to_vec(said)?;
    line.push(b'\n');
    stream.write_all(&line)
}

/// The next line; none at the end.
fn hear<T: for<'de> Deserialize<'de>>(reader: &mut impl BufRead) -> io::Result<Option<T>> {
    let mut line = Vec::new();
    reader.read_until(b'\n', &mut line)?;
    if line.is_empty() {
        return Ok(None);
    }
    Ok(Some(serde_json::from_slice(&line)?))
}

/// A process of the crew, until its part is done.
///
/// # Errors
///
/// When the one who directs is gone, or says what nobody understands.
pub fn serve(stream: &UnixStream) -> io::Result<()> {
    let mut orders = BufReader::new(stream.try_clone()?);
    let Some(Order::Plan(plan)) = hear(&mut orders)? else {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the first line is no plan"));
    };
    let engine = match Engine::new(*plan) {
        Ok(engine) => engine,
        Err(error) => return say(stream, &Word::Refused(error.to_string())),
    };
    say(stream, &Word::Ready)?;
    let Some(Order::Go) = hear(&mut orders)? else { return Ok(()) };
    let control = engine.control();
    let follower = control.clone();
    std::thread::Builder::new().name("orders".into()).spawn(move || follow(&mut orders, &follower))?;
    let mut teller = Teller { stream, control };
    let outcome = engine.run(&mut teller).map_err(io::Error::other)?;
    say(stream, &Word::Outcome(Box::new(outcome)))
}

fn follow(orders: &mut impl BufRead, control: &Control) {
    loop {
        match hear(orders) {
            Ok(Some(Order::Mark(label))) => control.mark(&label),
            Ok(Some(Order::Stop)) => control.finish(),
            Ok(Some(Order::Plan(_) | Order::Go)) => {}
            Ok(Some(Order::Cut) | None) | Err(_) => return control.cut(),
        }
    }
}

/// Tells each interval; whom nobody hears ends.
struct Teller<'s> {
    stream: &'s UnixStream,
    control: Control,
}

impl Observer for Teller<'_> {
    fn slices(&mut self, done: &[Slice], _: Duration, _: Duration) {
        if say(self.stream, &Word::Slices(done.to_vec())).is_err() {
            self.control.cut();
        }
    }
}

#[derive(Debug)]
struct Member {
    stream: UnixStream,
    words: BufReader<UnixStream>,
    child: OwnedFd,
}

/// The processes of a run.
#[derive(Debug)]
pub(super) struct Crew {
    members: Vec<Member>,
}

impl Drop for Crew {
    fn drop(&mut self) {
        for member in &mut self.members {
            // Its part is done or not wanted; one that has ended already hears nothing.
            let _ = exit::signal(member.child.as_fd(), SIGKILL);
            let _ = exit::wait_for_end(member.child.as_fd(), ENDING);
            let _ = exit::reap(member.child.as_fd());
        }
    }
}

impl Crew {
    /// Starts them, each with its part, and waits until all are ready.
    pub(super) fn start(plan: &Plan, launch: Launch<'_>) -> Result<Crew, RunError> {
        let mut crew = Crew { members: Vec::new() };
        for number in 0..plan.processes {
            let (stream, other) = UnixStream::pair()?;
            let child = launch(other)?;
            let words = BufReader::new(stream.try_clone()?);
            crew.members.push(Member { stream, words, child });
            let part = plan.part(number, plan.processes);
            if let Some(member) = crew.members.last() {
                // A process that is gone already is found by what it does not say.
                let _ = say(&member.stream, &Order::Plan(Box::new(part)));
            }
        }
        let count = crew.members.len();
        for (number, member) in crew.members.iter_mut().enumerate() {
            member.stream.set_read_timeout(Some(READY))?;
            let word = hear(&mut member.words);
            member.stream.set_read_timeout(None)?;
            match word {
                Ok(Some(Word::Ready)) => {}
                Ok(Some(Word::Refused(why))) => return Err(RunError::Plan(why)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let why = format!("process {} of {count} is not ready after {} s", number + 1, READY.as_secs());
                    return Err(RunError::System(io::Error::new(io::ErrorKind::TimedOut, why)));
                }
                _ => return Err(RunError::System(io::Error::other(member.gone(number, count)))),
            }
        }
        Ok(crew)
    }

    /// Lets them go, hears them, and tells them what the run is told, until all are done. Gives what they did together,
    /// and how many were gone before they told.
    pub(super) fn run(
        mut self,
        shared: &Arc<Shared>,
        mut direct: impl FnMut(&dyn Fn() -> bool, &mut dyn FnMut()),
    ) -> (Option<Outcome>, u32) {
        shared.begun();
        let mut streams = Vec::new();
        for member in &self.members {
            // Whoever cannot be told is gone, which is found below.
            let _ = say(&member.stream, &Order::Go);
            streams.extend(member.stream.try_clone());
        }
        let count = self.members.len();
        std::thread::scope(|scope| {
            let threads: Vec<_> = self
                .members
                .iter_mut()
                .enumerate()
                .map(|(number, member)| {
                    scope.spawn(move || {
                        let outcome = member.listen(shared);
                        if outcome.is_none() {
                            shared.stop(Some(&member.gone(number, count)));
                        }
                        shared.done();
                        outcome
                    })
                })
                .collect();
            let mut told = Told::new(shared);
            direct(&|| threads.iter().all(|thread| thread.is_finished()), &mut || told.tell(shared, &streams));
            let (mut whole, mut gone) = (None::<Outcome>, 0);
            for thread in threads {
                match (thread.join().ok().flatten(), &mut whole) {
                    (Some(outcome), Some(whole)) => whole.add(&outcome),
                    (Some(outcome), None) => whole = Some(outcome),
                    (None, _) => gone += 1,
                }
            }
            (whole, gone)
        })
    }
}

impl Member {
    /// Until it is done, or gone.
    fn listen(&mut self, shared: &Shared) -> Option<Outcome> {
        loop {
            match hear(&mut self.words) {
                Ok(Some(Word::Slices(slices))) => {
                    slices.into_iter().for_each(|slice| shared.push(slice));
                    shared.done();
                }
                Ok(Some(Word::Outcome(outcome))) => return Some(*outcome),
                Ok(Some(Word::Ready)) => {}
                Ok(Some(Word::Refused(_)) | None) | Err(_) => return None,
            }
        }
    }

    /// The story of one that is gone.
    fn gone(&mut self, number: usize, count: usize) -> String {
        // It has closed its socket, so it is about to end.
        let ended = exit::wait_for_end(self.child.as_fd(), ENDING).and_then(|_| exit::reap(self.child.as_fd()));
        let how = match ended {
            Ok(Some(status)) => status.to_string(),
            Ok(None) => "it does not answer".to_owned(),
            Err(error) => error.to_string(),
        };
        format!("process {} of {count} is gone: {how}", number + 1)
    }
}

/// What the crew has been told already.
struct Told {
    marks: usize,
    stopped: bool,
    cut: bool,
}

impl Told {
    fn new(shared: &Shared) -> Told {
        Told { marks: shared.phases().len(), stopped: false, cut: false }
    }

    fn tell(&mut self, shared: &Shared, streams: &[UnixStream]) {
        // Whoever does not hear it is gone.
        let all = |order: &Order| streams.iter().for_each(|stream| drop(say(stream, order)));
        for phase in shared.phases().iter().skip(self.marks) {
            all(&Order::Mark(phase.label.clone()));
            self.marks += 1;
        }
        if shared.is_finishing() && !self.stopped {
            self.stopped = true;
            all(&Order::Stop);
        }
        if shared.is_cut() && !self.cut {
            self.cut = true;
            all(&Order::Cut);
        }
    }
}
