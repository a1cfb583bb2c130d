//! What is known and what is looked at. Pure: messages go in, wishes come out; nothing here draws, asks or waits.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use musher_api::{AppDetail, Event, EventKind, LogLine, SlotRow, SlotStatus};

use super::dialog::Dialog;
use super::logs::Logs;

/// How many measurements are remembered: two minutes, and as many as a sparkline has room for.
pub(super) const REMEMBERED: usize = 120;
/// How many events are kept.
pub(super) const EVENTS: usize = 500;

/// A line of the list: an app, or one of its workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Place {
    /// Id of the app.
    pub(super) app: u32,
    /// Number of the slot; none: the app as a whole.
    pub(super) slot: Option<u32>,
}

/// One app with its workers.
#[derive(Clone, Debug)]
pub(super) struct AppNode {
    pub(super) id: u32,
    pub(super) name: String,
    pub(super) rows: Vec<SlotRow>,
}

/// What was measured of a line, oldest first.
#[derive(Clone, Debug, Default)]
pub(super) struct History {
    pub(super) cpu: VecDeque<f64>,
    pub(super) memory: VecDeque<u64>,
}

/// What a worker tells of itself.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Told {
    pid: u32,
    requests: u64,
    at_ms: u64,
    /// How late its event loop was at most, in microseconds.
    pub(super) delay_us: u64,
    /// Requests in a second; none before there are two pulses.
    pub(super) rate: Option<f64>,
}

/// Whether there is somebody to ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Link {
    Connecting,
    Up,
    /// Why not.
    Down(String),
}

/// Where keys go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pane {
    List,
    Logs,
    Side,
}

/// What the pane at the side shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Details,
    Events,
}

/// What the last line says until the next key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Notice {
    pub(super) text: String,
    pub(super) is_error: bool,
}

/// What comes from the daemon.
#[derive(Debug)]
pub(super) enum News {
    /// Rows of some apps, or of all; measured at this time, in milliseconds.
    Rows {
        rows: Vec<SlotRow>,
        all: bool,
        at_ms: u64,
    },
    Detail(Box<AppDetail>),
    /// The lines of this app begin.
    LogsOf(String),
    Lines(Vec<LogLine>),
    /// Lines were left out.
    Skipped,
    Event(Box<Event>),
    Link(Link),
    /// How an action goes, or ended.
    Going(String),
    Done {
        text: String,
        ok: bool,
    },
}

/// Everything.
#[derive(Debug)]
pub(super) struct Model {
    pub(super) apps: Vec<AppNode>,
    folded: BTreeSet<u32>,
    pub(super) chosen: Option<Place>,
    /// The first line of the list in view, and how many are.
    pub(super) top: usize,
    pub(super) height: usize,
    pub(super) history: HashMap<Place, History>,
    pub(super) told: HashMap<Place, Told>,
    pub(super) detail: Option<Box<AppDetail>>,
    pub(super) side_scroll: usize,
    pub(super) logs: Logs,
    /// Whose lines these are.
    pub(super) logs_of: Option<String>,
    pub(super) events: VecDeque<Event>,
    pub(super) pane: Pane,
    pub(super) side: Side,
    pub(super) is_zoomed: bool,
    pub(super) dialog: Option<Dialog>,
    pub(super) notice: Option<Notice>,
    pub(super) link: Link,
    /// Something has happened: what is known of workers is old.
    pub(super) is_stale: bool,
}

impl Model {
    pub(super) fn new() -> Model {
        Model {
            apps: Vec::new(),
            folded: BTreeSet::new(),
            chosen: None,
            top: 0,
            height: 10,
            history: HashMap::new(),
            told: HashMap::new(),
            detail: None,
            side_scroll: 0,
            logs: Logs::default(),
            logs_of: None,
            events: VecDeque::new(),
            pane: Pane::List,
            side: Side::Details,
            is_zoomed: false,
            dialog: None,
            notice: None,
            link: Link::Connecting,
            is_stale: false,
        }
    }

    /// Takes in what came from the daemon.
    pub(super) fn hear(&mut self, news: News) {
        match news {
            News::Rows { rows, all, at_ms } => self.rows(rows, all, at_ms),
            News::Detail(detail) => self.detail = Some(detail),
            News::LogsOf(app) => {
                self.logs.clear();
                self.logs_of = Some(app);
            }
            News::Lines(lines) => lines.iter().for_each(|line| self.logs.push(line)),
            News::Skipped => self.logs.skipped = true,
            News::Event(event) => self.event(*event),
            News::Link(link) => {
                self.is_stale |= link == Link::Up && self.link != Link::Up;
                self.link = link;
            }
            News::Going(text) => self.say(text),
            News::Done { text, ok: true } => self.say(text),
            News::Done { text, ok: false } => self.dialog = Some(Dialog::Message { text, scroll: 0 }),
        }
    }

    pub(super) fn say(&mut self, text: impl Into<String>) {
        self.notice = Some(Notice { text: text.into(), is_error: false });
    }

    pub(super) fn complain(&mut self, text: impl Into<String>) {
        self.notice = Some(Notice { text: text.into(), is_error: true });
    }

    fn rows(&mut self, rows: Vec<SlotRow>, all: bool, at_ms: u64) {
        let mut apps: BTreeMap<u32, AppNode> = BTreeMap::new();
        for row in rows {
            self.measure(Place { app: row.id, slot: Some(row.slot) }, &row, at_ms);
            let node = || AppNode { id: row.id, name: row.app.clone(), rows: Vec::new() };
            apps.entry(row.id).or_insert_with(node).rows.push(row);
        }
        for app in apps.values() {
            let cpu = app.rows.iter().map(|row| row.cpu_percent).sum();
            let memory = app.rows.iter().map(|row| row.memory_bytes).sum();
            self.history.entry(Place { app: app.id, slot: None }).or_default().push(cpu, memory);
        }
        if all {
            self.apps = apps.into_values().collect();
            self.forget_the_gone();
        } else {
            for known in &mut self.apps {
                if let Some(app) = apps.remove(&known.id) {
                    *known = app;
                }
            }
        }
        self.keep_choice();
    }

    fn measure(&mut self, place: Place, row: &SlotRow, at_ms: u64) {
        self.history.entry(place).or_default().push(row.cpu_percent, row.memory_bytes);
        let Some((pulse, pid)) = row.pulse.as_ref().zip(row.pid) else {
            self.told.remove(&place);
            return;
        };
        let before = self.told.get(&place).filter(|told| told.pid == pid && told.requests <= pulse.requests);
        let seconds = before.map(|told| at_ms.saturating_sub(told.at_ms) as f64 / 1000.0);
        let rate = before.zip(seconds.filter(|seconds| *seconds > 0.0));
        let rate = rate.map(|(told, seconds)| (pulse.requests - told.requests) as f64 / seconds);
        let told = Told { pid, requests: pulse.requests, at_ms, delay_us: pulse.delay_us, rate };
        self.told.insert(place, told);
    }

    fn forget_the_gone(&mut self) {
        let there: BTreeSet<(u32, Option<u32>)> = self
            .apps
            .iter()
            .flat_map(|app| app.rows.iter().map(|row| (app.id, Some(row.slot))).chain([(app.id, None)]))
            .collect();
        self.history.retain(|place, _| there.contains(&(place.app, place.slot)));
        self.told.retain(|place, _| there.contains(&(place.app, place.slot)));
        self.folded.retain(|id| there.contains(&(*id, None)));
        if self.detail.as_ref().is_some_and(|detail| !there.contains(&(detail.id, None))) {
            self.detail = None;
        }
    }

    fn event(&mut self, event: Event) {
        // What programs say is no sign of a change; that events are missing only at the beginning is no news.
        self.is_stale |= event.app.is_some() && event.kind != EventKind::Message;
        if event.kind == EventKind::Lagged && self.events.is_empty() {
            return;
        }
        if self.events.len() == EVENTS {
            self.events.pop_front();
        }
        self.events.push_back(event);
    }

    /// The lines of the list, from above.
    pub(super) fn places(&self) -> Vec<Place> {
        let mut places = Vec::new();
        for app in &self.apps {
            places.push(Place { app: app.id, slot: None });
            if app.rows.len() > 1 && !self.folded.contains(&app.id) {
                places.extend(app.rows.iter().map(|row| Place { app: app.id, slot: Some(row.slot) }));
            }
        }
        places
    }

    /// Whether the workers of an app are left out of the list.
    pub(super) fn is_folded(&self, app: u32) -> bool {
        self.folded.contains(&app)
    }

    /// Shows the workers of the chosen app, or leaves them out.
    pub(super) fn fold(&mut self, fold: Option<bool>) {
        let Some(place) = self.chosen else { return };
        if fold.unwrap_or(!self.folded.contains(&place.app)) {
            self.folded.insert(place.app);
            self.choose(Place { app: place.app, slot: None });
        } else {
            self.folded.remove(&place.app);
        }
    }

    pub(super) fn app(&self, id: u32) -> Option<&AppNode> {
        self.apps.iter().find(|app| app.id == id)
    }

    pub(super) fn chosen_app(&self) -> Option<&AppNode> {
        self.app(self.chosen?.app)
    }

    pub(super) fn choose(&mut self, place: Place) {
        if self.chosen != Some(place) {
            self.side_scroll = 0;
        }
        self.chosen = Some(place);
        self.logs.of_slot(place.slot);
        self.show_choice();
    }

    /// Moves the choice; stays within the list.
    pub(super) fn move_choice(&mut self, by: isize) {
        let places = self.places();
        let at = places.iter().position(|place| Some(*place) == self.chosen).unwrap_or(0);
        let to = at.saturating_add_signed(by).min(places.len().saturating_sub(1));
        if let Some(place) = places.get(to) {
            self.choose(*place);
        }
    }

    /// Something is chosen as long as there is anything, and the same as before if that is there still.
    fn keep_choice(&mut self) {
        let places = self.places();
        let is_there = |place: &Place| places.contains(place);
        let of_app = self.chosen.map(|place| Place { slot: None, ..place });
        match self.chosen.filter(is_there).or(of_app.filter(is_there)).or(places.first().copied()) {
            Some(place) if Some(place) != self.chosen => self.choose(place),
            Some(_) => self.show_choice(),
            None => self.chosen = None,
        }
    }

    /// Scrolls the list so that the choice is in view.
    pub(super) fn show_choice(&mut self) {
        let places = self.places();
        let height = self.height.max(1);
        let at = places.iter().position(|place| Some(*place) == self.chosen).unwrap_or(0);
        self.top = self.top.min(at).max((at + 1).saturating_sub(height)).min(places.len().saturating_sub(1));
    }

    /// Chooses the next app whose name has this in it.
    pub(super) fn find_app(&mut self, text: &str) -> bool {
        let text = text.to_lowercase();
        let now = self.chosen.and_then(|place| self.apps.iter().position(|app| app.id == place.app));
        let count = self.apps.len();
        let order = (1..=count).map(|step| (now.unwrap_or(count.saturating_sub(1)) + step) % count);
        let found = order.map(|at| &self.apps[at]).find(|app| app.name.to_lowercase().contains(&text));
        let found = found.map(|app| Place { app: app.id, slot: None });
        found.into_iter().for_each(|place| self.choose(place));
        found.is_some()
    }

    /// The names of the apps in view, and whether those are all.
    pub(super) fn in_view(&self) -> (Vec<String>, bool) {
        let places = self.places();
        let shown: BTreeSet<u32> =
            places.iter().skip(self.top).take(self.height.max(1)).map(|place| place.app).collect();
        let chosen = self.chosen.map(|place| place.app);
        let seen = |app: &&AppNode| shown.contains(&app.id) || chosen == Some(app.id);
        let names: Vec<String> = self.apps.iter().filter(seen).map(|app| app.name.clone()).collect();
        let all = names.len() == self.apps.len();
        (names, all)
    }

    /// How many workers there are, and how many serve.
    pub(super) fn totals(&self) -> Totals {
        let rows = || self.apps.iter().flat_map(|app| &app.rows);
        Totals {
            workers: rows().count(),
            online: rows().filter(|row| row.status == SlotStatus::Online).count(),
            cpu: rows().map(|row| row.cpu_percent).sum(),
            memory: rows().map(|row| row.memory_bytes).sum(),
        }
    }
}

/// All workers together.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Totals {
    pub(super) workers: usize,
    pub(super) online: usize,
    pub(super) cpu: f64,
    pub(super) memory: u64,
}

impl History {
    fn push(&mut self, cpu: f64, memory: u64) {
        if self.cpu.len() == REMEMBERED {
            self.cpu.pop_front();
            self.memory.pop_front();
        }
        self.cpu.push_back(cpu);
        self.memory.push_back(memory);
    }
}
