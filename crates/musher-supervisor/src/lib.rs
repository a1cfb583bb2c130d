//! musher-supervisor
