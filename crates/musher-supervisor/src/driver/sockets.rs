//! The sockets of a spec's `listen`: opened before the first worker, kept until the app stops, the same over restarts
//! and reloads. Workers inherit them (socket activation) or, in a Node cluster, ask for them by number.
//!
//! With `balance = "shared"` all slots have one socket. With `kernel` each slot has its own in a SO_REUSEPORT group, and
//! new connections go only to slots with a worker that is online, while there is one. What already waits in the queue
//! of a slot without a worker waits for its successor; how a slot is scaled away is told in [`super::retiring`]. What waits
//! at a worker that is stuck waits for it, as programs cannot be handed connections: so `shared` is the default for those
//! that are no Node clusters. Unix sockets are always shared, UDP too, and so is what the workers of a Node cluster ask
//! for.

use std::collections::btree_map::Entry as Place;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use musher_core::spec::{AppSpec, Balance, Listen, ListenAddress, Runtime};
use musher_core::{AppId, SlotId};
use musher_process::net::tcp::Membership;
use musher_process::net::{self, tcp, udp, unix};

use crate::link::KeeperLink;

use super::group::{Group, Left};
use super::records::names;

/// The slot part of the name of a socket that all slots share.
const ALL: &str = "all";

/// The sockets of an app, by the number in their names at the keeper. They outlive changes of the spec for as long as a
/// generation that wants them is in use: a reload that brings other addresses can be taken back.
#[derive(Debug, Default)]
pub(super) struct Sockets {
    entries: BTreeMap<usize, Entry>,
}

#[derive(Debug)]
struct Entry {
    address: ListenAddress,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Shared(OwnedFd),
    Group(Group),
}

/// What was written down of an app's sockets.
pub(super) struct Recorded<'a> {
    pub(super) addresses: &'a BTreeMap<usize, ListenAddress>,
    /// The order of each group in the kernel.
    pub(super) orders: &'a BTreeMap<usize, Vec<SlotId>>,
    /// Whether this is of the disk: it may be older than the sockets are.
    pub(super) on_disk: bool,
}

/// Why a socket could not be opened.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {source}{}", hint(.source))]
pub(super) struct SocketError {
    address: ListenAddress,
    source: io::Error,
}

fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => "; another program has this port, find it with `ss -ltnp`",
        io::ErrorKind::PermissionDenied => "; ports below 1024 and foreign directories need more rights",
        io::ErrorKind::AddrNotAvailable => "; this machine has no such address",
        _ => "",
    }
}

impl Sockets {
    /// The sockets for a worker of `slot`, duplicates of ours. Opens what is not open yet, and puts it to the keeper; whether
    /// it did.
    pub(super) fn open(
        &mut self,
        app: AppId,
        spec: &AppSpec,
        slot: SlotId,
        link: &KeeperLink,
    ) -> Result<(Vec<OwnedFd>, bool), SocketError> {
        let (mut copies, mut opened) = (Vec::new(), false);
        for (listen, number) in spec.listen.iter().zip(self.numbers(spec)) {
            let failed = |source| SocketError { address: listen.address.clone(), source };
            let number = number.unwrap_or_else(|| (0..).find(|n| !self.entries.contains_key(n)).unwrap_or(usize::MAX));
            let entry = match self.entries.entry(number) {
                Place::Vacant(place) => {
                    let entry = Entry::open(listen, is_grouped(spec), slot).map_err(failed)?;
                    entry.put(app, number, link);
                    opened = true;
                    place.insert(entry)
                }
                Place::Occupied(place) => {
                    let entry = place.into_mut();
                    if entry.join(listen, slot).map_err(failed)? {
                        entry.put(app, number, link);
                        opened = true;
                    }
                    entry
                }
            };
            copies.push(entry.socket(slot).map_err(failed)?);
        }
        Ok((copies, opened))
    }

    /// Duplicates of the sockets of this spec that are open, in order, of any slot.
    pub(super) fn copies(&self, spec: &AppSpec) -> io::Result<Vec<OwnedFd>> {
        let open = self.numbers(spec).into_iter().map_while(|number| self.entries.get(&number?));
        open.map(|entry| entry.socket(SlotId(0))).collect()
    }

    /// A socket of this spec that is open and shared in another way than the spec says. Workers have it, and what waits
    /// at it could not be given to others, so that it stays as it is until the app stops.
    pub(super) fn shared_otherwise(&self, spec: &AppSpec) -> Option<&ListenAddress> {
        let open = self.numbers(spec).into_iter().filter_map(|number| self.entries.get(&number?));
        let mut otherwise = open.filter(|entry| {
            let has_slots = matches!(entry.kind, Kind::Group(_));
            matches!(entry.address, ListenAddress::Tcp(_)) && has_slots != is_grouped(spec)
        });
        otherwise.next().map(|entry| &entry.address)
    }

    /// For each `listen` of a spec, the number of the entry that is open for it. Two of the same address (of port 0,
    /// say) are two.
    fn numbers(&self, spec: &AppSpec) -> Vec<Option<usize>> {
        let mut taken = BTreeSet::new();
        let find = |listen: &Listen| {
            let mut same = self.entries.iter().filter(|(_, entry)| entry.address == listen.address);
            let (number, _) = same.find(|(number, _)| !taken.contains(*number))?;
            taken.insert(*number);
            Some(*number)
        };
        spec.listen.iter().map(find).collect()
    }

    /// What each number stands for, for the app's record.
    pub(super) fn addresses(&self) -> BTreeMap<usize, ListenAddress> {
        self.entries.iter().map(|(number, entry)| (*number, entry.address.clone())).collect()
    }

    /// The order of each group in the kernel, where it is known, for the app's record.
    pub(super) fn orders(&self) -> BTreeMap<usize, Vec<SlotId>> {
        let order = |(number, entry): (&usize, &Entry)| match &entry.kind {
            Kind::Group(group) => Some((*number, group.order()?.to_vec())),
            Kind::Shared(_) => None,
        };
        self.entries.iter().filter_map(order).collect()
    }

    /// Takes over what the keeper held. A number that the record does not know was opened just before a kill, in the
    /// order of the spec.
    pub(super) fn restore(
        app: AppId,
        recorded: &Recorded<'_>,
        spec: &AppSpec,
        held: &mut BTreeMap<String, OwnedFd>,
        link: &KeeperLink,
    ) -> Sockets {
        let mut entries = BTreeMap::new();
        let mut groups: BTreeMap<usize, (ListenAddress, BTreeMap<SlotId, OwnedFd>)> = BTreeMap::new();
        let prefix = format!("socket/{app}/");
        let names: Vec<String> = held.keys().filter(|name| name.starts_with(&prefix)).cloned().collect();
        for name in names {
            let Some((number, slot)) = name.strip_prefix(&prefix).and_then(|rest| rest.split_once('/')) else {
                continue;
            };
            let Ok(number) = number.parse() else { continue };
            let listed = || spec.listen.get::<usize>(number).map(|listen: &Listen| &listen.address);
            let Some(address) = recorded.addresses.get(&number).or_else(listed).cloned() else { continue };
            let Some(socket) = held.remove(&name) else { continue };
            let Ok(slot) = slot.parse().map(SlotId) else {
                entries.insert(number, Entry { address, kind: Kind::Shared(socket) });
                continue;
            };
            groups.entry(number).or_insert_with(|| (address, BTreeMap::new())).1.insert(slot, socket);
        }
        for (number, (address, sockets)) in groups {
            let order = recorded.orders.get(&number).cloned();
            let (group, useless) = Group::restore(order, sockets, recorded.on_disk);
            useless.iter().for_each(|slot| link.remove(&names::socket(app, number, &slot.to_string())));
            entries.insert(number, Entry { address, kind: Kind::Group(group) });
        }
        Sockets { entries }
    }

    /// Gives new connections to the slots that serve; without any, to those that `stay`.
    pub(super) fn steer(&self, serving: &[SlotId], stays: impl Fn(SlotId) -> bool) {
        for entry in self.entries.values() {
            let Kind::Group(group) = &entry.kind else { continue };
            if let Err(error) = group.steer(serving, &stays) {
                tracing::warn!(address = %entry.address, %error, "connections cannot be steered");
            }
        }
    }

    /// The slots that have sockets of their own.
    pub(super) fn slots(&self) -> BTreeSet<SlotId> {
        self.groups().flat_map(|(_, group)| group.sockets()).map(|(slot, _)| slot).collect()
    }

    /// Duplicates of the sockets that this slot alone has.
    pub(super) fn of(&self, slot: SlotId) -> Vec<OwnedFd> {
        self.groups().filter_map(|(_, group)| group.of(slot)?.try_clone().ok()).collect()
    }

    /// The sockets that a slot alone has are not needed any more. What became of what waited at each.
    pub(super) fn leave(&mut self, slot: SlotId, app: AppId, link: &KeeperLink) -> Vec<Left> {
        let mut all = Vec::new();
        for (number, entry) in &mut self.entries {
            if let Kind::Group(group) = &mut entry.kind
                && let Some(left) = group.leave(slot)
            {
                link.remove(&names::socket(app, *number, &slot.to_string()));
                all.push(left);
            }
        }
        all
    }

    fn groups(&self) -> impl Iterator<Item = (usize, &Group)> {
        self.entries.iter().filter_map(|(number, entry)| match &entry.kind {
            Kind::Group(group) => Some((*number, group)),
            Kind::Shared(_) => None,
        })
    }

    /// Whether nothing is open.
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Closes everything: the ports are free afterwards.
    pub(super) fn close(&mut self, app: AppId, link: &KeeperLink) {
        for (number, entry) in std::mem::take(&mut self.entries) {
            entry.close(app, number, link);
        }
    }

    /// Closes what none of these specs wants.
    pub(super) fn keep<'a>(&mut self, app: AppId, specs: impl Iterator<Item = &'a AppSpec>, link: &KeeperLink) {
        let wanted: BTreeSet<&ListenAddress> =
            specs.flat_map(|spec| &spec.listen).map(|listen| &listen.address).collect();
        for (number, entry) in self.entries.extract_if(.., |_, entry| !wanted.contains(&entry.address)) {
            entry.close(app, number, link);
        }
    }

    /// The queue of each TCP socket, with the slot that owns it.
    pub(super) fn queues(&self) -> Vec<(Option<SlotId>, tcp::ListenState)> {
        let mut queues = Vec::new();
        let state = |socket: &OwnedFd| tcp::listen_state(socket).ok().filter(|state| state.listening);
        for entry in self.entries.values().filter(|entry| matches!(entry.address, ListenAddress::Tcp(_))) {
            match &entry.kind {
                Kind::Shared(socket) => queues.extend(state(socket).map(|state| (None, state))),
                Kind::Group(group) => {
                    queues.extend(group.sockets().filter_map(|(slot, socket)| Some((Some(slot), state(socket)?))));
                }
            }
        }
        queues
    }

    /// Address and owning slot of each socket, with the length of its queue where that is known.
    pub(super) fn list(&self) -> Vec<(String, Option<SlotId>, Option<u32>)> {
        let mut list = Vec::new();
        for entry in self.entries.values() {
            let queue = |socket: &OwnedFd| match entry.address {
                ListenAddress::Tcp(_) => tcp::listen_state(socket).ok().map(|state| state.queued),
                ListenAddress::Udp(_) | ListenAddress::Unix(_) => None,
            };
            match &entry.kind {
                Kind::Shared(socket) => list.push((entry.address.to_string(), None, queue(socket))),
                Kind::Group(group) => list.extend(
                    group.sockets().map(|(slot, socket)| (entry.address.to_string(), Some(slot), queue(socket))),
                ),
            }
        }
        list
    }
}

impl Entry {
    fn open(listen: &Listen, grouped: bool, slot: SlotId) -> io::Result<Entry> {
        let grouped = grouped && matches!(listen.address, ListenAddress::Tcp(_));
        let membership = if grouped { Membership::Founds } else { Membership::Alone };
        let socket = open(listen, membership)?;
        let kind = if grouped { Kind::Group(Group::found(slot, socket)) } else { Kind::Shared(socket) };
        Ok(Entry { address: listen.address.clone(), kind })
    }

    /// Makes sure that `slot` has a socket; whether one was made.
    fn join(&mut self, listen: &Listen, slot: SlotId) -> io::Result<bool> {
        let Kind::Group(group) = &mut self.kind else { return Ok(false) };
        if group.of(slot).is_some() {
            return Ok(false);
        }
        group.join(slot, |port| {
            let mut listen = listen.clone();
            if let (ListenAddress::Tcp(address), Some(port)) = (&mut listen.address, port) {
                // Port 0 was chosen by the first member.
                address.set_port(port);
            }
            open(&listen, if port.is_some() { Membership::Joins } else { Membership::Founds })
        })?;
        Ok(true)
    }

    /// The socket of a slot, or of any other if it has none.
    fn socket(&self, slot: SlotId) -> io::Result<OwnedFd> {
        let socket = match &self.kind {
            Kind::Shared(socket) => Some(socket),
            Kind::Group(group) => group.socket(slot),
        };
        socket.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?.try_clone()
    }

    fn put(&self, app: AppId, n: usize, link: &KeeperLink) {
        match &self.kind {
            Kind::Shared(socket) => link.put(&names::socket(app, n, ALL), socket.as_fd()),
            Kind::Group(group) => {
                for (slot, socket) in group.sockets() {
                    link.put(&names::socket(app, n, &slot.to_string()), socket.as_fd());
                }
            }
        }
    }

    fn close(self, app: AppId, n: usize, link: &KeeperLink) {
        match &self.kind {
            Kind::Shared(_) => link.remove(&names::socket(app, n, ALL)),
            Kind::Group(group) => {
                for (slot, _) in group.sockets() {
                    link.remove(&names::socket(app, n, &slot.to_string()));
                }
            }
        }
        if let ListenAddress::Unix(path) = &self.address
            && let Err(error) = std::fs::remove_file(path)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(path = %path.display(), %error, "the socket's file stays");
        }
    }
}

/// Whether each slot has a TCP socket of its own. In a Node cluster all workers ask for the same one by its number.
fn is_grouped(spec: &AppSpec) -> bool {
    spec.effective_balance() == Balance::Kernel && spec.exec.runtime != Runtime::NodeCluster
}

/// Opens a socket as programs expect it from socket activation: listening, and blocking (systemd.socket(5)).
fn open(listen: &Listen, membership: Membership) -> io::Result<OwnedFd> {
    let socket = match &listen.address {
        ListenAddress::Tcp(address) => open_tcp(*address, membership)?,
        ListenAddress::Udp(address) => udp::bind(*address, false, false)?,
        ListenAddress::Unix(path) => open_unix(path)?,
    };
    if !matches!(listen.address, ListenAddress::Udp(_)) {
        net::listen(&socket, listen.backlog)?;
    }
    rustix::io::ioctl_fionbio(&socket, false)?;
    Ok(socket)
}

fn open_tcp(address: SocketAddr, membership: Membership) -> io::Result<OwnedFd> {
    if address.ip() == std::net::Ipv6Addr::UNSPECIFIED {
        return tcp::bind_any(address.port(), membership);
    }
    tcp::bind(address, false, membership)
}

fn open_unix(path: &Path) -> io::Result<OwnedFd> {
    unix::bind(path, unix::Access::default()).map(|(socket, _)| socket)
}
