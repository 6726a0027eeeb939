//! Line protocol, written by hand: escapes, field types, numbers.
//!
//! Invariant: what is written parses back to the same names and values in every server version, or it
//! is an [`EncodeError`]. So names with a line end, a tab, or a backslash at the end, before an escape
//! or before another backslash are refused: there is no way to write them that all versions read alike.

use std::io::Write;

/// A value of one field.
#[derive(Debug, Clone, PartialEq)]
pub enum FieldValue {
    /// Written with the shortest digits that give the same float64.
    Float(f64),
    /// Written with the suffix `i`.
    Integer(i64),
    /// Written as `true` or `false`.
    Boolean(bool),
    /// Written between double quotes.
    Text(Box<str>),
}

/// Why a row has no line.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum EncodeError {
    /// A name or tag value is empty.
    #[error("a {0} is empty: give it a name, or leave it out")]
    Empty(&'static str),
    /// A name or tag value cannot be written so that it is read back the same.
    #[error(
        "the {what} {text:?} cannot be written: remove line ends, tabs, a backslash at the end or before a comma, space or =, and a # at the beginning of a table"
    )]
    Unwritable {
        /// Table, key or tag value.
        what: &'static str,
        /// The offending text.
        text: String,
    },
    /// NaN and infinities have no line protocol.
    #[error("the number {0} has no line protocol: leave the value out")]
    NotFinite(f64),
}

/// The table's name with its escapes.
pub fn escape_table(name: &str) -> Result<String, EncodeError> {
    if name.starts_with('#') {
        return Err(EncodeError::Unwritable { what: "table", text: name.to_owned() });
    }
    escape(name, "table", &[',', ' '])
}

/// A tag key, tag value or field key with its escapes; `what` names it in errors.
pub fn escape_key(name: &str, what: &'static str) -> Result<String, EncodeError> {
    escape(name, what, &[',', '=', ' '])
}

/// `table,key=value,...` with the tags in the order given, escaped. Empty tag values are left out.
pub fn series(table: &str, tags: &[(&str, &str)]) -> Result<String, EncodeError> {
    let mut head = escape_table(table)?;
    for (key, value) in tags.iter().filter(|(_, value)| !value.is_empty()) {
        head.push(',');
        head.push_str(&escape_key(key, "tag key")?);
        head.push('=');
        head.push_str(&escape_key(value, "tag value")?);
    }
    Ok(head)
}

/// Appends the field's value as line protocol writes it.
pub fn push_value(buffer: &mut Vec<u8>, value: &FieldValue) -> Result<(), EncodeError> {
    match value {
        FieldValue::Float(number) if !number.is_finite() => return Err(EncodeError::NotFinite(*number)),
        FieldValue::Float(number) => push_display(buffer, number),
        FieldValue::Integer(number) => {
            push_display(buffer, number);
            buffer.push(b'i');
        }
        FieldValue::Boolean(truth) => buffer.extend_from_slice(if *truth { b"true" } else { b"false" }),
        FieldValue::Text(text) => {
            buffer.push(b'"');
            for byte in text.bytes() {
                if matches!(byte, b'"' | b'\\') {
                    buffer.push(b'\\');
                }
                buffer.push(byte);
            }
            buffer.push(b'"');
        }
    }
    Ok(())
}

/// Appends `scaled / 10^decimals` as a plain decimal number: 2143 with 2 decimals is `21.43`.
pub fn push_fixed(buffer: &mut Vec<u8>, scaled: i64, decimals: u32) {
    let divisor = 10_i64.pow(decimals);
    if scaled < 0 {
        buffer.push(b'-');
    }
    push_display(buffer, &(scaled.unsigned_abs() / divisor.unsigned_abs()));
    if decimals == 0 {
        return;
    }
    buffer.push(b'.');
    let mut rest = scaled.unsigned_abs() % divisor.unsigned_abs();
    let mut place = divisor.unsigned_abs() / 10;
    while place > 0 {
        buffer.push(b'0'.saturating_add(u8::try_from(rest / place).unwrap_or(0)));
        rest %= place;
        place /= 10;
    }
}

/// Appends ` time` and the line end.
pub fn push_time(buffer: &mut Vec<u8>, time_ns: i64) {
    buffer.push(b' ');
    push_display(buffer, &time_ns);
    buffer.push(b'\n');
}

fn push_display(buffer: &mut Vec<u8>, value: &impl std::fmt::Display) {
    let written = write!(buffer, "{value}");
    debug_assert!(written.is_ok(), "writing into a Vec does not fail");
}

fn escape(text: &str, what: &'static str, special: &[char]) -> Result<String, EncodeError> {
    if text.is_empty() {
        return Err(EncodeError::Empty(what));
    }
    // A backslash before an escape: v1 and v3 read `\\,` differently.
    let ambiguous = text.split('\\').skip(1).any(|after| after.is_empty() || after.starts_with(special));
    if ambiguous || text.contains(['\n', '\r', '\t']) {
        return Err(EncodeError::Unwritable { what, text: text.to_owned() });
    }
    let mut escaped = String::with_capacity(text.len() + 4);
    for letter in text.chars() {
        if special.contains(&letter) {
            escaped.push('\\');
        }
        escaped.push(letter);
    }
    Ok(escaped)
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::indexing_slicing,
        reason = "a test fails by panicking"
    )]
    use super::*;
    use influxdb_line_protocol::{FieldValue as Parsed, parse_lines};
    use proptest::prelude::*;

    fn line(table: &str, tag: (&str, &str), field: &str, value: &FieldValue) -> Result<String, EncodeError> {
        let mut buffer = series(table, &[tag])?.into_bytes();
        buffer.push(b' ');
        buffer.extend_from_slice(escape_key(field, "field")?.as_bytes());
        buffer.push(b'=');
        push_value(&mut buffer, value)?;
        push_time(&mut buffer, 1_422_886_740_000_000_000);
        Ok(String::from_utf8(buffer).unwrap())
    }

    fn check_round_trip(table: &str, tag: (&str, &str), field: &str, value: &FieldValue) {
        let Ok(text) = line(table, tag, field, value) else { return };
        let parsed: Vec<_> = parse_lines(&text).collect();
        assert_eq!(parsed.len(), 1, "{text:?}");
        let parsed = parsed[0].as_ref().unwrap_or_else(|error| panic!("{text:?}: {error}"));
        assert_eq!(parsed.series.measurement.as_str(), table, "{text:?}");
        let tags = parsed.series.tag_set.as_ref().unwrap();
        assert_eq!((tags[0].0.as_str(), tags[0].1.as_str()), tag, "{text:?}");
        assert_eq!(parsed.field_set[0].0.as_str(), field, "{text:?}");
        match (&parsed.field_set[0].1, value) {
            (Parsed::F64(found), FieldValue::Float(sent)) => assert_eq!(found.to_bits(), sent.to_bits()),
            (Parsed::I64(found), FieldValue::Integer(sent)) => assert_eq!(found, sent),
            (Parsed::Boolean(found), FieldValue::Boolean(sent)) => assert_eq!(found, sent),
            (Parsed::String(found), FieldValue::Text(sent)) => assert_eq!(found.as_str(), &**sent),
            other => panic!("the type changed: {other:?}"),
        }
        assert_eq!(parsed.timestamp, Some(1_422_886_740_000_000_000));
    }

    fn any_value() -> impl Strategy<Value = FieldValue> {
        prop_oneof![
            any::<f64>().prop_filter("finite", |n| n.is_finite()).prop_map(FieldValue::Float),
            any::<i64>().prop_map(FieldValue::Integer),
            any::<bool>().prop_map(FieldValue::Boolean),
            "[ -~\n°é]{0,12}".prop_map(|text| FieldValue::Text(text.into())),
        ]
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_the_same(
            table in "[ -~°µ]{1,8}", key in "[ -~é]{1,8}", tag in "[ -~é]{1,8}", field in "[ -~é]{1,8}", value in any_value(),
        ) {
            check_round_trip(&table, (&key, &tag), &field, &value);
        }

        #[test]
        fn fixed_decimals_are_the_number(scaled in -1_000_000_000_i64..1_000_000_000, decimals in 0_u32..5) {
            let mut buffer = Vec::new();
            push_fixed(&mut buffer, scaled, decimals);
            let text = String::from_utf8(buffer).unwrap();
            let expected = format!("{:.*}", decimals as usize, scaled as f64 / 10_f64.powi(decimals as i32));
            prop_assert_eq!(text.trim_start_matches('-'), expected.trim_start_matches('-'));
            prop_assert_eq!(text.starts_with('-'), scaled < 0);
        }
    }

    #[test]
    fn commas_spaces_equals_and_quotes_are_escaped() {
        let value = FieldValue::Text("say \"hi\" \\ there".into());
        let text = line("my table,a=b", ("room no", "1,2=3"), "light level", &value).unwrap();
        assert_eq!(
            text,
            "my\\ table\\,a=b,room\\ no=1\\,2\\=3 light\\ level=\"say \\\"hi\\\" \\\\ there\" 1422886740000000000\n"
        );
    }

    #[test]
    fn what_no_server_reads_back_is_refused() {
        let one = FieldValue::Integer(1);
        for (table, tag, field) in [
            ("a\nb", ("k", "v"), "f"),
            ("#a", ("k", "v"), "f"),
            ("a", ("k\\", "v"), "f"),
            ("a", ("k", "v\\"), "f"),
            ("a", ("k", "v\\,w"), "f"),
            ("a", ("k", "v\\\\w"), "f"),
            ("a", ("k", "v"), "f\t"),
            ("", ("k", "v"), "f"),
        ] {
            assert!(line(table, tag, field, &one).is_err(), "{table:?} {tag:?} {field:?}");
        }
        assert!(line("a", ("k", "v"), "f", &FieldValue::Float(f64::NAN)).is_err());
    }
}
