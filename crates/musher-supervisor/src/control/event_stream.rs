//! `GET /v1/events`: what happened, from the disk and from memory, then what happens.

use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Uri, header};
use axum::response::{IntoResponse, Response};
use musher_api::{ApiError, Event, EventFilter, EventsQuery};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;

use crate::event_log::{self, Wanted};

use super::events::Subscription;
use super::handlers::{Answer, Context, STREAM_QUEUE, query, stream_place};

/// How much is collected before it is sent.
const CHUNK: usize = 32 << 10;

/// What was asked.
struct Asked {
    subscription: Subscription,
    filter: EventFilter,
    past: Option<Past>,
    follows: bool,
    place: OwnedSemaphorePermit,
}

/// What of it is on the disk.
struct Past {
    home: PathBuf,
    wanted: Wanted,
}

type Sink = mpsc::Sender<Bytes>;

pub(super) async fn events(State(context): State<Context>, headers: HeaderMap, uri: Uri) -> Response {
    let last_seen = headers.get("last-event-id").and_then(|id| id.to_str().ok()).and_then(|id| id.parse().ok());
    let asked = match begin(&context, last_seen, &uri) {
        Ok(asked) => asked,
        Err(error) => return Answer::<()>::Error(error).into_response(),
    };
    let (sink, source) = mpsc::channel(STREAM_QUEUE);
    tokio::spawn(asked.stream(sink));
    let body = Body::from_stream(ReceiverStream::new(source).map(Ok::<_, Infallible>));
    ([(header::CONTENT_TYPE, "text/event-stream"), (header::CACHE_CONTROL, "no-store")], body).into_response()
}

fn begin(context: &Context, last_seen: Option<u64>, uri: &Uri) -> Result<Asked, ApiError> {
    let asked: EventsQuery = query(uri)?;
    let filter = asked.filter()?;
    let place = stream_place(context)?;
    let events = context.driver.events();
    let since = last_seen.or(asked.since);
    let last = asked.lines.and_then(|lines| usize::try_from(lines).ok());
    let asks_for_past = since.is_some() || asked.asks_for_past();
    // What is remembered comes from memory, without a gap to what comes: only what is older is read from the disk.
    let oldest = events.oldest();
    let after = since.unwrap_or(0);
    let home = context.driver.home().filter(|_| asks_for_past && after + 1 < oldest);
    let wanted = Wanted { filter: filter.clone(), after, before: Some(oldest), last };
    Ok(Asked {
        subscription: match (asks_for_past, &home) {
            (false, _) => events.subscribe(None),
            // Without a disk, who was cut off for too long is told of a gap.
            (true, None) => events.subscribe(Some(since.unwrap_or(oldest - 1))),
            (true, Some(_)) => events.subscribe(Some(after.max(oldest - 1))),
        },
        past: home.map(|home| Past { home, wanted }),
        follows: asked.follows(),
        filter: EventFilter { until_ms: asked.until_ms, ..filter },
        place,
    })
}

impl Asked {
    async fn stream(mut self, sink: Sink) {
        let _place = self.place;
        let last = self.past.as_ref().and_then(|past| past.wanted.last);
        let mut newest = Vec::new();
        if let Some(past) = self.past {
            match (past.read(sink.clone()).await, last) {
                (Ok(events), Some(_)) => newest = events,
                (Ok(_), None) => {}
                (Err(()), _) => return,
            }
        }
        // An event without data is not one, but its id tells the subscriber where it is even if nothing ever happens.
        let mut chunk = format!("id: {}\n\n", self.subscription.seen());
        if let Some(last) = last {
            let wanted = self.subscription.take().into_iter().filter(|event| self.filter.wants(event));
            newest.extend(wanted);
            let skipped = newest.len().saturating_sub(last);
            newest.iter().skip(skipped).for_each(|event| write(event, &mut chunk));
        }
        if !self.follows {
            self.subscription.take().iter().filter(|e| self.filter.wants(e)).for_each(|e| write(e, &mut chunk));
            let _ = sink.send(Bytes::from(chunk)).await;
            return;
        }
        loop {
            if sink.send(Bytes::from(std::mem::take(&mut chunk))).await.is_err() {
                return;
            }
            let news = tokio::select! {
                news = self.subscription.next() => news,
                () = sink.closed() => return,
            };
            let Some(news) = news else { return };
            news.iter().filter(|event| self.filter.wants(event)).for_each(|event| write(event, &mut chunk));
            if chunk.is_empty() {
                // Where it is now, for one who comes back.
                chunk = format!("id: {}\n\n", self.subscription.seen());
            }
        }
    }
}

impl Past {
    /// Reads from the disk, beside everything else. What is wanted by its number is given back, the rest is sent. An
    /// error: nobody reads any more.
    async fn read(self, sink: Sink) -> Result<Vec<Arc<Event>>, ()> {
        let read = move || {
            let Past { home, wanted } = self;
            let collects = wanted.last.is_some();
            let (mut events, mut chunk, mut gone) = (Vec::new(), String::new(), false);
            let result = event_log::read(&home, &wanted, &mut |event| {
                if collects {
                    events.push(Arc::new(event));
                    return true;
                }
                write(&event, &mut chunk);
                if chunk.len() >= CHUNK {
                    gone = sink.blocking_send(Bytes::from(std::mem::take(&mut chunk))).is_err();
                }
                !gone
            });
            if let Err(error) = result {
                tracing::warn!(%error, "events cannot be read from the disk");
            }
            let sent = chunk.is_empty() || sink.blocking_send(Bytes::from(chunk)).is_ok();
            if gone || !sent { Err(()) } else { Ok(events) }
        };
        // A thread of its own: a client that does not read holds it, and those for blocking calls are few and for all.
        let (done, result) = tokio::sync::oneshot::channel();
        let thread = std::thread::Builder::new().name("past-events".into()).spawn(move || drop(done.send(read())));
        if let Err(error) = thread {
            tracing::warn!(%error, "events cannot be read from the disk");
        }
        result.await.unwrap_or(Err(()))
    }
}

fn write(event: &Event, chunk: &mut String) {
    if let Ok(json) = serde_json::to_string(event) {
        chunk.push_str(&format!("id: {}\ndata: {json}\n\n", event.seq));
    }
}
