//! Ids and sequence numbers, each a type of its own so that they cannot be mixed up.

use std::fmt;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
        pub struct $name($inner);

        impl $name {
            /// Wraps the raw number.
            #[must_use]
            pub const fn new(raw: $inner) -> Self {
                Self(raw)
            }

            /// The raw number.
            #[must_use]
            pub const fn get(self) -> $inner {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

id! {
    /// A table of one node's log. Never reused: a table that is dropped and made again has another id (KEY-2).
    TableId(u32)
}
id! {
    /// A physical column of one table. A field whose type was widened owns two.
    ColumnId(u16)
}
id! {
    /// A series: one table and one canonical set of tags.
    SeriesId(u32)
}
id! {
    /// Number of a frame of the log. Frames are numbered without gaps (LOG-2).
    FrameNumber(u64)
}

/// A hybrid clock: 48 bits of Unix milliseconds, 16 bits of counter. It never goes back (SEQ-1).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Sequence(u64);

impl Sequence {
    /// The sequence before every other.
    pub const ZERO: Self = Self(0);

    /// Wraps the raw number, as it was read from a log, a file name or a table.
    #[must_use]
    pub const fn new(raw: u64) -> Self {
        Self(raw)
    }

    /// The raw number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The wall-clock time at which it was given, or later, in Unix milliseconds.
    #[must_use]
    pub const fn unix_millis(self) -> u64 {
        self.0 >> 16
    }

    /// The next sequence at wall-clock time `now_ms` (Unix milliseconds): greater than `self` whatever the
    /// clock did, and not below the clock.
    #[must_use]
    pub const fn next(self, now_ms: u64) -> Self {
        let by_clock = now_ms << 16;
        if by_clock > self.0 { Self(by_clock) } else { Self(self.0 + 1) }
    }
}

impl fmt::Display for Sequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::Sequence;

    #[test]
    fn a_sequence_rises_when_the_clock_steps_back() {
        let first = Sequence::ZERO.next(1_000);
        let second = first.next(1_000);
        let third = second.next(10);
        assert!(first < second && second < third);
        assert!(third.next(2_000) > third);
        assert_eq!(first.get() >> 16, 1_000);
    }
}
