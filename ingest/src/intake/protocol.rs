//! How a line came, as far as that decides what becomes of it.

/// How a line came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// As to InfluxDB 1.
    V1,
    /// As to InfluxDB 2.
    V2,
    /// As to InfluxDB 3.
    V3,
    /// By MQTT.
    Mqtt,
}

impl Protocol {
    const ALL: [Self; 4] = [Self::V1, Self::V2, Self::V3, Self::Mqtt];

    /// A short name that does not change.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::V1 => "v1",
            Self::V2 => "v2",
            Self::V3 => "v3",
            Self::Mqtt => "mqtt",
        }
    }

    /// The protocol that is called so.
    #[must_use]
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|protocol| protocol.name() == name)
    }

    /// Whether rows that are older than their table keeps rows are reported as bad lines. Else they are written, and
    /// in no answer unless the table keeps rows for longer later.
    #[must_use]
    pub const fn refuses_expired(self) -> bool {
        matches!(self, Self::V1 | Self::V2)
    }

    /// Whether the sender hears which of its lines are bad.
    pub(super) const fn sender_hears(self) -> bool {
        !matches!(self, Self::Mqtt)
    }
}
