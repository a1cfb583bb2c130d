//! From a user's wish to a connection over which requests may go: addresses, proxy, TLS, upgrade; and its end.

use std::io;

use rustix::event::epoll::{self, EventData, EventFlags};

use super::dial::{Dialled, dial, is_local};
use super::exchange::Failed;
use super::generator::Generator;
use super::h2::Streams;
use super::link::{Codec, Stage};
use super::prepared::Ready;
use super::tls;
use super::users::Doing;
use super::websocket::Messages;
use crate::http::{Step, Wanted};
use crate::plan::Protocol;
use crate::tally::FaultKind;

impl Generator {
    /// Sends the request of a user, over a connection to be made if there is none.
    pub(super) fn travel(&mut self, user: usize) {
        let link = self.link_of(user);
        let origin = self.request_of(user).origin;
        let one = &mut self.links[link];
        self.users[user].doing = Doing::Dialling;
        if one.stage != Stage::Down && one.origin != origin {
            self.shut(link);
        }
        match self.links[link].stage {
            Stage::Up => self.ask(user),
            Stage::Down => {
                let one = &mut self.links[link];
                if one.origin != origin {
                    one.address = 0;
                }
                one.origin = origin;
                one.tried = 0;
                self.connect(link);
            }
            // It is told when the connection is up.
            _ => {}
        }
    }

    pub(super) fn link_of(&self, user: usize) -> usize {
        user / self.prepared.streams as usize
    }

    pub(super) fn request_of(&self, user: usize) -> &Ready {
        let one = &self.users[user];
        one.detour.as_ref().map_or(&self.prepared.requests[one.request], |detour| &detour.request)
    }

    /// The users of a connection.
    pub(super) fn users_of(&self, link: usize) -> std::ops::Range<usize> {
        let streams = self.prepared.streams as usize;
        link * streams..((link + 1) * streams).min(self.users.len())
    }

    pub(super) fn connect(&mut self, link: usize) {
        let one = &self.links[link];
        let Some(address) = self.origins.get(one.origin).and_then(|origin| origin.addresses.get(one.address)) else {
            return self.broken(link, (FaultKind::Connect, "no address".into()));
        };
        let (fd, is_up) = match dial(address) {
            Ok(Dialled::Connected(fd)) => (fd, true),
            Ok(Dialled::Underway(fd)) => (fd, false),
            Ok(Dialled::Later) => {
                return self.broken(link, (FaultKind::Connect, "the queue of the unix socket is full".into()));
            }
            Err(error) => return self.not_connected(link, &error),
        };
        let number = u32::try_from(link).unwrap_or(u32::MAX);
        let data = (u64::from(self.links[link].generation) << 32) | u64::from(number);
        let flags = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
        if let Err(error) = epoll::add(&self.epoll, &fd, EventData::new_u64(data), flags) {
            return self.broken(link, (FaultKind::Local, error.to_string()));
        }
        self.links[link].attach(fd, self.now);
        self.open += 1;
        if is_up {
            self.connected(link);
        }
    }

    /// Tries the next address of the host, or gives up.
    pub(super) fn not_connected(&mut self, link: usize, error: &io::Error) {
        let kind = if is_local(error) { FaultKind::Local } else { FaultKind::Connect };
        let addresses = self.origins.get(self.links[link].origin).map_or(0, |origin| origin.addresses.len());
        let one = &mut self.links[link];
        one.tried += 1;
        if kind == FaultKind::Connect && one.tried < addresses {
            one.address = (one.address + 1) % addresses;
            self.shut(link);
            return self.connect(link);
        }
        self.broken(link, (kind, error.to_string()));
    }

    /// The socket is connected: what comes before requests?
    pub(super) fn connected(&mut self, link: usize) {
        let url = &self.origins[self.links[link].origin].url;
        if let (Some(proxy), true) = (&self.plan.proxy, url.scheme.is_secure()) {
            let host = format!("{}:{}", bracketed(&url.host), url.port);
            let login = proxy.login.as_ref().map(|login| crate::http::base64_of(login.as_bytes()));
            let login = login.map(|login| format!("Proxy-Authorization: Basic {login}\r\n")).unwrap_or_default();
            let ask = format!("CONNECT {host} HTTP/1.1\r\nHost: {host}\r\n{login}\r\n");
            let one = &mut self.links[link];
            one.stage = Stage::Proxy;
            // The answer to CONNECT has no body when it agrees (RFC 9110, 9.3.6).
            one.reply.begin(true, Wanted::default());
            return self.say(link, ask.as_bytes());
        }
        self.secured_or_plain(link);
    }

    pub(super) fn secured_or_plain(&mut self, link: usize) {
        let url = self.origins[self.links[link].origin].url.clone();
        if !url.scheme.is_secure() {
            return self.agreed(link);
        }
        let made = match self.prepared.tls(&self.plan) {
            Ok(config) => tls::client(&config, &self.plan, &url),
            Err(error) => Err(error),
        };
        match made {
            Ok(client) => {
                self.links[link].tls = Some(Box::new(client));
                self.links[link].stage = Stage::Tls;
                if let Err(error) = self.links[link].pump() {
                    self.broken(link, (FaultKind::Tls, error.to_string()));
                }
            }
            Err(error) => self.broken(link, (FaultKind::Tls, error)),
        }
    }

    /// Bytes go as they are meant now: what is spoken?
    pub(super) fn agreed(&mut self, link: usize) {
        match self.plan.protocol {
            Protocol::Http1 => self.up(link),
            Protocol::Http2 { .. } => match Streams::new() {
                Ok(streams) => {
                    self.links[link].codec = Codec::Http2(Box::new(streams));
                    self.up(link);
                }
                Err(error) => self.broken(link, (FaultKind::Protocol, error)),
            },
            Protocol::WebSocket { .. } => {
                let messages = Messages::new(&mut self.random);
                let first = self.users_of(link).start;
                let ask = messages.upgrade(&self.request_of(first).head);
                let one = &mut self.links[link];
                one.codec = Codec::WebSocket(Box::new(messages));
                one.stage = Stage::Upgrade;
                one.reply.begin(false, Wanted { show: 8192, ..Wanted::default() });
                self.say(link, &ask);
            }
        }
    }

    pub(super) fn tls_agreed(&mut self, link: usize) {
        let wants_h2 = matches!(self.plan.protocol, Protocol::Http2 { .. });
        let agreed = self.links[link].tls.as_ref().and_then(|tls| tls.alpn_protocol().map(<[u8]>::to_vec));
        if wants_h2 && agreed.as_deref() != Some(b"h2") {
            return self.broken(link, (FaultKind::Protocol, "the server does not speak HTTP/2 (ALPN)".into()));
        }
        self.agreed(link);
    }

    /// The answer to what comes before requests.
    pub(super) fn preliminary(&mut self, link: usize, bytes: &[u8]) {
        let stage = self.links[link].stage;
        match self.links[link].reply.push(bytes) {
            Ok(Step::More) => {}
            Ok(Step::Done(used, answer)) if stage == Stage::Proxy => {
                if answer.status == 200 && used == bytes.len() {
                    self.secured_or_plain(link);
                } else {
                    self.broken(link, (FaultKind::Connect, format!("the proxy answered {}", answer.status)));
                }
            }
            Ok(Step::Done(used, answer)) => {
                let Codec::WebSocket(messages) = &mut self.links[link].codec else { return };
                messages.input(&bytes[used..]);
                match messages.agrees(&answer) {
                    Ok(()) => self.up(link),
                    Err(why) => self.broken(link, (FaultKind::Protocol, why)),
                }
            }
            Err(error) => self.broken(link, (FaultKind::Protocol, error.to_string())),
        }
    }

    /// Requests may go.
    pub(super) fn up(&mut self, link: usize) {
        let one = &mut self.links[link];
        one.stage = Stage::Up;
        let took = self.now.saturating_duration_since(one.begun);
        let waiting = self.users_of(link);
        let phase = waiting.clone().find(|user| self.users[*user].is_busy()).map_or(0, |user| self.users[user].phase);
        let tally = self.tally(phase);
        tally.connects += 1;
        tally.connect_sum += took;
        tally.connect_longest = tally.connect_longest.max(took);
        for user in waiting {
            if self.users[user].doing == Doing::Dialling && self.links[link].stage == Stage::Up {
                self.ask(user);
            }
        }
    }

    /// Closes a connection.
    pub(super) fn shut(&mut self, link: usize) {
        if self.links[link].fd().is_some() {
            self.open = self.open.saturating_sub(1);
        }
        self.links[link].close();
    }

    /// Closes a connection; all who wait on it have failed.
    pub(super) fn broken(&mut self, link: usize, failed: Failed) {
        self.shut(link);
        for user in self.users_of(link) {
            if self.users[user].is_busy() {
                self.fail(user, failed.clone());
            }
        }
    }
}

fn bracketed(host: &str) -> String {
    if host.contains(':') { format!("[{host}]") } else { host.to_owned() }
}
