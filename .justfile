# What people run here, by name. `just --list` shows it.

# The engine with defaults.
run *args:
    cargo run --release -- serve {{ args }}

# All tests.
test:
    cargo test --workspace

# Everything that must hold before a change lands.
ci:
    .ci/run

# Published clients and other engines against a real engine.
clients:
    .ci/clients

# Benchmarks per stage, `just bench query/files` for some of them.
bench *filter:
    cargo bench -p bench -- {{ filter }}

# A long run of `kill -9` under load.
kill rounds="500":
    BUSBAR_KILL_ROUNDS={{ rounds }} cargo test -p api --test e2e kill -- --nocapture

# The README's measurement, against an engine that runs with defaults.
measure:
    cargo build --release -p api -p loadgen
    ./target/release/loadgen fleet --shape four-fields --series 1000 --rows 3000000 --rate 0 --connections 2 --prepare
