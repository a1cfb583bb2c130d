//! What the API says when it says no.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// An error as it goes over the wire: the body of every answer that is not a success, and the reason in an operation
/// that failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema, thiserror::Error)]
#[error("{message}")]
pub struct ApiError {
    /// For programs.
    pub code: ErrorCode,
    /// For people: what is wrong, in one sentence.
    pub message: String,
    /// For people: what to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

/// What kind of error it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// The request is not well-formed, or a value is out of range.
    BadRequest,
    /// The peer may not use this supervisor.
    Denied,
    /// There is no such app or operation.
    NotFound,
    /// The path is not part of the API.
    UnknownRoute,
    /// The path is known, but not with this method.
    MethodNotAllowed,
    /// The state of the app does not allow it.
    Conflict,
    /// Another operation of the app has to end first: the same may succeed later.
    Busy,
    /// The body is larger than allowed.
    TooLarge,
    /// The request took too long to arrive.
    RequestTimeout,
    /// A spec is not valid.
    InvalidSpec,
    /// Too many connections or streams are open.
    TooMany,
    /// The supervisor is starting or stopping; try again.
    Unavailable,
    /// A fault of musher.
    Internal,
    /// A worker ended before it was ready.
    WorkerDied,
    /// A worker did not prove ready in time.
    NotReady,
    /// A worker could not be executed.
    SpawnFailed,
    /// An address could not be bound.
    BindFailed,
    /// The operation was given up because a newer one took its place.
    Superseded,
    /// The new version failed its trial.
    CanaryFailed,
    /// The slot restarted too often and gave up.
    GaveUp,
    /// A hook before it failed, so that nothing was done.
    HookFailed,
    /// Another app, which this one needs, failed or took too long.
    DependencyFailed,
    /// An executable cannot take over; nothing was changed, or the one before was gone back to.
    CannotTakeOver,
    /// A code that this version does not know.
    #[serde(other)]
    Other,
}

impl ErrorCode {
    /// The HTTP status of an answer with this code.
    pub fn http_status(self) -> u16 {
        match self {
            ErrorCode::BadRequest => 400,
            ErrorCode::Denied => 403,
            ErrorCode::NotFound | ErrorCode::UnknownRoute => 404,
            ErrorCode::MethodNotAllowed => 405,
            ErrorCode::RequestTimeout => 408,
            ErrorCode::Conflict | ErrorCode::Busy | ErrorCode::Superseded => 409,
            ErrorCode::TooLarge => 413,
            ErrorCode::InvalidSpec => 422,
            ErrorCode::TooMany => 429,
            ErrorCode::Unavailable => 503,
            ErrorCode::Internal
            | ErrorCode::WorkerDied
            | ErrorCode::NotReady
            | ErrorCode::SpawnFailed
            | ErrorCode::BindFailed
            | ErrorCode::CanaryFailed
            | ErrorCode::GaveUp
            | ErrorCode::DependencyFailed
            | ErrorCode::HookFailed
            | ErrorCode::CannotTakeOver
            | ErrorCode::Other => 500,
        }
    }
}

impl ApiError {
    /// An error without a hint.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> ApiError {
        ApiError { code, message: message.into(), hint: None }
    }

    /// The same error with a hint.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> ApiError {
        self.hint = Some(hint.into());
        self
    }

    /// [`ErrorCode::BadRequest`].
    pub fn bad_request(message: impl Into<String>) -> ApiError {
        ApiError::new(ErrorCode::BadRequest, message)
    }

    /// [`ErrorCode::NotFound`].
    pub fn not_found(message: impl Into<String>) -> ApiError {
        ApiError::new(ErrorCode::NotFound, message)
    }

    /// [`ErrorCode::Conflict`].
    pub fn conflict(message: impl Into<String>) -> ApiError {
        ApiError::new(ErrorCode::Conflict, message)
    }

    /// [`ErrorCode::Unavailable`].
    pub fn unavailable(message: impl Into<String>) -> ApiError {
        ApiError::new(ErrorCode::Unavailable, message)
    }

    /// [`ErrorCode::Internal`].
    pub fn internal(message: impl Into<String>) -> ApiError {
        ApiError::new(ErrorCode::Internal, message)
    }
}
