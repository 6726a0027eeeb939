//! The parser and the crate `influxdb-line-protocol`.

use proptest::prelude::*;

use super::harness::pieces;
use super::round_trip::point;
use crate::line_protocol::lines;
use crate::line_protocol::oracle::influxdb::{check, parse};
use crate::line_protocol::oracle::{read, writer};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn both_parsers_agree_on_any_pieces(data in pieces()) {
        for line in lines(&data) {
            check(std::str::from_utf8(line.bytes).unwrap());
        }
    }

    #[test]
    fn both_parsers_agree_on_written_points(point in point()) {
        check(&writer::write(&point));
    }
}

#[test]
fn the_known_differences_are_still_there() {
    for lenient in ["m f=.5", "m f=5.", "m f=+5", "m f=1.e5", "m f=1 ", "m\tx f=1"] {
        assert!(read(lenient.as_bytes()).is_ok() && parse(lenient).is_none(), "{lenient:?}");
    }
    for strict in ["m,a=b,a=c f=1", "m,a,b=c f=1", "m,,b=c f=1", "m f=1,", "m,a=b ,f=1"] {
        assert!(read(strict.as_bytes()).is_err() && parse(strict).is_some(), "{strict:?}");
    }
}
