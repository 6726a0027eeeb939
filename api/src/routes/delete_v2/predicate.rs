//! InfluxDB 2's delete predicate: `_measurement="room" AND host="a"`.
//!
//! `=` and `AND` are what it documents; whatever else could be meant is refused, because a delete must not guess. Names
//! and values stand in quotes, or are words of letters, digits and `_`.

use storage::model::TagTest;

/// The column that stands for the table.
const MEASUREMENT: &str = "_measurement";

/// Columns by which no row can be deleted.
const NOT_TAGS: [&str; 3] = ["_time", "_field", "_value"];

/// A predicate, understood.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Predicate {
    /// The table, if one is named.
    pub(super) table: Option<String>,
    /// The tests of tags.
    pub(super) tags: Vec<TagTest>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Word(String),
    Quoted(String),
    Equals,
}

/// Reads a predicate; an empty one holds for every row.
///
/// # Errors
/// What is wrong with it.
pub(super) fn parse(text: &str) -> Result<Predicate, String> {
    let tokens = tokens(text)?;
    let mut predicate = Predicate::default();
    let mut rest = tokens.as_slice();
    while !rest.is_empty() {
        let ([name, Token::Equals, value, others @ ..], false) = (rest, rest.len() < 3) else {
            return Err(unreadable(text));
        };
        let (Some(name), Some(value)) = (name.text(), value.text()) else { return Err(unreadable(text)) };
        predicate.add(name, value)?;
        rest = match others {
            [] => others,
            [Token::Word(and), next @ ..] if and.eq_ignore_ascii_case("and") && !next.is_empty() => next,
            [Token::Word(or), ..] if or.eq_ignore_ascii_case("or") => {
                return Err(
                    "a predicate may join tests with AND only: send a delete for each side of OR".into()
                );
            }
            _ => return Err(unreadable(text)),
        };
    }
    Ok(predicate)
}

impl Predicate {
    fn add(&mut self, name: &str, value: &str) -> Result<(), String> {
        if NOT_TAGS.contains(&name) {
            return Err(format!(
                "{name} cannot be in a predicate: name _measurement and tags, and give the times as start and stop"
            ));
        }
        if name != MEASUREMENT {
            self.tags.push(TagTest::is(name, value));
            return Ok(());
        }
        match self.table.replace(value.to_owned()) {
            Some(before) if before != value => {
                Err("no row is in two measurements: name one _measurement".into())
            }
            _ => Ok(()),
        }
    }
}

impl Token {
    fn text(&self) -> Option<&str> {
        match self {
            Self::Word(text) | Self::Quoted(text) => Some(text),
            Self::Equals => None,
        }
    }
}

fn tokens(text: &str) -> Result<Vec<Token>, String> {
    let mut tokens = Vec::new();
    let mut rest = text.chars().peekable();
    while let Some(next) = rest.next() {
        let token = match next {
            _ if next.is_whitespace() => continue,
            '=' if rest.peek() == Some(&'~') => return Err(operator("=~")),
            '=' => Token::Equals,
            '!' | '<' | '>' => return Err(operator(&next.to_string())),
            '"' | '\'' => Token::Quoted(quoted(next, &mut rest).ok_or_else(|| unreadable(text))?),
            _ if is_of_word(next) => {
                let mut word = String::from(next);
                while let Some(next) = rest.next_if(|next| is_of_word(*next)) {
                    word.push(next);
                }
                Token::Word(word)
            }
            _ => return Err(unreadable(text)),
        };
        tokens.push(token);
    }
    Ok(tokens)
}

/// What stands before the closing quote; a backslash takes the next character as it is.
fn quoted(quote: char, rest: &mut impl Iterator<Item = char>) -> Option<String> {
    let mut text = String::new();
    loop {
        match rest.next()? {
            '\\' => text.push(rest.next()?),
            next if next == quote => return Some(text),
            next => text.push(next),
        }
    }
}

fn is_of_word(next: char) -> bool {
    next.is_alphanumeric() || next == '_'
}

fn operator(found: &str) -> String {
    format!("a predicate may compare with = only, not with {found}")
}

fn unreadable(text: &str) -> String {
    format!(r#"the predicate {text:?} cannot be read: write it as _measurement="room" AND host="a""#)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use storage::model::TagTest;

    use super::{Predicate, parse};

    #[test]
    fn measurement_and_tags_are_found_with_and_without_quotes() {
        let cases = [
            ("", None, vec![]),
            (r#"_measurement="room""#, Some("room"), vec![]),
            ("_measurement=room and host = a1", Some("room"), vec![("host", "a1")]),
            (r#""host"='ä "c"' AND "and"="\"=\\""#, None, vec![("host", "ä \"c\""), ("and", "\"=\\")]),
            (r#"AND="x""#, None, vec![("AND", "x")]),
        ];
        for (text, table, tags) in cases {
            let tags = tags.into_iter().map(|(tag, value)| TagTest::is(tag, value)).collect();
            assert_eq!(parse(text).unwrap(), Predicate { table: table.map(Into::into), tags }, "{text}");
        }
    }

    #[test]
    fn what_could_mean_something_else_is_refused_with_a_way_out() {
        let cases = [
            ("a=b OR c=d", "a delete for each side"),
            ("a!=b", "with = only"),
            ("a=~b", "with = only"),
            ("a>b", "with = only"),
            ("_time=1", "start and stop"),
            ("_field=t", "_field cannot"),
            ("_measurement=a AND _measurement=b", "two measurements"),
            ("a=b AND", "cannot be read"),
            ("a=b c=d", "cannot be read"),
            ("a=", "cannot be read"),
            ("=b", "cannot be read"),
            ("a", "cannot be read"),
            ("a==b", "cannot be read"),
            ("(a=b)", "cannot be read"),
            (r#"a="b"#, "cannot be read"),
            ("dash-ed=b", "cannot be read"),
        ];
        for (text, why) in cases {
            let said = parse(text).unwrap_err();
            assert!(said.contains(why), "{text}: {said}");
        }
    }
}
