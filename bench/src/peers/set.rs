//! The rows that every server gets: the same bodies, made by `loadgen`.

use serde::Serialize;

/// Rows, and how they are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Set {
    /// 1,000 series of 3,000 rows with 5 tags and 4 floats.
    Few,
    /// 100,000 series of 30 such rows.
    Many,
    /// 1,000,000 series of 10 such rows.
    Million,
    /// 4,000 hosts of 250 rows with 10 tags and 10 whole numbers, as the Time Series Benchmark Suite has them.
    Cpu,
    /// As few, compressed by gzip.
    FewGzip,
    /// As few, in another order each round.
    FewShuffled,
    /// As many, in another order each round.
    ManyShuffled,
    /// As million, in another order each round.
    MillionShuffled,
    /// 1,000 series of 3,000 rows in bodies of 10.
    SmallBodies,
}

/// Devices of a building, where there are several.
const DEVICES_OF_BUILDING: u64 = 2_000;

impl Set {
    /// Its name on the command line and in reports.
    pub(super) fn name(self) -> String {
        clap::ValueEnum::to_possible_value(&self)
            .map_or_else(String::new, |value| value.get_name().to_owned())
    }

    /// Number of series.
    pub(super) fn series(self) -> u64 {
        match self {
            Self::Few | Self::FewGzip | Self::FewShuffled | Self::SmallBodies => 1_000,
            Self::Cpu => 4_000,
            Self::Many | Self::ManyShuffled => 100_000,
            Self::Million | Self::MillionShuffled => 1_000_000,
        }
    }

    /// Number of rows, of which `divisor` times as few are sent.
    pub(super) fn rows(self, divisor: u64) -> u64 {
        let rows = match self {
            Self::Million | Self::MillionShuffled => 10_000_000,
            Self::Cpu => 1_000_000,
            _ => 3_000_000,
        };
        (rows / divisor.max(1)).max(1)
    }

    /// The connections that it is sent over, if nobody says which.
    pub(super) fn connections(self) -> &'static [u32] {
        match self {
            Self::Few | Self::Many => &[1, 2, 8],
            Self::SmallBodies => &[8],
            _ => &[2],
        }
    }

    /// What `loadgen fleet` is told of it.
    pub(super) fn arguments(self, divisor: u64) -> Vec<String> {
        let series = self.series();
        let shape = if self == Self::Cpu { "tsbs-cpu" } else { "four-fields" };
        let buildings = series.div_ceil(DEVICES_OF_BUILDING);
        let mut arguments: Vec<String> = [
            ("--shape", shape.to_owned()),
            ("--series", series.to_string()),
            ("--buildings", buildings.to_string()),
            ("--floors", "10".to_owned()),
            ("--rooms", "40".to_owned()),
            ("--rows", self.rows(divisor).to_string()),
            ("--start", "2026-01-01T00:00:00Z".to_owned()),
            ("--interval", "10s".to_owned()),
            ("--rate", "0".to_owned()),
        ]
        .into_iter()
        .flat_map(|(name, value)| [name.to_owned(), value])
        .collect();
        match self {
            Self::FewGzip => arguments.push("--gzip".to_owned()),
            Self::FewShuffled | Self::ManyShuffled | Self::MillionShuffled => {
                arguments.push("--shuffle".to_owned());
            }
            Self::SmallBodies => arguments.extend(["--batch".to_owned(), "10".to_owned()]),
            _ => {}
        }
        arguments
    }
}
