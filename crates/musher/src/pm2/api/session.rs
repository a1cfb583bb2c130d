//! What a caller has: its home, what was seen of the workers a moment ago, its bus.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use musher_api::ShutdownRequest;
use musher_api::client::{Client, request_id};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::bus;
use crate::args::Cli;
use crate::failure::Failure;
use crate::pm2::processes::Processes;
use crate::session;

/// How long it is believed which worker an id means: not looked up anew for each of many messages.
const BELIEVED: Duration = Duration::from_secs(1);

/// App and slot by id.
type Places = BTreeMap<u32, (u32, u32)>;

/// A caller.
pub(super) struct Session {
    cli: Cli,
    out: mpsc::Sender<String>,
    /// The daemon was started for this caller alone, and ends with it.
    owns_daemon: Cell<bool>,
    /// What was seen of the workers, and when that was.
    places: RefCell<Option<(Instant, Places)>>,
    bus: RefCell<Option<JoinHandle<()>>>,
}

impl Session {
    pub(super) fn new(cli: Cli, out: mpsc::Sender<String>) -> Session {
        Session { cli, out, owns_daemon: Cell::new(false), places: RefCell::default(), bus: RefCell::default() }
    }

    pub(super) fn cli(&self) -> &Cli {
        &self.cli
    }

    pub(super) fn out(&self) -> &mpsc::Sender<String> {
        &self.out
    }

    /// The daemon runs afterwards. `alone`: one that is started for it ends with the caller.
    pub(super) async fn connect(&self, alone: bool) -> Result<Value, Failure> {
        let (client, started) = self.started().await?;
        if alone && started {
            self.owns_daemon.set(true);
        }
        client.status().await?;
        let home = session::home_path(&self.cli)?;
        Ok(json!({
            "new_pm2_instance": started,
            "pm2_home": home,
            "rpc_socket_file": client.socket(),
            "pub_socket_file": client.socket(),
        }))
    }

    /// A client of a daemon that runs. The bus of a caller goes on with a daemon that was started anew.
    pub(super) async fn started(&self) -> Result<(Client, bool), Failure> {
        let (client, started) = session::started(&self.cli)?;
        let silent = self.bus.borrow().as_ref().is_some_and(JoinHandle::is_finished);
        if silent {
            self.launch_bus().await?;
        }
        Ok((client, started))
    }

    /// All workers.
    pub(super) async fn processes(&self) -> Result<Processes, Failure> {
        let processes = Processes::ask(&self.cli).await?;
        let place = |process: &crate::pm2::view::Process| (process.id, (process.app.id, process.slot.row.slot));
        let places = processes.list.iter().map(place).collect();
        *self.places.borrow_mut() = Some((Instant::now(), places));
        Ok(processes)
    }

    /// The app and the slot of an id.
    pub(super) async fn place(&self, id: u32) -> Result<Option<(u32, u32)>, Failure> {
        let known = self
            .places
            .borrow()
            .as_ref()
            .filter(|(at, _)| at.elapsed() < BELIEVED)
            .map(|(_, places)| places.get(&id).copied());
        match known.flatten() {
            Some(place) => Ok(Some(place)),
            None => {
                self.processes().await?;
                Ok(self.places.borrow().as_ref().and_then(|(_, places)| places.get(&id).copied()))
            }
        }
    }

    /// From now on the caller hears what happens. Returns when nothing is missed any more.
    pub(super) async fn launch_bus(&self) -> Result<(), Failure> {
        if self.bus.borrow().as_ref().is_some_and(|bus| !bus.is_finished()) {
            return Ok(());
        }
        let (client, _) = session::started(&self.cli)?;
        let bus = bus::open(crate::pm2::cli(&["status"])?, client, self.out.clone()).await?;
        *self.bus.borrow_mut() = Some(bus);
        Ok(())
    }

    pub(super) fn close_bus(&self) {
        self.bus.borrow_mut().take().into_iter().for_each(|bus| bus.abort());
    }

    /// The caller has gone.
    pub(super) async fn end(&self) {
        self.close_bus();
        if self.owns_daemon.get()
            && let Ok(client) = session::client(&self.cli)
        {
            let request = ShutdownRequest { request_id: request_id(), keeps_list: false };
            // Nobody is left to be told that it failed.
            let _ = client.shutdown(&request).await;
        }
    }
}
