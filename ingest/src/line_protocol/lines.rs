//! Cuts a body into lines.
//!
//! A newline ends a line unless it stands inside the quoted text of a field. A quote opens a text only right
//! after the `=` of a field, so quotes in comments, tags, names and timestamps mean nothing. A text may run over
//! newlines only if it is closed properly: if it has no end, or if something else than a comma or a space follows
//! the end, then the quote was a mistake, and the line is ended at its first newline.
//!
//! To stay linear, a body is not searched twice for the end of a text: once a text was found broken up to some
//! place, the lines before that place are each ended at their first newline.

use memchr::memchr;

use super::escape;

/// One line of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RawLine<'a> {
    /// The number of the line in the body, from 1, counting every newline before it.
    pub number: usize,
    /// The line: not empty, without blanks before it, the newline, and one carriage return before that.
    pub bytes: &'a [u8],
}

/// Cuts a body into lines, leaving out blank lines and comments.
#[must_use]
pub fn lines(body: &[u8]) -> Lines<'_> {
    Lines { body, at: 0, number: 1, next_quote: 0, broken_until: 0 }
}

/// The lines of a body: see [`lines`].
#[derive(Debug, Clone)]
pub struct Lines<'a> {
    body: &'a [u8],
    /// Where the next line begins.
    at: usize,
    /// The number of the next line.
    number: usize,
    /// The first quote at or behind `at`, once it was searched; never behind it.
    next_quote: usize,
    /// Texts that begin before this place have no proper end.
    broken_until: usize,
}

impl<'a> Iterator for Lines<'a> {
    type Item = RawLine<'a>;

    fn next(&mut self) -> Option<RawLine<'a>> {
        loop {
            let rest = self.body.get(self.at..).filter(|rest| !rest.is_empty())?;
            let blanks = rest.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
            let start = self.at + blanks;
            let number = self.number;
            let newline = memchr(b'\n', rest).map_or(self.body.len(), |offset| self.at + offset);
            let end = self.end_of_line(start, newline);
            self.at = end + 1;
            self.number += 1;
            let bytes = self.body.get(start..end).unwrap_or_default();
            let bytes = bytes.strip_suffix(b"\r").unwrap_or(bytes);
            if !matches!(bytes.first(), None | Some(b'#')) {
                return Some(RawLine { number, bytes });
            }
        }
    }
}

impl Lines<'_> {
    /// Where the line that begins at `start` and whose first newline is at `newline` ends.
    fn end_of_line(&mut self, start: usize, newline: usize) -> usize {
        if self.next_quote < start {
            let rest = self.body.get(start..).unwrap_or_default();
            self.next_quote = memchr(b'"', rest).map_or(self.body.len(), |offset| start + offset);
        }
        if self.next_quote >= newline || self.body.get(start) == Some(&b'#') {
            return newline;
        }
        self.end_of_quoted_line(start, newline)
    }

    fn end_of_quoted_line(&mut self, start: usize, newline: usize) -> usize {
        let line = self.body.get(start..newline).unwrap_or_default();
        let Some(space) = escape::find_unescaped(line, b' ') else { return newline };
        let mut at = start + space;
        let mut after_text = false;
        loop {
            let text = match next_text(self.body, at, after_text) {
                Next::Text(text) => text,
                Next::End(end) => {
                    self.number += count_newlines(self.body.get(start..end).unwrap_or_default());
                    return end;
                }
            };
            let known_broken = text < self.broken_until;
            let window = if known_broken { newline } else { self.body.len() };
            match self.body.get(text..window).and_then(escape::end_of_text) {
                Some(length) if ends_properly(self.body, text + length + 1) => {
                    at = text + length + 1;
                    after_text = true;
                }
                // Within the first line the mistake is for the fields to tell.
                Some(length) if text + length < newline => return newline,
                found => {
                    let reached = found.map_or(window, |length| text + length);
                    self.broken_until = self.broken_until.max(reached);
                    return newline;
                }
            }
        }
    }
}

enum Next {
    /// A text begins here, behind its quote.
    Text(usize),
    /// The line ends here.
    End(usize),
}

/// Looks from `at`, a place among the fields and outside of texts, for what comes first. `seen_field` says whether
/// a blank here ends the fields, because one came before.
fn next_text(body: &[u8], at: usize, mut seen_field: bool) -> Next {
    let mut bytes = body.iter().enumerate().skip(at);
    let mut after_equals = false;
    let mut in_fields = true;
    while let Some((place, byte)) = bytes.next() {
        match byte {
            b'\n' => return Next::End(place),
            b'"' if after_equals && in_fields => return Next::Text(place + 1),
            b'\\' if in_fields => {
                // An escaped newline is still the end of the line: a bad line must not cost the next one.
                if body.get(place + 1) != Some(&b'\n') {
                    bytes.next();
                }
                seen_field = true;
                after_equals = false;
            }
            b' ' | b'\t' => {
                in_fields = in_fields && !seen_field;
                after_equals = false;
            }
            byte => {
                seen_field = true;
                after_equals = *byte == b'=';
            }
        }
    }
    Next::End(body.len())
}

fn ends_properly(body: &[u8], behind_quote: usize) -> bool {
    matches!(body.get(behind_quote), None | Some(b',' | b' ' | b'\t' | b'\r' | b'\n'))
}

fn count_newlines(bytes: &[u8]) -> usize {
    memchr::memchr_iter(b'\n', bytes).count()
}
