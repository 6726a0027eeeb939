//! Parquet's hybrid of runs and packed bits, for dictionary indices and definition levels.
//! <https://parquet.apache.org/docs/file-format/data-pages/encodings/#RLE>

use super::packed;

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
        append_run(value, count, self.bit_width, &mut self.out);
    }

    /// Ends the values and gives the bytes.
    pub(super) fn finish(mut self) -> Vec<u8> {
        self.flush_packed();
        self.out
    }

    fn flush_packed(&mut self) {
        append_packed(&self.packed, self.bit_width, &mut self.out);
        self.packed.clear();
    }
}

/// Appends values below 2^`bit_width` that come one by one.
pub(super) fn append(mut values: &[u32], bit_width: u32, out: &mut Vec<u8>) {
    while !values.is_empty() {
        let (single, run) = up_to_a_run(values, bit_width);
        let (before, rest) = values.split_at_checked(single).unwrap_or((values, &[]));
        append_packed(before, bit_width, out);
        if let Some(value) = rest.first() {
            append_run(*value, run, bit_width, out);
        }
        values = rest.get(run..).unwrap_or_default();
    }
}

/// How many values, whole groups of them, stand before a run that takes fewer bytes than when it is packed; and how
/// many that run has. Without one, all stand before it.
fn up_to_a_run(values: &[u32], bit_width: u32) -> (usize, usize) {
    // Its header and that of what follows it have up to three bytes together in a page.
    let pays = (3 + value_bytes(bit_width)) * 8 / bit_width.max(1) as usize + 1;
    let mut from = 0;
    while let Some((first, group)) = values.get(from..from + GROUP).and_then(<[u32]>::split_first) {
        if group.iter().all(|value| value == first) {
            let of_run = values.get(from..).unwrap_or_default().iter().take_while(|value| *value == first);
            let length = of_run.count();
            if length >= pays {
                return (from, length);
            }
            from += length / GROUP * GROUP;
        } else {
            from += GROUP;
        }
    }
    (values.len(), 0)
}

/// Appends values as packed bits, the last group filled up with zeros, which readers do not count.
fn append_packed(values: &[u32], bit_width: u32, out: &mut Vec<u8>) {
    if values.is_empty() {
        return;
    }
    let groups = values.len().div_ceil(GROUP);
    packed::append_leb128((groups as u64) << 1 | 1, out);
    let missing = std::iter::repeat_n(0, groups * GROUP - values.len());
    packed::append(values.iter().map(|value| u64::from(*value)).chain(missing), bit_width, out);
}

fn append_run(value: u32, count: usize, bit_width: u32, out: &mut Vec<u8>) {
    packed::append_leb128((count as u64) << 1, out);
    out.extend(value.to_le_bytes().iter().take(value_bytes(bit_width)));
}

/// Bytes of the value of a run.
fn value_bytes(bit_width: u32) -> usize {
    bit_width.div_ceil(8) as usize
}

#[cfg(test)]
mod tests {
    use super::{Hybrid, append};

    fn encoded(bit_width: u32, runs: &[(u32, usize)]) -> Vec<u8> {
        let mut hybrid = Hybrid::new(bit_width, Vec::new());
        runs.iter().for_each(|(value, count)| hybrid.push(*value, *count));
        hybrid.finish()
    }

    fn appended(bit_width: u32, runs: &[(u32, usize)]) -> Vec<u8> {
        let values: Vec<u32> =
            runs.iter().flat_map(|(value, count)| std::iter::repeat_n(*value, *count)).collect();
        let mut out = Vec::new();
        append(&values, bit_width, &mut out);
        out
    }

    #[test]
    fn runs_are_two_bytes_and_few_values_are_packed() {
        assert_eq!(encoded(1, &[(1, 20_000)]), [0xc0, 0xb8, 0x02, 1]);
        assert_eq!(encoded(9, &[(300, 8)]), [16, 44, 1]);
        let numbers: Vec<_> = (0..8).map(|value| (value, 1)).collect();
        assert_eq!(encoded(3, &numbers), [0b11, 0b1000_1000, 0b1100_0110, 0b1111_1010]);
        // A run fills the group before it and begins after it.
        assert_eq!(encoded(1, &[(0, 3), (1, 5 + 8)]), [0b11, 0b1111_1000, 16, 1]);
        assert_eq!(encoded(1, &[(1, 3)]), [0b11, 0b111]);
    }

    #[test]
    fn values_that_come_one_by_one_are_a_run_where_that_takes_fewer_bytes() {
        assert_eq!(appended(1, &[(1, 20_000)]), [0xc0, 0xb8, 0x02, 1]);
        assert_eq!(appended(1, &[(1, 3)]), [0b11, 0b111]);
        // Eight of one bit are a byte.
        assert_eq!(appended(1, &[(0, 3), (1, 5 + 8)]), [0b101, 0b1111_1000, 0b1111_1111]);
        // Between others, a run begins with a group and ends where it ends.
        let expected = [0b11, 7, 0, 0, 0, 0, 0, 0, 0, 0, 90, 5, 0b11, 6, 0, 0, 0, 0, 0, 0, 0, 0];
        let found = appended(9, &[(7, 1), (0, 7), (5, 45), (6, 1)]);
        assert_eq!(found[..10], expected[..10]);
        assert_eq!(found[10..13], [90, 5, 0]);
        assert!(appended(9, &[]).is_empty());
    }
}
