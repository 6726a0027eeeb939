//! Parquet's hybrid of runs and packed bits, for dictionary indices and definition levels.
//! <https://parquet.apache.org/docs/file-format/data-pages/encodings/#RLE>

/// Values of one group of packed bits.
const GROUP: usize = 8;

/// Encodes values that come as runs. A run costs a byte or two and its value; fewer than [`GROUP`] equal values
/// are packed.
#[derive(Debug)]
pub(super) struct Hybrid {
    bit_width: u32,
    out: Vec<u8>,
    /// Values that will be packed: whole groups, but for the last one.
    packed: Vec<u32>,
}

impl Hybrid {
    /// An encoder of values below 2^`bit_width` that appends to `out`.
    pub(super) fn new(bit_width: u32, out: Vec<u8>) -> Self {
        Self { bit_width, out, packed: Vec::new() }
    }

    /// Adds `count` times `value`.
    pub(super) fn push(&mut self, value: u32, mut count: usize) {
        // A group that was begun must be filled before a run.
        let missing = self.packed.len().next_multiple_of(GROUP) - self.packed.len();
        let fill = missing.min(count);
        self.packed.extend(std::iter::repeat_n(value, fill));
        count -= fill;
        if count < GROUP {
            self.packed.extend(std::iter::repeat_n(value, count));
            return;
        }
        self.flush_packed();
        self.header((count as u64) << 1);
        let bytes = self.bit_width.div_ceil(8) as usize;
        self.out.extend(value.to_le_bytes().iter().take(bytes));
    }

    /// Ends the values and gives the bytes.
    pub(super) fn finish(mut self) -> Vec<u8> {
        self.flush_packed();
        self.out
    }

    /// Writes the packed values, the last group filled up with zeros, which readers do not count.
    fn flush_packed(&mut self) {
        if self.packed.is_empty() {
            return;
        }
        self.packed.resize(self.packed.len().next_multiple_of(GROUP), 0);
        self.header(((self.packed.len() / GROUP) as u64) << 1 | 1);
        let (mut bits, mut filled) = (0_u64, 0);
        for value in self.packed.drain(..) {
            bits |= u64::from(value) << filled;
            filled += self.bit_width;
            while filled >= 8 {
                self.out.extend(bits.to_le_bytes().first());
                bits >>= 8;
                filled -= 8;
            }
        }
    }

    /// A number in LEB128.
    fn header(&mut self, mut number: u64) {
        loop {
            let low = (number & 0x7f) as u8;
            number >>= 7;
            if number == 0 {
                return self.out.push(low);
            }
            self.out.push(low | 0x80);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Hybrid;

    fn encoded(bit_width: u32, runs: &[(u32, usize)]) -> Vec<u8> {
        let mut hybrid = Hybrid::new(bit_width, Vec::new());
        runs.iter().for_each(|(value, count)| hybrid.push(*value, *count));
        hybrid.finish()
    }

    #[test]
    fn runs_are_two_bytes_and_few_values_are_packed() {
        assert_eq!(encoded(1, &[(1, 20_000)]), [0xc0, 0xb8, 0x02, 1]);
        assert_eq!(encoded(9, &[(300, 8)]), [16, 44, 1]);
        // The example of the format's documentation: 0 to 7 in three bits each.
        let numbers: Vec<_> = (0..8).map(|value| (value, 1)).collect();
        assert_eq!(encoded(3, &numbers), [0b11, 0b1000_1000, 0b1100_0110, 0b1111_1010]);
        // A run fills the group before it and begins after it.
        assert_eq!(encoded(1, &[(0, 3), (1, 5 + 8)]), [0b11, 0b1111_1000, 16, 1]);
        assert_eq!(encoded(1, &[(1, 3)]), [0b11, 0b111]);
    }
}
