//! Bodies of line protocol, held against another parser and against the parser's own slow ways.
#![no_main]

use ingest::line_protocol::oracle;

libfuzzer_sys::fuzz_target!(|body: &[u8]| oracle::check(body));
