//! Numbers of a fixed width one after the other, the lowest bit first, as both of Parquet's encodings have them.

/// Bits of the accumulator.
const WORD: u32 = u64::BITS;

/// Appends numbers below 2^`width`, and zero bits up to the next byte.
pub(super) fn append(numbers: impl Iterator<Item = u64>, width: u32, out: &mut Vec<u8>) {
    if width == 0 {
        return;
    }
    let (mut bits, mut filled) = (0_u64, 0);
    for number in numbers {
        bits |= number << filled;
        filled += width;
        if filled >= WORD {
            out.extend_from_slice(&bits.to_le_bytes());
            filled -= WORD;
            // What did not fit; a shift by the whole width would be none.
            bits = number.checked_shr(width - filled).unwrap_or_default();
        }
    }
    out.extend(bits.to_le_bytes().iter().take(filled.div_ceil(8) as usize));
}

/// Appends a number in LEB128.
pub(super) fn append_leb128(mut number: u64, out: &mut Vec<u8>) {
    loop {
        let low = (number & 0x7f) as u8;
        number >>= 7;
        if number == 0 {
            return out.push(low);
        }
        out.push(low | 0x80);
    }
}

#[cfg(test)]
mod tests {
    use super::{append, append_leb128};

    #[test]
    fn numbers_are_packed_from_the_lowest_bit_at_any_width() {
        let packed = |numbers: &[u64], width| {
            let mut out = Vec::new();
            append(numbers.iter().copied(), width, &mut out);
            out
        };
        // The example of the format's documentation: 0 to 7 in three bits each.
        assert_eq!(packed(&[0, 1, 2, 3, 4, 5, 6, 7], 3), [0b1000_1000, 0b1100_0110, 0b1111_1010]);
        assert_eq!(packed(&[1, 1, 1], 1), [0b111]);
        assert!(packed(&[7; 4], 0).is_empty());
        let mut words = 3_u64.to_le_bytes().to_vec();
        words.extend(u64::MAX.to_le_bytes());
        assert_eq!(packed(&[3, u64::MAX], 64), words);
        for width in 1..=64 {
            let numbers: Vec<u64> =
                (0..100_u64).map(|i| i.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> (64 - width)).collect();
            let bytes = packed(&numbers, width);
            let bit = |at: usize| u64::from(bytes[at / 8] >> (at % 8) & 1);
            let width = width as usize;
            let number = |i: usize| (0..width).fold(0, |sum, b| sum | bit(i * width + b) << b);
            assert_eq!((0..100).map(number).collect::<Vec<_>>(), numbers, "{width}");
        }
    }

    #[test]
    fn leb128_has_seven_bits_a_byte() {
        let mut out = Vec::new();
        [0, 127, 128, 624_485].into_iter().for_each(|number| append_leb128(number, &mut out));
        assert_eq!(out, [0, 127, 0x80, 1, 0xE5, 0x8E, 0x26]);
    }
}
