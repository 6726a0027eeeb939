//! Flush is tested through the engine, with crash images at every step: see `engine::tests`.
