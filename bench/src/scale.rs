//! How much data a run takes.

/// Whether costs are measured, or it is only seen whether the benchmarks work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scale {
    /// Enough data for stable numbers.
    Full,
    /// As little as shows that everything works.
    Small,
}

impl Scale {
    /// What the arguments ask for, by the rule that criterion itself follows: `cargo bench` adds `--bench`,
    /// and `--test` or its absence runs each benchmark once.
    #[must_use]
    pub fn of_arguments(arguments: impl Iterator<Item = String>) -> Self {
        let (mut bench, mut test) = (false, false);
        for argument in arguments {
            bench |= argument == "--bench";
            test |= argument == "--test";
        }
        if bench && !test { Self::Full } else { Self::Small }
    }

    /// The value for this scale.
    #[must_use]
    pub fn pick<T>(self, full: T, small: T) -> T {
        match self {
            Self::Full => full,
            Self::Small => small,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Scale;

    fn check(arguments: &[&str], expected: Scale) {
        assert_eq!(Scale::of_arguments(arguments.iter().map(ToString::to_string)), expected, "{arguments:?}");
    }

    #[test]
    fn only_cargo_bench_without_test_mode_takes_all_the_data() {
        check(&["stages", "--bench"], Scale::Full);
        check(&["stages", "query", "--bench"], Scale::Full);
        check(&["stages"], Scale::Small);
        check(&["stages", "--test", "--bench"], Scale::Small);
    }
}
