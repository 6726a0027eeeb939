//! failpoints.
