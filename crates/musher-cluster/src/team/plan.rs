//! By which rules a team is kept up, and why it does not do what was wanted.

use std::io;

use musher_core::lifecycle::{OpError, Policy};
use musher_core::spec::{Limits, MAX_INSTANCES};

/// By which rules a team is kept up.
///
/// ```
/// use std::time::Duration;
/// use musher_cluster::lifecycle::Policy;
/// use musher_cluster::{Plan, ReadyOn};
/// let policy = Policy { max_restarts: 3, grace: Duration::from_secs(5), ..Policy::default() };
/// let plan = Plan::new(4).policy(policy).ready(ReadyOn::Listening);
/// assert_eq!((plan.instances, plan.policy.max_restarts), (4, 3));
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Plan {
    /// How many workers; 0 for one on each core.
    pub instances: u32,
    /// When workers are restarted, and given up; how they are stopped; how many are replaced at a time. The names and
    /// defaults are those of the process file.
    pub policy: Policy,
    /// What shows that a worker is ready.
    pub ready: ReadyOn,
    /// Limits of each worker: those of the kernel, and memory and CPU, by which a worker is replaced without a gap. The
    /// names are those of the process file. Default: none.
    pub limits: Limits,
    /// Whether Node workers load musher's script, by which they drain without cutting idle connections off, tell of
    /// uncaught exceptions and are compared in a trial. Default: they do.
    pub preload: bool,
}

/// What shows that a worker is ready.
///
/// ```
/// use musher_cluster::{Plan, ReadyOn};
/// // Workers that read a queue and listen nowhere.
/// let plan = Plan::new(4).ready(ReadyOn::Online);
/// assert_eq!(plan.ready, ReadyOn::Online);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReadyOn {
    /// The first of the two others.
    #[default]
    Any,
    /// It listens.
    Listening,
    /// It sends the message `"ready"`.
    Message,
    /// Its runtime is up: for workers that do not listen.
    Online,
}

impl Default for Plan {
    fn default() -> Plan {
        Plan {
            instances: 0,
            policy: Policy { drains: true, ..Policy::default() },
            ready: ReadyOn::default(),
            limits: Limits::default(),
            preload: true,
        }
    }
}

impl Plan {
    /// So many workers, by the rules of a process file that says nothing else; 0 for one on each core.
    ///
    /// ```
    /// use musher_cluster::{Plan, ReadyOn};
    /// let plan = Plan::new(0);
    /// assert_eq!((plan.ready, plan.preload, plan.policy.max_surge), (ReadyOn::Any, true, 1));
    /// ```
    pub fn new(instances: u32) -> Plan {
        Plan { instances, ..Plan::default() }
    }

    /// By other rules.
    ///
    /// ```
    /// use musher_cluster::{Plan, lifecycle::Policy};
    /// use std::time::Duration;
    /// let policy = Policy { max_restarts: 3, drain: Duration::from_secs(60), ..Policy::default() };
    /// assert_eq!(Plan::new(4).policy(policy).policy.max_restarts, 3);
    /// ```
    pub fn policy(mut self, policy: Policy) -> Plan {
        self.policy = Policy { drains: true, ..policy };
        self
    }

    /// With another proof.
    ///
    /// ```
    /// use musher_cluster::{Plan, ReadyOn};
    /// assert_eq!(Plan::new(4).ready(ReadyOn::Message).ready, ReadyOn::Message);
    /// ```
    pub fn ready(mut self, ready: ReadyOn) -> Plan {
        self.ready = ready;
        self
    }

    /// With limits of each worker.
    ///
    /// ```
    /// use musher_cluster::{Limits, Plan};
    /// let plan = Plan::new(4).limits(Limits { memory_bytes: Some(200 << 20), ..Limits::default() });
    /// assert_eq!(plan.limits.cpu_percent, None);
    /// ```
    pub fn limits(mut self, limits: Limits) -> Plan {
        self.limits = limits;
        self
    }

    /// Whether Node workers load musher's script.
    ///
    /// It changes nothing of what a program sees of Node; it is loaded by `NODE_OPTIONS`.
    ///
    /// ```
    /// assert!(!musher_cluster::Plan::new(4).preload(false).preload);
    /// ```
    pub fn preload(mut self, preload: bool) -> Plan {
        self.preload = preload;
        self
    }

    pub(super) fn slots(&self) -> u32 {
        let cores = || std::thread::available_parallelism().map_or(1, |cores| u32::try_from(cores.get()).unwrap_or(1));
        if self.instances == 0 { cores().min(MAX_INSTANCES) } else { self.instances }
    }
}

/// Why a team does not do what was wanted.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use musher_cluster::{Plan, Settings, TeamError, lifecycle::Policy, setup_primary};
/// let cluster = setup_primary(Settings::program("sh").args(["-c", "exit 1"]))?;
/// let policy = Policy { max_restarts: 0, ..Policy::default() };
/// match cluster.keep(Plan::new(1).policy(policy)).await {
///     Err(TeamError::Operation(why)) => println!("{why}"),    // it ended before it was ready
///     other => panic!("{other:?}"),
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TeamError {
    /// The state machine says so, in the daemon's words.
    #[error(transparent)]
    Operation(#[from] OpError),
    /// A primary has one team.
    #[error("this primary keeps a team already")]
    Taken,
    /// The new program is not there.
    #[error("{0}")]
    Program(#[from] io::Error),
    /// The primary's task has ended with its runtime.
    #[error("the primary is gone")]
    Gone,
}
