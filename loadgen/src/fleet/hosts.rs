//! The computers of the Time Series Benchmark Suite, "cpu-only": ten tags, none of which changes.
//! <https://github.com/timescale/tsbs>

use crate::fleet::values::mix;

/// Regions, and how many data centers each has.
const REGIONS: [(&str, u64); 9] = [
    ("ap-northeast-1", 2),
    ("ap-southeast-1", 2),
    ("ap-southeast-2", 2),
    ("eu-central-1", 2),
    ("eu-west-1", 3),
    ("sa-east-1", 3),
    ("us-east-1", 5),
    ("us-west-1", 2),
    ("us-west-2", 3),
];
const SYSTEMS: [&str; 3] = ["Ubuntu16.10", "Ubuntu16.04LTS", "Ubuntu15.10"];
const ARCHITECTURES: [&str; 2] = ["x64", "x86"];
const TEAMS: [&str; 4] = ["SF", "NYC", "LON", "CHI"];
const ENVIRONMENTS: [&str; 3] = ["production", "staging", "test"];
const LETTERS: [&str; 5] = ["a", "b", "c", "d", "e"];
const RACKS: u64 = 100;
const SERVICES: u64 = 20;
const VERSIONS: u64 = 2;

/// The tags of a host, in the suite's order.
pub(super) fn tags(seed: u64, host: u64) -> Vec<(String, String)> {
    let chance = |place: u64, of: u64| mix(mix(seed, host), place) % of.max(1);
    let (region, centers) = *pick(&REGIONS, chance(0, REGIONS.len() as u64)).unwrap_or(&("eu-west-1", 3));
    let text = |choices: &[&'static str], place: u64| {
        pick(choices, chance(place, choices.len() as u64)).copied().unwrap_or_default().to_owned()
    };
    let center = pick(&LETTERS, chance(1, centers)).copied().unwrap_or_default();
    let tags = [
        ("hostname", format!("host_{host}")),
        ("region", region.to_owned()),
        ("datacenter", format!("{region}{center}")),
        ("rack", chance(2, RACKS).to_string()),
        ("os", text(&SYSTEMS, 3)),
        ("arch", text(&ARCHITECTURES, 4)),
        ("team", text(&TEAMS, 5)),
        ("service", chance(6, SERVICES).to_string()),
        ("service_version", chance(7, VERSIONS).to_string()),
        ("service_environment", text(&ENVIRONMENTS, 8)),
    ];
    tags.map(|(key, value)| (key.to_owned(), value)).to_vec()
}

fn pick<T>(choices: &[T], place: u64) -> Option<&T> {
    choices.get(usize::try_from(place).unwrap_or(usize::MAX))
}
