//! Bodies are cut into lines.

use std::fmt::Write;

use crate::line_protocol::lines;

fn check(body: &str, expected: &[(usize, &str)]) {
    let cut: Vec<_> =
        lines(body.as_bytes()).map(|line| (line.number, std::str::from_utf8(line.bytes).unwrap())).collect();
    assert_eq!(cut, expected, "{body:?}");
}

#[test]
fn blank_lines_and_comments_are_left_out_and_counted() {
    check("", &[]);
    check("\n\r\n \t\n#x\n  # y", &[]);
    check("m f=1", &[(1, "m f=1")]);
    check("\n# c\n \tm f=1\r\nm f=2\n\n", &[(3, "m f=1"), (4, "m f=2")]);
    check("m f=1\r\r\n", &[(1, "m f=1\r")]);
}

#[test]
fn a_text_may_hold_newlines() {
    check("m f=\"a\nb\" 1\nm f=2", &[(1, "m f=\"a\nb\" 1"), (3, "m f=2")]);
    check("m f=\"a\r\nb\"\r\nm f=2", &[(1, "m f=\"a\r\nb\""), (3, "m f=2")]);
    check("m f=1,g=\"\n\",h=\"\n\n\",i=2 5\nm f=2", &[(1, "m f=1,g=\"\n\",h=\"\n\n\",i=2 5"), (5, "m f=2")]);
    check("m f=\"\\\"\n\\\\\"\nm f=2", &[(1, "m f=\"\\\"\n\\\\\""), (3, "m f=2")]);
    check("m f=\"\n#\n\"\n", &[(1, "m f=\"\n#\n\"")]);
}

#[test]
fn quotes_elsewhere_mean_nothing() {
    check("# x=\"\nm f=1", &[(2, "m f=1")]);
    check("m,a=\" f=1\nm f=2", &[(1, "m,a=\" f=1"), (2, "m f=2")]);
    check("\"m\" f=1\nm f=2", &[(1, "\"m\" f=1"), (2, "m f=2")]);
    check("m,a=\"b c=\" f=1\nm f=2", &[(1, "m,a=\"b c=\" f=1"), (2, "m f=2")]);
    check("m f\"=1\nm f=2", &[(1, "m f\"=1"), (2, "m f=2")]);
    check("m f\\=\"=1\nm f=2", &[(1, "m f\\=\"=1"), (2, "m f=2")]);
    check("m f=1 \"\nm f=2", &[(1, "m f=1 \""), (2, "m f=2")]);
    check("m f=\"x\" a=\"\nm f=2", &[(1, "m f=\"x\" a=\""), (2, "m f=2")]);
    check("m=\"\nm f=2", &[(1, "m=\""), (2, "m f=2")]);
}

#[test]
fn an_unclosed_quote_costs_its_line_only() {
    check("m f=\"x\nm f=1\nm f=2", &[(1, "m f=\"x"), (2, "m f=1"), (3, "m f=2")]);
    check("m f=\"", &[(1, "m f=\"")]);
    check("m f=\"x\nm f=\"y\" 1\nm f=2", &[(1, "m f=\"x"), (2, "m f=\"y\" 1"), (3, "m f=2")]);
    check("m f=\"x\nm f=\"y\",g=\"z\"\nm f=2", &[(1, "m f=\"x"), (2, "m f=\"y\",g=\"z\""), (3, "m f=2")]);
    check("m f=\"a\"b\nm f=1", &[(1, "m f=\"a\"b"), (2, "m f=1")]);
    check("m f=\"a\nm f=1\\", &[(1, "m f=\"a"), (2, "m f=1\\")]);
}

#[test]
fn a_backslash_does_not_join_lines() {
    check("m f=1\\\nm f=2", &[(1, "m f=1\\"), (2, "m f=2")]);
    check("m f=1,g\\\n=\"x\nm f=2", &[(1, "m f=1,g\\"), (2, "=\"x"), (3, "m f=2")]);
    check("m g=\"a\",f=1\\\nm f=\"2\"", &[(1, "m g=\"a\",f=1\\"), (2, "m f=\"2\"")]);
}

/// Each line of this body looks like a text that runs to the end of the body: searching it for every line would
/// take 10^11 steps.
#[test]
fn mistaken_quotes_do_not_cost_quadratic_time() {
    let mut body = String::new();
    for _ in 0..300_000 {
        body.push_str("m k\",k=\"\n");
    }
    assert_eq!(lines(body.as_bytes()).count(), 300_000);
    let mut body = String::from("m k=\"\n");
    for _ in 0..300_000 {
        writeln!(body, "m k=\\\"").unwrap();
    }
    assert_eq!(lines(body.as_bytes()).count(), 300_001);
}
