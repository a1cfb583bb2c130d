//! Requests: from HTTP to the driver and back.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Query, Request as HttpRequest, State};
use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post};
use axum::{Json, Router};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use musher_api::{
    ApiError, AppDetail, AppQuery, Call, ErrorCode, LogQuery, MAX_BODY, MAX_POLL_MS, MessagesQuery, Operation,
    OperationQuery, ROUTES, Settings, SettingsRequest, SlotsQuery, WorkerMessage,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::timeout;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;

use crate::metrics::Telemetry;

use super::bounds::{Bounded, targets, word};
use super::event_stream;
use super::request::{DriverHandle, Request};

/// How long a peer may take to send a body.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);
/// How much of all bodies together is kept in memory, in KiB.
const BODIES_KIB: usize = 32 << 10;
/// How many streams of events and logs may be open.
const STREAMS: usize = 64;
/// How many lines or batches of events wait for a slow reader.
pub(super) const STREAM_QUEUE: usize = 256;

/// What every handler needs.
#[derive(Clone)]
pub(super) struct Context {
    pub(super) driver: DriverHandle,
    streams: Arc<Semaphore>,
    bodies: Arc<Semaphore>,
}

/// An answer with one JSON document.
pub(super) enum Answer<T> {
    Ok(T),
    Error(ApiError),
}

/// The router over all of [`ROUTES`].
pub(super) fn router(driver: DriverHandle) -> Router {
    let context =
        Context { driver, streams: Arc::new(Semaphore::new(STREAMS)), bodies: Arc::new(Semaphore::new(BODIES_KIB)) };
    ROUTES
        .iter()
        .fold(Router::new(), |router, route| router.route(route.path, handler(route.call)))
        .method_not_allowed_fallback(method_not_allowed)
        .fallback(unknown_route)
        .with_state(context)
}

fn handler(call: Call) -> MethodRouter<Context> {
    match call {
        Call::Status => {
            get(|State(context): State<Context>| async move { Answer::from(context.driver.ask(Request::Status).await) })
        }
        Call::Slots => get(slots),
        Call::Apps => {
            get(|State(context): State<Context>| async move { Answer::from(context.driver.ask(Request::Apps).await) })
        }
        Call::Start => post(|State(context): State<Context>, request: HttpRequest| async move {
            Answer::from(relay_lasting(&context, request, |start, reply| Request::Start(Box::new(start), reply)).await)
        }),
        Call::App => get(app),
        Call::Act => post(|State(context): State<Context>, request: HttpRequest| async move {
            Answer::from(relay_lasting(&context, request, Request::Act).await)
        }),
        Call::Operation => get(operation),
        Call::Send => post(|State(context): State<Context>, request: HttpRequest| async move {
            Answer::from(relay(&context, request, Request::Send).await)
        }),
        Call::Input => post(|State(context): State<Context>, request: HttpRequest| async move {
            Answer::from(relay(&context, request, Request::Input).await)
        }),
        Call::Messages => get(messages),
        Call::Events => get(event_stream::events),
        Call::Logs => get(logs),
        Call::Metrics => {
            get(|State(context): State<Context>| async move { Answer::from(context.driver.metrics().await) })
        }
        Call::Settings => get(|State(context): State<Context>| async move {
            Answer::from(context.driver.telemetry().map(Telemetry::settings))
        }),
        Call::Set => post(|State(context): State<Context>, request: HttpRequest| async move {
            Answer::from(set(&context, request).await)
        }),
        Call::Save => post(|State(context): State<Context>, request: HttpRequest| async move {
            Answer::from(relay(&context, request, Request::Save).await)
        }),
        Call::Resurrect => post(|State(context): State<Context>, request: HttpRequest| async move {
            Answer::from(relay_lasting(&context, request, Request::Resurrect).await)
        }),
        Call::Upgrade => post(|State(context): State<Context>, request: HttpRequest| async move {
            Answer::from(relay(&context, request, Request::Upgrade).await)
        }),
        Call::Shutdown => post(|State(context): State<Context>, request: HttpRequest| async move {
            Answer::from(relay(&context, request, Request::Shutdown).await)
        }),
        Call::OpenApi => get(|| async { Json(musher_api::openapi()) }),
    }
}

/// Reads a body, checks it, asks the driver.
async fn relay<B, T>(
    context: &Context,
    request: HttpRequest,
    make: impl FnOnce(B, super::request::Reply<T>) -> Request,
) -> Result<T, ApiError>
where
    B: DeserializeOwned + Bounded,
{
    let body: B = read(context, request).await?;
    body.check()?;
    context.driver.ask(|reply| make(body, reply)).await
}

/// As [`relay`]; what the answer names survives everything. Else the number of an operation could be given away again
/// after a death of supervisor and keeper together, and its asker would be told of another's end.
async fn relay_lasting<B, T>(
    context: &Context,
    request: HttpRequest,
    make: impl FnOnce(B, super::request::Reply<T>) -> Request,
) -> Result<T, ApiError>
where
    B: DeserializeOwned + Bounded,
{
    let answer = relay(context, request, make).await?;
    context.driver.settle().await;
    Ok(answer)
}

async fn set(context: &Context, request: HttpRequest) -> Result<Settings, ApiError> {
    let request: SettingsRequest = read(context, request).await?;
    request.check()?;
    let (telemetry, driver) = (context.driver.telemetry()?.clone(), context.driver.clone());
    // It writes to the disk, which may be slow: nobody else waits for that.
    let set = tokio::task::spawn_blocking(move || telemetry.set(&request, &driver)).await;
    set.map_err(|error| ApiError::internal(format!("the settings are as they were: {error}")))?
}

async fn slots(State(context): State<Context>, uri: Uri) -> Response {
    Answer::from(
        async {
            let asked: SlotsQuery = query(&uri)?;
            let targets = asked.target.as_deref().map(targets).transpose()?.unwrap_or_default();
            context.driver.ask(|reply| Request::Slots { targets, pulse: asked.pulse, reply }).await
        }
        .await,
    )
    .into_response()
}

async fn app(
    State(context): State<Context>,
    target: Result<Path<String>, PathRejection>,
    uri: Uri,
) -> Answer<Box<AppDetail>> {
    Answer::from(
        async {
            let target = path(target)?;
            let asked: AppQuery = query(&uri)?;
            word("target", &target)?;
            let mut detail = context.driver.ask(|reply| Request::App { target, reply }).await?;
            if !asked.env {
                detail.redact();
            }
            Ok(detail)
        }
        .await,
    )
}

async fn operation(
    State(context): State<Context>,
    id: Result<Path<String>, PathRejection>,
    uri: Uri,
) -> Answer<Operation> {
    Answer::from(
        async {
            let id = path(id)?;
            let id: u64 = id
                .parse()
                .map_err(|_| ApiError::bad_request(format!("{id:?} is not the id of an operation: it is a number")))?;
            let asked: OperationQuery = query(&uri)?;
            let mut operation = context.driver.ask(|reply| Request::Operation { id, reply }).await?;
            let patience = Duration::from_millis(asked.timeout_ms.unwrap_or(0).min(MAX_POLL_MS));
            // The time running out and the driver forgetting the operation both end the wait; what is known is told.
            let _ = timeout(
                patience,
                operation.wait_for(|now| now.done || asked.after.is_none_or(|after| now.revision > after)),
            )
            .await;
            let now = operation.borrow().clone();
            if now.done {
                // What a command was told to be done survives everything.
                context.driver.settle().await;
            }
            Ok(now)
        }
        .await,
    )
}

async fn messages(State(context): State<Context>, uri: Uri) -> Response {
    let begun = || {
        let asked: MessagesQuery = query(&uri)?;
        asked.target.as_deref().map_or(Ok(()), |target| word("target", target))?;
        Ok((asked.target, stream_place(&context)?, context.driver.events().messages().listen(asked.since)))
    };
    let (target, place, mut listener) = match begun() {
        Ok(begun) => begun,
        Err(error) => return Answer::<()>::Error(error).into_response(),
    };
    let is_wanted = move |message: &WorkerMessage| {
        target.as_ref().is_none_or(|target| message.app == *target || message.app_id.to_string() == *target)
    };
    let (sink, source) = mpsc::channel(1);
    tokio::spawn(async move {
        let _place = place;
        // Tells the reader that from here on it misses nothing.
        let mut chunk = b"\n".to_vec();
        let mut lost = 0;
        loop {
            if !chunk.is_empty() && sink.send(Bytes::from(std::mem::take(&mut chunk))).await.is_err() {
                return;
            }
            let said = tokio::select! {
                said = listener.next() => said,
                () = sink.closed() => return,
            };
            let Some(said) = said else { return };
            for (message, missed) in said {
                lost += missed;
                if !is_wanted(&message) {
                    continue;
                }
                let message = match std::mem::take(&mut lost) {
                    0 => message,
                    lost => Arc::new(WorkerMessage { lost, ..(*message).clone() }),
                };
                if let Ok(json) = serde_json::to_vec(&*message) {
                    chunk.extend_from_slice(&json);
                    chunk.push(b'\n');
                }
            }
        }
    });
    let body = Body::from_stream(ReceiverStream::new(source).map(Ok::<_, Infallible>));
    ([(header::CONTENT_TYPE, "application/x-ndjson"), (header::CACHE_CONTROL, "no-store")], body).into_response()
}

async fn logs(State(context): State<Context>, uri: Uri) -> Response {
    let begun = || {
        let asked: LogQuery = query(&uri)?;
        asked.check()?;
        let place = stream_place(&context)?;
        let (sink, source) = mpsc::channel(STREAM_QUEUE);
        context.driver.logs().read(asked, sink)?;
        Ok((source, place))
    };
    let (source, place) = match begun() {
        Ok(begun) => begun,
        Err(error) => return Answer::<()>::Error(error).into_response(),
    };
    let lines = ReceiverStream::new(source).map(move |line| {
        let _held_while_it_streams = &place;
        let mut json = serde_json::to_vec(&line).unwrap_or_default();
        json.push(b'\n');
        Ok::<_, Infallible>(Bytes::from(json))
    });
    ([(header::CONTENT_TYPE, "application/x-ndjson"), (header::CACHE_CONTROL, "no-store")], Body::from_stream(lines))
        .into_response()
}

pub(super) fn stream_place(context: &Context) -> Result<tokio::sync::OwnedSemaphorePermit, ApiError> {
    Arc::clone(&context.streams).try_acquire_owned().map_err(|_| {
        ApiError::new(ErrorCode::TooMany, format!("{STREAMS} streams of events and logs are open already"))
            .with_hint("close one of them")
    })
}

async fn unknown_route(uri: Uri) -> Answer<()> {
    Answer::Error(
        ApiError::new(ErrorCode::UnknownRoute, format!("{:?} is not part of the API", uri.path()))
            .with_hint("GET /v1/openapi.json describes it"),
    )
}

async fn method_not_allowed(request: HttpRequest) -> Answer<()> {
    Answer::Error(ApiError::new(
        ErrorCode::MethodNotAllowed,
        format!("{:?} does not take {}", request.uri().path(), request.method()),
    ))
}

/// The body as `T`. The sizes of all bodies in memory together are bounded: further ones wait, within their time.
async fn read<T: DeserializeOwned>(context: &Context, request: HttpRequest) -> Result<T, ApiError> {
    let announced = request.headers().get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    let too_large = || ApiError::new(ErrorCode::TooLarge, format!("the body is larger than {MAX_BODY} bytes"));
    if announced.is_some_and(|length: usize| length > MAX_BODY) {
        return Err(too_large());
    }
    let kib = u32::try_from(announced.unwrap_or(MAX_BODY) / 1024 + 1).unwrap_or(u32::MAX);
    let body = timeout(BODY_TIMEOUT, async {
        let _room = context.bodies.acquire_many(kib).await;
        Limited::new(request.into_body(), MAX_BODY).collect().await
    })
    .await
    .map_err(|_| ApiError::new(ErrorCode::RequestTimeout, "the body took too long to arrive"))?
    .map_err(|error| {
        if error.is::<LengthLimitError>() { too_large() } else { ApiError::bad_request("the body broke off") }
    })?;
    serde_json::from_slice(&body.to_bytes())
        .map_err(|error| ApiError::bad_request(format!("the body is not what it should be: {error}")))
}

pub(super) fn query<T: DeserializeOwned>(uri: &Uri) -> Result<T, ApiError> {
    Query::try_from_uri(uri).map(|Query(asked)| asked).map_err(|rejection| {
        ApiError::bad_request(format!("the query is not what it should be: {}", rejection.body_text()))
    })
}

fn path(part: Result<Path<String>, PathRejection>) -> Result<String, ApiError> {
    part.map(|Path(part)| part).map_err(|rejection| {
        ApiError::bad_request(format!("the path is not what it should be: {}", rejection.body_text()))
    })
}

impl<T> From<Result<T, ApiError>> for Answer<T> {
    fn from(result: Result<T, ApiError>) -> Answer<T> {
        match result {
            Ok(value) => Answer::Ok(value),
            Err(error) => Answer::Error(error),
        }
    }
}

impl<T: Serialize> IntoResponse for Answer<T> {
    fn into_response(self) -> Response {
        match self {
            Answer::Ok(value) => Json(value).into_response(),
            Answer::Error(error) => {
                let status =
                    StatusCode::from_u16(error.code.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
                (status, Json(error)).into_response()
            }
        }
    }
}
