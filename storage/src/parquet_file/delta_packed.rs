//! Parquet's `DELTA_BINARY_PACKED`: differences between neighbours, less the least of their block, in as few bits as
//! the largest of a miniblock needs. <https://parquet.apache.org/docs/file-format/data-pages/encodings/#DELTAENC>

use super::packed;

/// Values of a block.
const BLOCK: usize = 128;

/// Values of a miniblock, of which a block has four.
const MINIBLOCK: usize = 32;

/// Appends `values`. Differences wrap, as readers add them wrapping.
pub(super) fn append(values: &[i64], out: &mut Vec<u8>) {
    packed::append_leb128(BLOCK as u64, out);
    packed::append_leb128((BLOCK / MINIBLOCK) as u64, out);
    packed::append_leb128(values.len() as u64, out);
    let Some((first, rest)) = values.split_first() else { return zigzag(0, out) };
    zigzag(*first, out);
    let mut before = *first;
    let mut block = [0_i64; BLOCK];
    for values in rest.chunks(BLOCK) {
        for (difference, value) in block.iter_mut().zip(values) {
            *difference = value.wrapping_sub(before);
            before = *value;
        }
        let differences = block.get(..values.len()).unwrap_or_default();
        let least = differences.iter().copied().min().unwrap_or_default();
        zigzag(least, out);
        let above = |difference: &i64| difference.wrapping_sub(least).cast_unsigned();
        let bits = |miniblock: &[i64]| {
            u64::BITS - miniblock.iter().map(above).fold(0, |all, number| all | number).leading_zeros()
        };
        let mut widths = [0_u8; BLOCK / MINIBLOCK];
        for (width, miniblock) in widths.iter_mut().zip(differences.chunks(MINIBLOCK)) {
            *width = u8::try_from(bits(miniblock)).unwrap_or_default();
        }
        out.extend_from_slice(&widths);
        for (width, miniblock) in widths.iter().zip(differences.chunks(MINIBLOCK)) {
            // The last one is filled up, those after it are not there.
            let missing = std::iter::repeat_n(0, MINIBLOCK - miniblock.len());
            packed::append(miniblock.iter().map(above).chain(missing), u32::from(*width), out);
        }
    }
}

/// Appends a signed number in LEB128, small ones first whatever their sign.
fn zigzag(number: i64, out: &mut Vec<u8>) {
    packed::append_leb128((number << 1 ^ number >> 63).cast_unsigned(), out);
}

#[cfg(test)]
mod tests {
    use super::append;

    fn encoded(values: &[i64]) -> Vec<u8> {
        let mut out = Vec::new();
        append(values, &mut out);
        out
    }

    #[test]
    fn the_examples_of_the_documentation_are_encoded_as_it_says() {
        // 1, 2, 3, 4, 5: every difference is the least one, so no bits are left of them.
        assert_eq!(encoded(&[1, 2, 3, 4, 5]), [128, 1, 4, 5, 2, 2, 0, 0, 0, 0]);
        // 7, 5, 3, 1, 2, 3, 4, 5: -2 three times, 1 four times, which is 3 above.
        let mut expected = vec![128, 1, 4, 8, 14, 3, 2, 0, 0, 0, 0b1100_0000, 0b11_1111];
        expected.extend([0; 6]);
        assert_eq!(encoded(&[7, 5, 3, 1, 2, 3, 4, 5]), expected);
        assert_eq!(encoded(&[]), [128, 1, 4, 0, 0]);
        assert_eq!(encoded(&[-1]), [128, 1, 4, 1, 1]);
    }
}
