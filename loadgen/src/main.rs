//! Busbar.
fn main() {}
