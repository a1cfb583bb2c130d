//! Schedules: jobs that are started when their time comes, and apps that are restarted then.
//!
//! Nothing looks at the clock again and again: one alarm of the kernel rings at the next moment of all apps, also when the
//! machine slept in between or its clock was set. Up to when moments are dealt with is in the app's record, so a later
//! supervisor neither repeats one nor loses one; what it finds long past was missed. A restart during another operation is
//! made when that has ended.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use musher_api::{EventKind, OperationKind, ScheduleDetail};
use musher_core::AppId;
use musher_core::schedule::Calendar;
use musher_core::spec::{Missed, OnTime, Schedule};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use serde::{Deserialize, Serialize};
use tokio::io::unix::AsyncFd;

use crate::control::News;
use crate::watch::watch;

use super::app::ManagedApp;
use super::{Driver, World, wall_clock_ms};

/// What is remembered of an app's schedule.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct TimesRecord {
    /// Up to when all moments are dealt with, in milliseconds since 1970; 0: the schedule has not begun.
    pub(super) seen_ms: u64,
    /// When it last did something.
    pub(super) last_ms: Option<u64>,
    /// How often a job was not started because it still ran.
    pub(super) skipped: u64,
    /// A restart whose moment has come and that was not begun.
    pub(super) pending: bool,
}

/// What an app that is wanted does next.
#[derive(Debug)]
pub(super) struct Times {
    rules: Schedule,
    calendar: Calendar,
    next_ms: Option<u64>,
}

/// Rings at a time of day. Cheap while it is not set.
pub(super) struct Alarm {
    timer: AsyncFd<OwnedFd>,
    set_to: Option<u64>,
}

impl Alarm {
    pub(super) fn new() -> io::Result<Alarm> {
        let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
        // timerfd_create(2): of this clock it rings in time also after a suspend.
        let timer = timerfd_create(TimerfdClockId::Realtime, flags)?;
        Ok(Alarm { timer: watch(timer)?, set_to: None })
    }

    /// Sets it to this moment, in milliseconds since 1970, or switches it off.
    pub(super) fn set(&mut self, at_ms: Option<u64>) {
        if self.set_to == at_ms {
            return;
        }
        // All zeros switch it off.
        let at = at_ms.map(|at| at.max(1)).unwrap_or_default();
        let value = Timespec {
            tv_sec: i64::try_from(at / 1000).unwrap_or(i64::MAX),
            tv_nsec: i64::try_from(at % 1000).unwrap_or(0) * 1_000_000,
        };
        let zero = Timespec { tv_sec: 0, tv_nsec: 0 };
        // It rings as well when somebody sets the clock.
        let flags = TimerfdTimerFlags::ABSTIME | TimerfdTimerFlags::CANCEL_ON_SET;
        match timerfd_settime(self.timer.get_ref(), flags, &Itimerspec { it_interval: zero, it_value: value }) {
            Ok(_) => self.set_to = at_ms,
            Err(error) => tracing::error!(%error, "the alarm for schedules cannot be set"),
        }
    }

    /// Waits until it rings.
    pub(super) async fn rings(&mut self) {
        let Ok(mut ready) = self.timer.readable().await else { return std::future::pending().await };
        ready.clear_ready();
        let mut count = [0; 8];
        // How often it rang, or that the clock was set, is all the same.
        let _ = rustix::io::read(self.timer.get_ref().as_fd(), &mut count);
        self.set_to = None;
    }
}

impl World {
    /// Begins or ends to follow an app's schedule, as its spec and its state say.
    pub(super) fn follow_times(&self, app: &mut ManagedApp) {
        let spec = app.target_spec().filter(|_| app.machine.is_wanted());
        let Some(rules) = spec.and_then(|spec| spec.schedule.as_ref()) else {
            app.times = None;
            app.times_record = TimesRecord { seen_ms: 0, pending: false, ..app.times_record };
            return;
        };
        if app.times.as_ref().is_some_and(|times| times.rules == *rules) {
            return;
        }
        let rules = rules.clone();
        // It was checked, but perhaps by a version that knew other zones.
        match Calendar::new(&rules.cron, &rules.timezone) {
            Ok(calendar) => {
                // Other times begin now.
                if app.times.is_some() || app.times_record.seen_ms == 0 {
                    app.times_record.seen_ms = wall_clock_ms();
                    self.write_app(app);
                }
                let next_ms = calendar.after(app.times_record.seen_ms);
                app.times = Some(Times { rules, calendar, next_ms });
            }
            Err(error) => {
                app.times = None;
                tracing::error!(app = app.name, error, "the schedule is not understood, and does nothing");
            }
        }
    }
}

impl Driver {
    /// The next moment of all apps.
    pub(super) fn next_moment(&self) -> Option<u64> {
        self.apps.values().filter_map(|app| app.times.as_ref()?.next_ms).min()
    }

    /// The alarm rang.
    pub(super) fn look_at_times(&mut self) {
        let now = wall_clock_ms();
        let ids: Vec<AppId> = self.apps.values().filter(|app| app.times.is_some()).map(|app| app.id).collect();
        for id in ids {
            self.look_at_time(id, now);
        }
    }

    fn look_at_time(&mut self, id: AppId, now: u64) {
        let Some(app) = self.apps.get_mut(&id) else { return };
        let Some(times) = &mut app.times else { return };
        let look = times.calendar.look(app.times_record.seen_ms, now);
        times.next_ms = look.next_ms;
        if look.seen_ms == app.times_record.seen_ms {
            return;
        }
        app.times_record.seen_ms = look.seen_ms;
        let makes_up = look.missed_ms.is_some() && times.rules.missed == Missed::Once;
        let action = times.rules.action;
        if let Some(missed) = look.missed_ms {
            let then = if makes_up { "it is made up for now" } else { "it is left out" };
            let detail = format!("its time at {} was missed, nobody was there: {then}", musher_api::rfc3339(missed));
            tracing::warn!(app = app.name, "{detail}");
            self.world.events.publish(News::new(EventKind::Schedule, detail).of_app(&app.name, id.0));
        }
        if self.world.record.shutting_down || !(look.due || makes_up) {
            return self.world.write_app(app);
        }
        match action {
            OnTime::Start => {
                let waits = app.gate.is_some();
                if app.machine.is_busy() || waits {
                    app.times_record.skipped += 1;
                } else {
                    app.times_record.last_ms = Some(now);
                }
                if waits {
                    return self.world.write_app(app);
                }
                // One write for the moment and for what comes of it.
                self.due(id);
            }
            OnTime::Restart | OnTime::Reload => {
                app.times_record.pending = true;
                self.world.write_app(app);
                self.take_up_moment(id);
            }
        }
    }

    /// Restarts an app whose moment has come, if nothing else goes on.
    pub(super) fn take_up_moment(&mut self, id: AppId) {
        let idle = |app: &&mut ManagedApp| {
            app.times_record.pending && app.machine.operations().is_empty() && app.gate.is_none()
        };
        let Some(app) = self.apps.get_mut(&id).filter(idle) else { return };
        let Some(rules) = app.times.as_ref().map(|times| &times.rules) else { return };
        if self.world.record.shutting_down {
            return;
        }
        let rolls = rules.action == OnTime::Reload || app.target_spec().is_some_and(|spec| spec.shares_its_port());
        app.times_record.pending = false;
        app.times_record.last_ms = Some(wall_clock_ms());
        app.machine.count_restart();
        let name = app.name.clone();
        let (kind, word) = if rolls { (OperationKind::Reload, "reload") } else { (OperationKind::Restart, "restart") };
        let detail = format!("its time has come: {word}");
        self.world.events.publish(News::new(EventKind::Schedule, detail).of_app(&name, id.0));
        let command = if rolls { self.reload_command(id, None, None) } else { self.restart_command(id) };
        let (op, _) = self.begin(id, &name, kind);
        self.world.write_home();
        self.command(id, op, command);
    }
}

impl ManagedApp {
    /// The schedule, for people.
    pub(super) fn schedule_detail(&self) -> Option<ScheduleDetail> {
        let times = self.times.as_ref()?;
        let TimesRecord { last_ms, skipped, .. } = self.times_record;
        Some(ScheduleDetail { next_ms: times.next_ms, last_ms, skipped })
    }

    /// How long until a job that does not run is started, in milliseconds.
    pub(super) fn starts_in_ms(&self) -> Option<u64> {
        let times = self.times.as_ref().filter(|times| times.rules.action == OnTime::Start)?;
        times.next_ms.map(|next| next.saturating_sub(wall_clock_ms()))
    }
}
