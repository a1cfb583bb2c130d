//! One request from its begin to its end: sending, answer, redirect, failure, and what is counted of it.

use std::io;
use std::sync::atomic::Ordering;
use std::time::Instant;

use super::Exchange;
use super::dial::{is_private, same_place};
use super::generator::Generator;
use super::link::Codec;
use super::prepared::{Ready, origin};
use super::shared::{MOST_SAID, Said};
use super::users::{Detour, Doing};
use crate::http::Answer;
use crate::plan::{Order, Template};
use crate::tally::{FaultKind, micros};
use crate::url::Url;

/// How a failure is counted: its kind and its message.
pub(super) type Failed = (FaultKind, String);

impl Generator {
    /// Begins the next request of a user, which was due at `planned`.
    pub(super) fn begin(&mut self, user: usize, planned: Instant) {
        let request = match self.plan.order {
            _ if self.prepared.requests.len() == 1 => 0,
            Order::Random => self.prepared.choose(&mut self.random),
            Order::InTurn => self.users[user].next % self.prepared.requests.len(),
        };
        let phase = self.phase();
        let deadline = self.now + self.plan.timeout;
        let one = &mut self.users[user];
        one.next = request + 1;
        one.request = request;
        one.phase = phase;
        one.planned = planned;
        one.begun = self.now;
        one.deadline = deadline;
        self.next_deadline = Some(self.next_deadline.map_or(deadline, |next| next.min(deadline)));
        self.in_flight += 1;
        self.travel(user);
    }

    /// Sends a user's request over its connection, which is up.
    pub(super) fn ask(&mut self, user: usize) {
        let link = self.link_of(user);
        self.users[user].doing = Doing::Asking;
        let wanted = self.prepared.wanted;
        let one = &self.users[user];
        let detour = one.detour.as_ref().map(|detour| &detour.request);
        let request = detour.unwrap_or(&self.prepared.requests[one.request]);
        let cookies = one.jar.as_ref().and_then(|jar| jar.line(&request.url));
        let (sent, outcome) = match &mut self.links[link].codec {
            Codec::Http1 => {
                self.links[link].reply.begin(request.is_head, wanted);
                match cookies {
                    None => (request.bytes.len(), self.links[link].say(&request.bytes)),
                    Some(cookies) => {
                        let mut bytes = format!("{}Cookie: {cookies}\r\n\r\n", request.head).into_bytes();
                        bytes.extend_from_slice(&request.body);
                        (bytes.len(), self.links[link].say(&bytes))
                    }
                }
            }
            Codec::Http2(streams) => {
                let asked = streams.ask(user, request, &request.head);
                (request.bytes.len(), asked.map_err(io::Error::other))
            }
            Codec::WebSocket(messages) => {
                let sent = messages.send(&request.body).map_err(io::Error::other);
                let output = messages.output();
                let size = output.len();
                (size, sent.and_then(|()| self.links[link].say(&output)))
            }
        };
        let phase = self.users[user].phase;
        self.tally(phase).sent_bytes += sent as u64;
        match outcome {
            Ok(()) => self.drive(link),
            Err(error) => {
                let failed = self.not_answered(link, &error);
                self.broken(link, failed);
            }
        }
    }

    /// A user has its answer.
    pub(super) fn answered(&mut self, user: usize, mut answer: Answer) {
        let phase = self.users[user].phase;
        let bytes = answer.head_bytes + answer.body_bytes;
        self.slice.bytes += bytes;
        self.shared.answers.fetch_add(1, Ordering::Relaxed);
        let tally = self.tally(phase);
        tally.answers += 1;
        tally.head_bytes += answer.head_bytes;
        tally.body_bytes += answer.body_bytes;
        let extras = answer.extras.take();
        if let Some(mut extras) = extras {
            if self.plan.show > 0 {
                let request = self.request_of(user).head.clone();
                let answer = std::mem::take(&mut extras.shown);
                self.shown.push(Exchange { request, answer, encoding: extras.encoding.take() });
            }
            if !extras.cookies.is_empty() {
                let url = self.request_of(user).url.clone();
                let jar = self.users[user].jar.get_or_insert_default();
                extras.cookies.iter().for_each(|line| jar.set(&url, line));
            }
            let leads_on = matches!(answer.status, 301 | 302 | 303 | 307 | 308);
            if let (true, true, Some(location)) = (leads_on, self.plan.redirects > 0, extras.location) {
                return self.redirected(user, answer.status, &location);
            }
        }
        self.done(user, answer.status, answer.body_bytes);
    }

    /// The final answer.
    pub(super) fn done(&mut self, user: usize, status: u16, bytes: u64) {
        let now = self.now;
        let one = &mut self.users[user];
        let latency = now.saturating_duration_since(one.planned);
        let busy = now.saturating_duration_since(one.begun);
        let (phase, request) = (one.phase, one.request);
        one.detour = None;
        one.is_lucky();
        let bad = u64::from(status >= 400);
        self.tally(phase).answered(status, latency, busy);
        // It grows, so it takes everything.
        let _ = self.slice.latency.record(micros(latency));
        self.slice.bad += bad;
        self.slice.good += 1 - bad;
        self.tell(Said { status, latency, bytes, request: u32::try_from(request).unwrap_or(u32::MAX) });
        if let Some(url) = self.urls.get_mut(request) {
            url.transactions += 1;
            url.bad += bad;
            url.latency_sum += latency;
            url.longest = url.longest.max(latency);
        }
        self.in_flight -= 1;
        self.gather.answered();
        self.last_answer = now;
        self.count_down(user);
        self.advance(user);
    }

    fn tell(&mut self, said: Said) {
        if self.plan.tell && self.slice.said.len() < MOST_SAID {
            self.slice.said.push(said);
        }
    }

    pub(super) fn redirected(&mut self, user: usize, status: u16, location: &str) {
        let hops = self.users[user].detour.as_ref().map_or(0, |detour| detour.hops);
        let from = self.request_of(user).url.clone();
        let template = self.plan.requests[self.users[user].request].clone();
        let to = match from.join(location) {
            _ if hops >= self.plan.redirects => Err(format!("more than {hops} redirects in a row")),
            Ok(to) => Ok(to),
            Err(error) => Err(format!("a redirect to {location:?}: {error}")),
        };
        let made = to.and_then(|to| self.detour(template, to, status));
        match made {
            Ok(request) => {
                let phase = self.users[user].phase;
                self.tally(phase).redirects += 1;
                self.users[user].detour = Some(Box::new(Detour { request, hops: hops + 1 }));
                self.travel(user);
            }
            Err(why) => self.fail(user, (FaultKind::Redirect, why)),
        }
    }

    /// The request that a redirect leads to: 303, and by custom 301 and 302 after a POST, become GET (RFC 9110, 15.4).
    pub(super) fn detour(&mut self, mut template: Template, to: Url, status: u16) -> Result<Ready, String> {
        if (status == 303 && template.method != "HEAD") || (template.method == "POST" && status < 303) {
            template.method = "GET".into();
            template.body.clear();
            template.content_type = None;
        }
        let known = self.origins.iter().position(|origin| same_place(&origin.url, &to));
        let place = match known {
            Some(place) => place,
            None => {
                let found = origin(&self.plan, &to).map_err(|error| error.to_string())?;
                if !self.plan.consent && !found.addresses.iter().all(is_private) {
                    return Err(format!("a redirect to {to}, which nobody has consented to load"));
                }
                if template.url.host != to.host {
                    // A password is for the host that it was given for.
                    template.url.login = None;
                }
                self.origins.push(found);
                self.origins.len() - 1
            }
        };
        template.url = Url { login: template.url.login.take(), ..to };
        Ok(Ready::new(&self.plan, &template, place))
    }

    pub(super) fn timed_out(&mut self, user: usize) {
        let link = self.link_of(user);
        let limit = crate::report::time_words(self.plan.timeout);
        let failed = match self.users[user].doing {
            Doing::Dialling => (FaultKind::ConnectTimeout, format!("no connection within {limit}")),
            _ => (FaultKind::Timeout, format!("no answer within {limit}")),
        };
        if let Codec::Http2(streams) = &mut self.links[link].codec {
            streams.forget(user);
            self.fail(user, failed);
            self.drive(link);
        } else {
            self.broken(link, failed);
        }
    }

    /// A user's request has failed. It goes on in the loop, not here: a failure can come at once.
    pub(super) fn fail(&mut self, user: usize, (kind, message): Failed) {
        let phase = self.users[user].phase;
        self.tally(phase).failed(kind, || message);
        self.shared.failures.fetch_add(1, Ordering::Relaxed);
        self.slice.bad += 1;
        let request = self.users[user].request;
        if let Some(url) = self.urls.get_mut(request) {
            url.bad += 1;
        }
        let one = &mut self.users[user];
        let latency = self.now.saturating_duration_since(one.planned);
        one.detour = None;
        one.doing = Doing::Failed;
        self.tell(Said { status: 0, latency, bytes: 0, request: u32::try_from(request).unwrap_or(u32::MAX) });
        self.in_flight -= 1;
        self.last_answer = self.now;
        self.count_down(user);
        self.failed.push_back(u32::try_from(user).unwrap_or(u32::MAX));
    }
}
