//! musher-process
