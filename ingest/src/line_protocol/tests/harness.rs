//! What must hold for any bytes whatever: the body of a fuzzing harness.

use proptest::prelude::*;

use crate::line_protocol::{Dialect, Line, LineError, Precision, lines, parse_series};

/// Reads arbitrary bytes in every way there is, and checks what must always hold.
pub(super) fn fuzz_lines(data: &[u8]) {
    let mut last_number = 0;
    let mut seen = 0;
    for line in lines(data) {
        assert!(line.number > last_number, "numbers rise");
        last_number = line.number;
        seen += line.bytes.len();
        assert!(!matches!(line.bytes.first(), None | Some(b' ' | b'\t' | b'#' | b'\n')));
        if let Err(error) = fuzz_line(line.bytes) {
            for dialect in [Dialect::V1, Dialect::V2, Dialect::V3] {
                assert!(!error.reason(dialect).is_empty());
            }
            assert!(!error.to_string().is_empty());
        }
    }
    assert!(seen <= data.len(), "no byte is in two lines");
}

fn fuzz_line(bytes: &[u8]) -> Result<(), LineError> {
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

/// Bytes of which line protocol is made, so that chance finds its corners.
pub(super) fn pieces() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        4 => prop::sample::select(vec![
            "m", ",", "=", " ", "\\", "\"", "\n", "#", "\t", "\r", "a", "1", ".", "-", "+", "i", "u", "e", "t",
            "\\\\", "\\\"", "\\\n", "f=\"", "\",", "\" ",
        ]),
        3 => prop::sample::select(vec![
            "m,a=b ", "f=1", ",g=2.5", ",h=\"x\"", " 12\n", "m f=\"", "true", "1e400", "NaN", "inf", "°C",
            "99999999999999999999", "9223372036854775808i", "m k\",k=\"\n", "cpu,host=a v=1i 5\n",
        ]),
    ];
    prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat().into_bytes())
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(data in prop::collection::vec(any::<u8>(), 0..400)) {
        fuzz_lines(&data);
    }

    #[test]
    fn arbitrary_pieces_of_line_protocol_never_panic(data in pieces()) {
        fuzz_lines(&data);
    }

    /// Without quotes, whatever stands before it, a line arrives.
    #[test]
    fn a_bad_line_does_not_cost_the_last_one(data in pieces()) {
        let mut body = data;
        body.retain(|byte| *byte != b'"');
        body.extend_from_slice(b"\nm,a=b f=1 5");
        let last = lines(&body).last().map(|line| line.bytes);
        prop_assert_eq!(last, Some(&b"m,a=b f=1 5"[..]));
    }
}
