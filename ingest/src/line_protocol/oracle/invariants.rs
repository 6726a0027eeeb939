//! What holds for any bytes whatever.

use crate::line_protocol::{Dialect, Line, LineError, Precision, lines, parse_series};

/// Reads arbitrary bytes in every way there is, and checks what must always hold.
pub(in crate::line_protocol) fn check(data: &[u8]) {
    let mut last_number = 0;
    let mut seen = 0;
    for line in lines(data) {
        assert!(line.number > last_number, "numbers rise");
        last_number = line.number;
        seen += line.bytes.len();
        assert!(!matches!(line.bytes.first(), None | Some(b' ' | b'\t' | b'#' | b'\n')));
        if let Err(error) = check_line(line.bytes) {
            for dialect in [Dialect::V1, Dialect::V2, Dialect::V3] {
                assert!(!error.reason(dialect).is_empty());
            }
            assert!(!error.to_string().is_empty());
        }
    }
    assert!(seen <= data.len(), "no byte is in two lines");
}

fn check_line(bytes: &[u8]) -> Result<(), LineError> {
    let line = Line::split(bytes)?;
    assert!(!line.series.is_empty());
    for precision in [Precision::Auto, Precision::Hour] {
        if let Some(raw) = line.timestamp {
            precision.to_nanos(raw).ok();
        }
    }
    let mut fields = line.fields();
    let mut count = 0;
    while let Some(field) = fields.next() {
        count += 1;
        match field {
            Ok(field) => assert!(!field.key.is_empty()),
            Err(error) => {
                assert!(fields.next().is_none(), "nothing after an error");
                return Err(error);
            }
        }
    }
    assert!(count > 0);
    let series = parse_series(line.series)?;
    assert!(!series.measurement.is_empty());
    assert!(series.tags.iter().all(|(key, value)| !key.is_empty() && !value.is_empty()));
    Ok(())
}
