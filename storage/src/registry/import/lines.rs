//! Cuts a stream of bytes into CSV lines (RFC 4180), whether LF, CRLF or CR alone ends them.
//!
//! Invariants
//! - A line end inside quotes is text; a quote opens only at the begin of a field.
//! - A quote that is never closed, and a line that is too long, cost one physical line: the next one is read as if
//!   nothing had happened.
//! - The buffer never holds more than one line and the bytes of one push.

use csv::StringRecord;

use crate::registry::error::Fault;

/// Bytes of one line: attributes of 16 KiB, quoted, and the rest, with room.
pub const MAX_LINE_BYTES: usize = 64 * 1024;

/// A line with its number.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Line {
    /// From 1, counted in physical lines.
    pub(super) number: u64,
    /// Its fields, or why it has none.
    pub(super) fields: Result<StringRecord, Fault>,
}

/// Where the scan is within a line.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum State {
    #[default]
    FieldStart,
    Plain,
    Quoted,
    /// After a quote in a quoted field: it closed the field, unless another quote follows.
    Closing,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Splitter {
    buffer: Vec<u8>,
    /// The line begins here.
    start: usize,
    /// The scan goes on here.
    at: usize,
    state: State,
    /// Physical lines before `start`.
    lines_before: u64,
    /// Physical line ends between `start` and `at`.
    lines_within: u64,
    /// The last line ended with a CR at the end of the buffer: an LF that follows belongs to it.
    after_cr: bool,
    /// The rest of a line that is too long is skipped up to its end.
    skipping: bool,
    begun: bool,
    finished: bool,
}

impl Splitter {
    /// Adds bytes.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.buffer.drain(..self.start);
        self.at -= self.start;
        self.start = 0;
        self.buffer.extend_from_slice(bytes);
    }

    /// Says that no more bytes come.
    pub(super) fn finish(&mut self) {
        self.finished = true;
    }

    /// The next complete line that is not empty, if there is one.
    pub(super) fn next_line(&mut self) -> Option<Line> {
        if !self.begun {
            const BOM: &[u8] = b"\xef\xbb\xbf";
            if self.buffer.len() < BOM.len() && !self.finished {
                return None;
            }
            self.begun = true;
            if self.buffer.starts_with(BOM) {
                (self.start, self.at) = (BOM.len(), BOM.len());
            }
        }
        loop {
            let Some(&byte) = self.buffer.get(self.at) else {
                return if self.finished { self.last_line() } else { None };
            };
            if std::mem::take(&mut self.after_cr) && byte == b'\n' {
                self.at += 1;
                // Between lines the LF is dropped; within quotes it stays a part of the text.
                if self.state == State::FieldStart && self.at == self.start + 1 {
                    self.start = self.at;
                }
                continue;
            }
            let is_end = byte == b'\n' || byte == b'\r';
            self.at += 1;
            if is_end {
                self.after_cr = byte == b'\r';
            }
            if is_end && (self.skipping || self.state != State::Quoted) {
                if let Some(line) = self.end_line() {
                    return Some(line);
                }
                continue;
            }
            if is_end {
                self.lines_within += 1;
            }
            self.state = step(self.state, byte);
            if self.at - self.start > MAX_LINE_BYTES && !self.skipping {
                return Some(self.give_up("too_long", &format!("is longer than {MAX_LINE_BYTES} bytes")));
            }
            if self.skipping {
                self.start = self.at;
            }
        }
    }

    /// A line end was read at `at - 1`.
    fn end_line(&mut self) -> Option<Line> {
        let bytes = self.buffer.get(self.start..self.at - 1).unwrap_or_default();
        let number = self.lines_before + 1;
        let line = if self.skipping || bytes.is_empty() { None } else { Some(parse(number, bytes)) };
        self.lines_before += self.lines_within + 1;
        self.begin_line(self.at);
        line
    }

    /// What is left when no more bytes come.
    fn last_line(&mut self) -> Option<Line> {
        let bytes = self.buffer.get(self.start..).unwrap_or_default();
        if bytes.is_empty() || self.skipping {
            return None;
        }
        if self.state == State::Quoted {
            return Some(self.give_up("unclosed_quote", "has a quote that is never closed"));
        }
        let line = parse(self.lines_before + 1, bytes);
        self.begin_line(self.buffer.len());
        Some(line)
    }

    /// Reports the line that began at `start` as bad and goes on after its first physical end.
    fn give_up(&mut self, code: &'static str, detail: &str) -> Line {
        let number = self.lines_before + 1;
        let rest = self.buffer.get(self.start..).unwrap_or_default();
        match rest.iter().position(|&byte| byte == b'\n' || byte == b'\r') {
            Some(end) => {
                self.after_cr = rest.get(end) == Some(&b'\r');
                self.lines_before += 1;
                self.begin_line(self.start + end + 1);
            }
            None if self.finished => self.begin_line(self.buffer.len()),
            None => {
                self.begin_line(self.at);
                self.skipping = true;
            }
        }
        let fault = Fault { pointer: String::new(), code, detail: format!("the line {detail}") };
        Line { number, fields: Err(fault) }
    }

    fn begin_line(&mut self, at: usize) {
        self.start = at;
        self.at = at;
        self.state = State::FieldStart;
        self.lines_within = 0;
        self.skipping = false;
    }
}

fn step(state: State, byte: u8) -> State {
    match (state, byte) {
        (State::FieldStart, b'"') | (State::Closing, b'"') => State::Quoted,
        (State::Quoted, b'"') => State::Closing,
        (State::Quoted, _) => State::Quoted,
        (_, b',') => State::FieldStart,
        _ => State::Plain,
    }
}

/// The fields of one complete line.
fn parse(number: u64, bytes: &[u8]) -> Line {
    let mut reader = csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(bytes);
    let mut record = StringRecord::new();
    let fields = match reader.read_record(&mut record) {
        Ok(_) => Ok(record),
        Err(_) => Err(Fault {
            pointer: String::new(),
            code: "bad_utf8",
            detail: "the line is not UTF-8: convert the file first".to_owned(),
        }),
    };
    Line { number, fields }
}
