//! musher-cluster
