//! A worker over any channel, for the fuzz target `worker`. Only built for that (feature `fuzz`).

use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;

use musher_process::ipc::Channel;

use super::environment::Environment;
use super::link::Link;
use super::words::Wanted;

/// Asks for a listener, takes the connections that are offered, and ends with the channel. Gives what it took.
pub async fn worker(channel: Channel, advanced: bool) -> Vec<OwnedFd> {
    let environment = Environment { id: Some(1), slot: Some(0), advanced, ..Environment::default() };
    let link = Link::open(channel, &environment);
    let mut taken = Vec::new();
    if let Ok((mut given, index)) = link.ask(&Wanted::Tcp((Ipv4Addr::LOCALHOST, 0).into())).await {
        taken.extend(given.socket.take());
        link.listens(&Wanted::Tcp((Ipv4Addr::LOCALHOST, 0).into()), index, None);
        while let Some(offer) = given.offers.recv().await {
            taken.extend(offer.take());
        }
    }
    link.leave().await;
    taken
}
