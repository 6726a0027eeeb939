//! Lines that are read by the fields of another one.

use proptest::prelude::*;

use super::harness::pieces;
use crate::line_protocol::Head;
use crate::line_protocol::oracle::expected::check;

const NAMES: [&str; 4] = ["a", "ab", "b", "temp"];

/// Values with the corners of numbers, truth values and texts, and what only looks like them.
fn value() -> impl Strategy<Value = String> {
    let corner = prop::sample::select(vec![
        "1",
        "0",
        "-0",
        "+3",
        "1.",
        ".5",
        ".",
        "-",
        "",
        "1.5.2",
        "00012",
        "1i",
        "-7i",
        "+7i",
        "1u",
        "-1u",
        "1ii",
        "1i2",
        "1.0i",
        "1e5",
        "1e",
        "t",
        "f",
        "true",
        "false",
        "tru",
        "truex",
        "T",
        "True",
        "TRUE",
        "fa",
        "\"x\"",
        "\"",
        "inf",
        "NaN",
        "9007199254740993",
        "123456789012345678i",
        "9223372036854775808i",
        "18446744073709551615u",
        "12345678901234567890.5",
        "0.1234567890123456789012345",
        "1\\ 2",
        "é",
    ]);
    prop_oneof![
        corner.prop_map(str::to_owned),
        any::<f64>().prop_map(|v| v.to_string()),
        "-?[0-9]{1,20}\\.?[0-9]{0,25}[iu]?"
    ]
}

fn line() -> impl Strategy<Value = Vec<u8>> {
    let field = (prop::sample::select(NAMES.to_vec()), value());
    let timestamp = prop::sample::select(vec![
        "",
        " 5",
        " -5",
        " +5",
        " ",
        "  5",
        " 5 ",
        " 5x",
        "\t5",
        " 1767225600000000000",
        " 99999999999999999999",
        " 5 6",
    ]);
    (prop::collection::vec(field, 0..4), timestamp, prop::sample::select(vec![",", ", ", ",,", " "]))
        .prop_map(|(fields, timestamp, between)| {
            // Seldom anything but a comma.
            let between = if fields.len() == 3 { between } else { "," };
            let fields: Vec<String> = fields.iter().map(|(name, value)| format!("{name}={value}")).collect();
            format!("m,tag=x {}{timestamp}", fields.join(between)).into_bytes()
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn what_is_read_as_expected_is_what_the_line_says(
        line in line(),
        names in prop::collection::vec(prop::sample::select(NAMES.to_vec()), 1..4),
        end in prop_oneof![3 => Just(None), 1 => any::<(usize, u8)>().prop_map(Some)],
    ) {
        let mut line = line;
        if let Some((at, byte)) = end && !line.is_empty() {
            let at = at % line.len();
            line[at] = byte;
        }
        let line: Vec<u8> = line.into_iter().filter(|byte| *byte != b'\n').collect();
        check(&names, &line);
        // Also with the names that it has itself.
        if let Ok(cut) = Head::cut(&line).and_then(|head| head.line())
            && let Ok(fields) = cut.fields().collect::<Result<Vec<_>, _>>()
            && fields.iter().all(|field| NAMES.contains(&&*field.key))
        {
            let names: Vec<&str> = fields.iter().map(|field| &*field.key).collect();
            check(&names, &line);
        }
    }

    #[test]
    fn arbitrary_pieces_are_never_read_as_something_else(data in pieces()) {
        for line in crate::line_protocol::lines(&data) {
            for names in [&["f"][..], &["f", "g"], &["k"], &["v"]] {
                check(names, line.bytes);
            }
        }
    }
}

proptest! {
    #[test]
    fn any_usual_line_is_read_as_expected(
        values in prop::collection::vec("-?[0-9]{1,6}(\\.[0-9]{1,6})?|-?[0-9]{1,18}i|[0-9]{1,18}u|t|f|true|false", 1..=4),
        timestamp in prop::option::of(0..=i64::MAX),
    ) {
        let fields: Vec<String> =
            NAMES.iter().zip(&values).map(|(name, value)| format!("{name}={value}")).collect();
        let timestamp = timestamp.map(|time| format!(" {time}")).unwrap_or_default();
        let line = format!("m,tag=x {}{timestamp}", fields.join(","));
        prop_assert!(check(&NAMES[..values.len()], line.as_bytes()), "{line}");
    }
}

#[test]
fn usual_lines_are_read_as_expected() {
    for line in [
        &b"m,tag=x a=21.5,b=40i,temp=t 1767225600000000000"[..],
        b"m,tag=x a=-0.25,b=-3i,temp=false",
        b"m a=1,b=2u,temp=true 5",
    ] {
        assert!(check(&["a", "b", "temp"], line), "{}", line.escape_ascii());
    }
    for line in [
        &b"m,tag=x a=1 5"[..],
        b"m,tag=x a=1,b=2,temp=3,ab=4 5",
        b"m,tag=x b=1,a=2,temp=3 5",
        b"m,tag=x a=1,b=\"2\",temp=3 5",
        b"m,tag=x a=1,b=2,temp=3 -5",
        b"m,tag=x a=1,b=2,temp= 5",
    ] {
        assert!(!check(&["a", "b", "temp"], line), "{}", line.escape_ascii());
    }
}
