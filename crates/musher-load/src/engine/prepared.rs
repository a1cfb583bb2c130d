//! Everything about a plan that is worked out once, before the first request: bytes, addresses, TLS.

use std::sync::{Arc, OnceLock};

use rustls::ClientConfig;

use super::RunError;
use super::dial::{Address, resolve, same_place};
use super::tls;
use crate::http::{Wanted, head};
use crate::plan::{Order, Plan, Protocol, Template};
use crate::random::Random;
use crate::url::Url;

/// A place to connect to.
#[derive(Clone, Debug)]
pub(super) struct Origin {
    pub(super) url: Url,
    pub(super) addresses: Vec<Address>,
}

/// A request as bytes.
#[derive(Clone, Debug)]
pub(super) struct Ready {
    pub(super) url: Url,
    pub(super) origin: usize,
    pub(super) is_head: bool,
    /// The head without its empty line, for requests with cookies.
    pub(super) head: String,
    pub(super) body: Vec<u8>,
    /// All of it.
    pub(super) bytes: Vec<u8>,
}

#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) origins: Vec<Origin>,
    pub(super) requests: Vec<Ready>,
    /// Users to a connection.
    pub(super) streams: u32,
    /// Made when it is needed: reading the system's certificates takes its time.
    tls: OnceLock<Result<Arc<ClientConfig>, String>>,
    pub(super) wanted: Wanted,
    /// Sums of the weights, for choosing by chance.
    sums: Vec<f64>,
}

impl Prepared {
    pub(super) fn new(plan: &Plan) -> Result<Prepared, RunError> {
        if plan.requests.is_empty() {
            return Err(RunError::Plan("there is no URL".into()));
        }
        if plan.users == 0 {
            return Err(RunError::Plan("there are no users".into()));
        }
        let mut origins: Vec<Origin> = Vec::new();
        let mut requests = Vec::new();
        for template in &plan.requests {
            let origin = match origins.iter().position(|origin| same_place(&origin.url, &template.url)) {
                Some(known) => known,
                None => {
                    origins.push(origin(plan, &template.url)?);
                    origins.len() - 1
                }
            };
            requests.push(Ready::new(plan, template, origin));
        }
        let streams = match plan.protocol {
            Protocol::Http2 { streams } => {
                if origins.len() > 1 {
                    return Err(RunError::Plan("with HTTP/2 all URLs have to be of one host".into()));
                }
                streams.max(1)
            }
            _ => 1,
        };
        let mut sum = 0.0;
        let sums = plan.requests.iter().map(|template| {
            sum += template.weight.max(0.0);
            sum
        });
        let sums = sums.collect();
        let wanted = Wanted { location: plan.redirects > 0, cookies: plan.cookies, show: plan.show };
        let prepared = Prepared { origins, requests, streams, tls: OnceLock::new(), wanted, sums };
        if plan.requests.iter().any(|template| template.url.scheme.is_secure()) {
            prepared.tls(plan).map_err(RunError::Tls)?;
        }
        Ok(prepared)
    }

    /// How TLS is spoken.
    pub(super) fn tls(&self, plan: &Plan) -> Result<Arc<ClientConfig>, String> {
        self.tls.get_or_init(|| tls::config(plan)).clone()
    }

    /// One of the requests, by chance and weight.
    pub(super) fn choose(&self, random: &mut Random) -> usize {
        let all = self.sums.last().copied().unwrap_or(0.0);
        let point = random.unit() * all;
        self.sums.partition_point(|sum| *sum <= point).min(self.requests.len() - 1)
    }

    /// Where user `number` of `users` begins in the list.
    pub(super) fn first(&self, plan: &Plan, number: u32, users: u32) -> usize {
        match plan.order {
            Order::InTurn => (self.requests.len() as u64 * u64::from(number) / u64::from(users.max(1))) as usize,
            Order::Random => 0,
        }
    }
}

impl Ready {
    pub(super) fn new(plan: &Plan, template: &Template, origin: usize) -> Ready {
        let head = head(plan, template);
        let mut bytes = head.clone().into_bytes();
        bytes.extend_from_slice(b"\r\n");
        bytes.extend_from_slice(&template.body);
        let is_head = template.method == "HEAD";
        Ready { url: template.url.clone(), origin, is_head, head, body: template.body.clone(), bytes }
    }
}

/// The addresses of a URL's host, or of what stands in front of it.
pub(super) fn origin(plan: &Plan, url: &Url) -> Result<Origin, RunError> {
    let (host, port) = match (&plan.unix, &plan.proxy) {
        (Some(path), _) => return Ok(Origin { url: url.clone(), addresses: vec![Address::Unix(path.clone())] }),
        (None, Some(proxy)) => (proxy.host.as_str(), proxy.port),
        (None, None) => (url.host.as_str(), url.port),
    };
    let addresses = resolve(host, port).map_err(|error| RunError::Resolve { host: host.to_owned(), error })?;
    Ok(Origin { url: url.clone(), addresses })
}
