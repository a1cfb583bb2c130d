//! What is asked of the daemon, and only what is shown: the apps in view each second, the chosen one's details and logs, and
//! events as they happen. Whoever cannot be asked is asked again each second.

use std::sync::Arc;
use std::time::Duration;

use musher_api::client::{Client, ClientError, LogStreamReader};
use musher_api::{ActionRequest, Cursor, EventsQuery, LogLine, LogQuery, SlotRow};
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::dialog::Order;
use super::model::{Link, News};
use crate::failure::Failure;
use crate::output::units;
use crate::verbs::operations::{Ended, all_well};

/// How often what is in view is measured.
const EACH: Duration = Duration::from_secs(1);
/// How soon after a measurement another one is made because something happened.
const SOON: Duration = Duration::from_millis(250);
/// At how many measurements those that are not in view are looked at, too.
const ALL_AT: u32 = 10;
/// At how many measurements the details are asked for anew.
const DETAIL_AT: u32 = 3;
/// An answer that takes longer is missed.
const SLOW: Duration = Duration::from_secs(3);
/// How many lines from the past are shown of an app.
const PAST: u32 = 300;
/// How many events from the past are shown.
const EARLIER: u32 = 200;
/// How many lines a second are taken at most: more can neither be read nor are they worth what they cost.
const FASTEST: u32 = 2000;
/// How many lines are handed over together, and how long they wait for it.
const BATCH: usize = 200;
const BATCH_TIME: Duration = Duration::from_millis(50);
/// How much news waits.
const NEWS: usize = 256;

/// What is looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Focus {
    /// Names of the apps in view.
    pub(super) shown: Vec<String>,
    /// Those are all that there are.
    pub(super) all: bool,
    /// The chosen app.
    pub(super) app: Option<String>,
    /// Whether its details are in view.
    pub(super) details: bool,
}

/// Those who ask.
pub(super) struct Feed {
    client: Client,
    news: mpsc::Sender<News>,
    focus: watch::Sender<Focus>,
    stale: Arc<Notify>,
    pub(super) tasks: JoinSet<()>,
}

impl Feed {
    /// Begins to ask; what comes is given by the receiver.
    pub(super) fn begin(client: Client) -> (Feed, mpsc::Receiver<News>) {
        let (news, heard) = mpsc::channel(NEWS);
        let (focus, focused) = watch::channel(Focus::default());
        let stale = Arc::new(Notify::new());
        let mut tasks = JoinSet::new();
        tasks.spawn(measure(client.clone(), news.clone(), focused.clone(), Arc::clone(&stale)));
        tasks.spawn(logs(client.clone(), news.clone(), focused));
        tasks.spawn(events(client.clone(), news.clone()));
        (Feed { client, news, focus, stale, tasks }, heard)
    }

    /// Something else is looked at.
    pub(super) fn look_at(&self, focus: Focus) {
        self.focus.send_if_modified(|now| {
            let is_other = *now != focus;
            *now = focus;
            is_other
        });
    }

    /// What is known is old.
    pub(super) fn stale(&self) {
        self.stale.notify_one();
    }

    /// Does something, and tells how it goes.
    pub(super) fn order(&mut self, order: Order) {
        let (client, news) = (self.client.clone(), self.news.clone());
        self.tasks.spawn(async move {
            let words = order.words();
            let _ = news.send(News::Going(format!("{words} …"))).await;
            let (text, ok) = match carry_out(&client, order, &news).await {
                Ok(took) => (format!("{words}: done in {}", units::precise(millis(took))), true),
                Err(failure) => (format!("{words}:\n{}", failure.text()), false),
            };
            let _ = news.send(News::Done { text, ok }).await;
        });
    }
}

async fn carry_out(client: &Client, order: Order, news: &mpsc::Sender<News>) -> Result<Duration, Failure> {
    let begun = Instant::now();
    let words = order.words();
    let request_id = musher_api::client::request_id();
    let request = ActionRequest { request_id, action: order.action, targets: vec![order.app] };
    let response = client.act(&request).await?;
    let mut operations = Vec::new();
    for operation in &response.operations {
        let going = |now: &musher_api::Operation| {
            let progress = &now.progress;
            if !now.done && progress.total > 0 {
                let text = format!("{words} … {}/{} {}", progress.ready, progress.total, progress.text);
                // Another one follows.
                let _ = news.try_send(News::Going(text));
            }
        };
        operations.push(client.wait(operation, going).await?);
    }
    let took = begun.elapsed();
    all_well(&Ended { operations, took })?;
    Ok(took)
}

/// Measures what is in view.
async fn measure(client: Client, news: mpsc::Sender<News>, mut focus: watch::Receiver<Focus>, stale: Arc<Notify>) {
    let begun = Instant::now();
    let mut detailed = None;
    let (mut is_stale, mut turn) = (true, 0);
    loop {
        let asked = Instant::now();
        let now = focus.borrow_and_update().clone();
        let everything = is_stale || turn % ALL_AT == 0;
        let measured = timeout(SLOW, rows(&client, &now, everything)).await;
        let answer = match measured {
            Ok(Ok(measured)) => {
                let _ = news.send(News::Link(Link::Up)).await;
                let at_ms = millis(begun.elapsed());
                let (rows, all) = measured;
                let _ = news.send(News::Rows { rows, all, at_ms }).await;
                Ok(())
            }
            // One of them is gone.
            Ok(Err(ClientError::Api(_))) => {
                turn = ALL_AT - 1;
                Ok(())
            }
            Ok(Err(error)) => Err(short(&error)),
            Err(_) => Err("the supervisor does not answer".to_owned()),
        };
        let wants_detail = now.details && (is_stale || turn % DETAIL_AT == 0 || detailed != now.app);
        if let (Ok(()), Some(app), true) = (&answer, &now.app, wants_detail)
            && let Ok(Ok(detail)) = timeout(SLOW, client.app(app, false)).await
        {
            let _ = news.send(News::Detail(Box::new(detail))).await;
            detailed.clone_from(&now.app);
        }
        if let Err(why) = answer
            && news.send(News::Link(Link::Down(why))).await.is_err()
        {
            return;
        }
        turn += 1;
        is_stale = tokio::select! {
            () = sleep_until(asked + EACH) => false,
            () = async {
                // What happens in a moment is looked at together.
                stale.notified().await;
                sleep_until(asked + SOON).await;
            } => true,
            changed = focus.changed() => {
                if changed.is_err() {
                    return;
                }
                sleep_until(asked + SOON).await;
                false
            }
        };
    }
}

/// The rows, and whether they are all that there are.
async fn rows(client: &Client, focus: &Focus, everything: bool) -> Result<(Vec<SlotRow>, bool), ClientError> {
    // The first time nobody knows what there is.
    if focus.shown.is_empty() {
        return Ok((client.slots(None).await?, true));
    }
    if focus.all {
        return Ok((client.slots_with_pulse(&[]).await?, true));
    }
    if !everything {
        return Ok((client.slots_with_pulse(&focus.shown).await?, false));
    }
    let mut all = client.slots(None).await?;
    // One of those in view may be gone.
    for seen in client.slots_with_pulse(&focus.shown).await.unwrap_or_default() {
        if let Some(row) = all.iter_mut().find(|row| (row.id, row.slot) == (seen.id, seen.slot)) {
            *row = seen;
        }
    }
    Ok((all, true))
}

/// Tells what happens, also what did before.
async fn events(client: Client, news: mpsc::Sender<News>) {
    let mut last = None;
    loop {
        let lines = last.is_none().then_some(EARLIER);
        let query = EventsQuery { since: last, lines, follow: Some(true), ..EventsQuery::default() };
        if let Ok(mut stream) = client.events_of(&query).await {
            while let Ok(Some(event)) = stream.next().await {
                if news.send(News::Event(Box::new(event))).await.is_err() {
                    return;
                }
            }
            last = stream.last_id().or(last);
        }
        sleep(EACH).await;
    }
}

/// Follows the logs of the chosen app.
async fn logs(client: Client, news: mpsc::Sender<News>, mut focus: watch::Receiver<Focus>) {
    let mut app: Option<String> = None;
    let mut since: Option<Cursor> = None;
    loop {
        let now = focus.borrow_and_update().app.clone();
        if now != app {
            (app, since) = (now, None);
            if let Some(app) = &app {
                let _ = news.send(News::LogsOf(app.clone())).await;
            }
        }
        let another = async {
            loop {
                if focus.changed().await.is_err() {
                    return false;
                }
                if focus.borrow().app != app {
                    return true;
                }
            }
        };
        tokio::select! {
            goes_on = another => if !goes_on { return },
            () = follow(&client, &news, app.as_deref(), &mut since) => {}
        }
    }
}

/// Reads on until the stream ends, then waits for a moment.
async fn follow(client: &Client, news: &mpsc::Sender<News>, app: Option<&str>, since: &mut Option<Cursor>) {
    let Some(app) = app else { return std::future::pending().await };
    let lines = since.is_none().then_some(PAST);
    let query = LogQuery { target: Some(app.to_owned()), lines, follow: true, since: *since, ..LogQuery::default() };
    if let Ok(stream) = client.logs(&query).await
        && copy(stream, news, since).await == Pace::TooFast
    {
        let _ = news.send(News::Skipped).await;
        // What is left out is not asked for: it begins with the newest.
        *since = None;
    }
    sleep(EACH).await;
}

#[derive(PartialEq, Eq)]
enum Pace {
    Ended,
    TooFast,
}

async fn copy(mut stream: LogStreamReader, news: &mpsc::Sender<News>, since: &mut Option<Cursor>) -> Pace {
    let (mut second, mut count) = (Instant::now(), 0);
    let mut batch: Vec<LogLine> = Vec::new();
    loop {
        let due = Instant::now() + BATCH_TIME;
        let ended = loop {
            let next = tokio::select! {
                biased;
                next = stream.next() => next,
                () = sleep_until(due), if !batch.is_empty() => break false,
            };
            let Ok(Some(line)) = next else { break true };
            *since = Some(line.cursor);
            batch.push(line);
            if batch.len() == BATCH {
                break false;
            }
        };
        count += u32::try_from(batch.len()).unwrap_or(u32::MAX);
        if news.send(News::Lines(std::mem::take(&mut batch))).await.is_err() || ended {
            return Pace::Ended;
        }
        if second.elapsed() > EACH {
            (second, count) = (Instant::now(), 0);
        } else if count > FASTEST {
            return Pace::TooFast;
        }
    }
}

/// Why nobody can be asked, in a few words.
fn short(error: &ClientError) -> String {
    match error {
        ClientError::NotRunning { .. } => "no daemon is running".to_owned(),
        error => error.to_string(),
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
