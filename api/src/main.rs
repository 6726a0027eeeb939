//! Busbar.
mod problem;
mod routes;

fn main() {}
