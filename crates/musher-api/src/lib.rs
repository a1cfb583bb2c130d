//! musher-api
