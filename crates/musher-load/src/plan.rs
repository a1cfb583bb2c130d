//! What a run does: a value, complete and checked, the same for every generator.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::pace::Rate;
use crate::url::Url;

/// The most users of one run.
pub const MOST_USERS: u32 = 1_000_000;

/// A request that is sent again and again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Template {
    /// Where to.
    pub url: Url,
    /// GET, POST, ...
    pub method: String,
    /// Lines of its own.
    pub headers: Vec<(String, String)>,
    /// What is sent along; of a WebSocket, the message.
    #[serde(with = "crate::report::base64_bytes")]
    pub body: Vec<u8>,
    /// What the body is.
    pub content_type: Option<String>,
    /// How often it is chosen, relative to the others, when the order is random.
    pub weight: f64,
}

impl Template {
    /// A GET.
    #[must_use]
    pub fn get(url: Url) -> Template {
        Template { url, method: "GET".into(), headers: Vec::new(), body: Vec::new(), content_type: None, weight: 1.0 }
    }
}

/// Which request comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Order {
    /// As listed; users begin at evenly spaced places and go round.
    InTurn,
    /// By chance and weight.
    Random,
}

/// How much is done, if not for a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Count {
    /// Each user so many.
    PerUser(u64),
    /// Every request of the list once, the users together.
    Once,
}

/// How a user waits between an answer and its next request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Think {
    /// Always as long.
    Fixed(Duration),
    /// From nothing to this, as siege's `-d`.
    UpTo(Duration),
}

/// What is spoken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Protocol {
    /// HTTP/1.1, one request at a time on a connection.
    Http1,
    /// HTTP/2, so many users to a connection.
    Http2 {
        /// Streams at a time on a connection.
        streams: u32,
    },
    /// WebSocket: a message is sent, and an answer awaited.
    WebSocket {
        /// What the answer has to contain; none: any.
        expect: Option<String>,
    },
}

/// A proxy on the way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proxy {
    /// Name or address.
    pub host: String,
    /// Port.
    pub port: u16,
    /// `user:password`.
    pub login: Option<String>,
}

/// How TLS is spoken.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tls {
    /// Whether any certificate will do.
    pub insecure: bool,
    /// Certificates to trust instead of the system's.
    pub authorities: Option<PathBuf>,
    /// The client's own certificate and key.
    pub own: Option<(PathBuf, PathBuf)>,
    /// Name to ask for instead of the URL's.
    pub server_name: Option<String>,
}

/// Which part of a run that several processes share this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Share {
    /// From 0.
    pub number: u32,
    /// How many there are.
    pub of: u32,
}

/// A run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// What is asked.
    pub requests: Vec<Template>,
    /// In which order.
    pub order: Order,
    /// Closed loop: users. Open loop: the most connections.
    pub users: u32,
    /// Open loop: when requests are due.
    pub rate: Option<Rate>,
    /// How long; none: until the count is reached, or for ever.
    pub duration: Option<Duration>,
    /// How many.
    pub count: Option<Count>,
    /// Pauses of a user.
    pub think: Option<Think>,
    /// Time at the begin that is not counted.
    pub warm_up: Duration,
    /// How long an answer may take.
    pub timeout: Duration,
    /// How long to wait for answers at the end.
    pub finish: Duration,
    /// Whether connections are used again.
    pub keep_alive: bool,
    /// How many redirects in a row are followed.
    pub redirects: u8,
    /// Whether cookies are kept and sent back.
    pub cookies: bool,
    /// After how many failures the run ends.
    pub failures: Option<u64>,
    /// Lines of every request.
    pub headers: Vec<(String, String)>,
    /// `User-Agent`.
    pub agent: Option<String>,
    /// `Accept-Encoding`.
    pub accept_encoding: Option<String>,
    /// `user:password` of every request.
    pub login: Option<String>,
    /// A proxy.
    pub proxy: Option<Proxy>,
    /// A unix socket instead of the URL's host and port.
    pub unix: Option<PathBuf>,
    /// TLS.
    pub tls: Tls,
    /// What is spoken.
    pub protocol: Protocol,
    /// Threads that send, of each process.
    pub threads: u32,
    /// Processes that send.
    pub processes: u32,
    /// Of everything that is random.
    pub seed: u64,
    /// Of several processes.
    pub share: Share,
    /// Whether each request is told.
    pub tell: bool,
    /// How much of each answer is kept for showing it.
    pub show: usize,
    /// Whether public addresses may be loaded.
    pub consent: bool,
}

impl Plan {
    /// One user that gets these in turn, until stopped.
    #[must_use]
    pub fn new(requests: Vec<Template>) -> Plan {
        Plan {
            requests,
            order: Order::InTurn,
            users: 1,
            rate: None,
            duration: None,
            count: None,
            think: None,
            warm_up: Duration::ZERO,
            timeout: Duration::from_secs(30),
            finish: Duration::from_millis(40),
            keep_alive: true,
            redirects: 10,
            cookies: true,
            failures: None,
            headers: Vec::new(),
            agent: None,
            accept_encoding: None,
            login: None,
            proxy: None,
            unix: None,
            tls: Tls::default(),
            protocol: Protocol::Http1,
            threads: 1,
            processes: 1,
            seed: 1,
            share: Share { number: 0, of: 1 },
            tell: false,
            show: 0,
            consent: false,
        }
    }

    /// How many requests it is in all, when that is known before.
    #[must_use]
    pub fn total(&self) -> Option<u64> {
        let by_count = self.count.map(|count| match count {
            Count::PerUser(each) => each.saturating_mul(u64::from(self.users)),
            Count::Once => self.requests.len() as u64,
        });
        let by_rate = self.rate.as_ref().zip(self.duration).map(|(rate, duration)| {
            let due = rate.due_before(duration.as_secs_f64()).ceil();
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count, far below 2^53")]
            let due = due as u64;
            due
        });
        by_count.into_iter().chain(by_rate).min()
    }

    /// The part of one of several processes.
    #[must_use]
    pub fn part(&self, number: u32, of: u32) -> Plan {
        let mut part = self.clone();
        part.share = Share { number, of };
        part.processes = 1;
        part.users = share_of(self.users, number, of);
        if let Some(Count::Once) = self.count {
            part.requests = self.requests.iter().skip(number as usize).step_by(of.max(1) as usize).cloned().collect();
        }
        part.seed = self.seed.wrapping_add(u64::from(number).wrapping_mul(0x9e37_79b9));
        part
    }
}

/// How many of `all` the one with this number of `of` has.
pub(crate) fn share_of(all: u32, number: u32, of: u32) -> u32 {
    let of = of.max(1);
    all / of + u32::from(number < all % of)
}
