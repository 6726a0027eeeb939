//! Arbitrary bytes.

use proptest::prelude::*;

use crate::line_protocol::lines;
use crate::line_protocol::oracle::invariants::check;

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
        check(&data);
    }

    #[test]
    fn arbitrary_pieces_of_line_protocol_never_panic(data in pieces()) {
        check(&data);
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
