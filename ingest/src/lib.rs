//! Busbar's sources.
//!
//! Purpose: take what devices and clients send, and hand it to storage. This crate knows protocols, and does not
//! know HTTP routes, SQL, files, or alert rules.

pub mod line_protocol;
pub mod mqtt;
pub mod row;
