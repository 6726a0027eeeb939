//! Which column of a file goes to which property of a building.
//!
//! Invariant: a value is made a number only if the number is written exactly like the text, so nothing is lost:
//! `007` and `1.50` stay text.

use csv::StringRecord;
use serde_json::{Number, Value as Json};

use super::ImportOptions;
use super::lines::Line;
use crate::registry::building::Building;
use crate::registry::error::{Fault, Faults, RegistryError, Result};

/// Integers up to here are exact as a double too, so every reader of JSON gets the same number.
const MAX_EXACT: u64 = 1 << 53;

/// Where a column goes.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Target {
    Property(Property),
    Attribute(String),
}

/// The properties that a column can fill.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Property {
    Name,
    Source,
    ExternalId,
    Street,
    PostalCode,
    City,
    Region,
    Country,
    Latitude,
    Longitude,
    TimeZone,
}

impl Property {
    const ALL: [Self; 11] = [
        Self::Name,
        Self::Source,
        Self::ExternalId,
        Self::Street,
        Self::PostalCode,
        Self::City,
        Self::Region,
        Self::Country,
        Self::Latitude,
        Self::Longitude,
        Self::TimeZone,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::Source => "source",
            Self::ExternalId => "external_id",
            Self::Street => "street",
            Self::PostalCode => "postal_code",
            Self::City => "city",
            Self::Region => "region",
            Self::Country => "country",
            Self::Latitude => "latitude",
            Self::Longitude => "longitude",
            Self::TimeZone => "time_zone",
        }
    }

    fn by_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|property| property.name() == name)
    }
}

/// The targets of all columns of a file.
#[derive(Debug)]
pub(super) struct Mapping {
    columns: usize,
    /// A column may have several targets.
    targets: Vec<(usize, Target)>,
    source: Option<String>,
}

impl Mapping {
    /// Reads the header.
    ///
    /// # Errors
    /// [`RegistryError::Invalid`] with everything that does not fit.
    pub(super) fn new(options: &ImportOptions, header: Line) -> Result<Self> {
        let header = header.fields.map_err(|fault| RegistryError::Invalid { faults: vec![fault] })?;
        let mut faults = Faults::default();
        let mut targets: Vec<(usize, Target)> = Vec::new();
        for (target_name, column) in &options.columns {
            let target = match (Property::by_name(target_name), target_name.strip_prefix("attr.")) {
                (Some(property), _) => Target::Property(property),
                (None, Some(attribute)) if !attribute.is_empty() => Target::Attribute(attribute.to_owned()),
                _ => {
                    let names = Property::ALL.map(Property::name).join(", ");
                    let detail = format!("is no property: use {names} or attr.<name>");
                    faults.add(format!("?{target_name}"), "unknown_parameter", detail);
                    continue;
                }
            };
            match header.iter().position(|name| name == column) {
                Some(index) if targets.iter().all(|(_, known)| *known != target) => {
                    targets.push((index, target))
                }
                Some(_) => faults.add(format!("?{target_name}"), "duplicate", "is given twice"),
                None => {
                    faults.add(
                        format!("?{target_name}"),
                        "no_column",
                        format!("the file has no column {column}"),
                    );
                }
            }
        }
        for (index, name) in header.iter().enumerate() {
            if targets.iter().any(|(mapped, _)| *mapped == index) || name.is_empty() {
                continue;
            }
            let property = Property::by_name(name).map(Target::Property);
            let target = property
                .filter(|target| targets.iter().all(|(_, known)| known != target))
                .unwrap_or_else(|| Target::Attribute(name.to_owned()));
            if targets.iter().any(|(_, known)| *known == target) {
                faults.add(
                    "",
                    "duplicate_column",
                    format!("the file has two columns {name}: map one of them"),
                );
            }
            targets.push((index, target));
        }
        // An update may leave the name alone; a line that makes a row without one fails by itself.
        let named = targets.iter().any(|(_, target)| *target == Target::Property(Property::Name));
        if options.mode == super::ImportMode::Create && !named {
            faults.add("?name", "required", "say which column is the name: name=<column>");
        }
        let keyed = targets.iter().any(|(_, target)| *target == Target::Property(Property::ExternalId));
        if options.mode == super::ImportMode::Upsert && !keyed {
            faults.add("?external_id", "required", "an upsert needs a key: external_id=<column>");
        }
        faults.into_result()?;
        Ok(Self { columns: header.len(), targets, source: options.source.clone() })
    }

    /// The fields of a line, one for each column.
    ///
    /// # Errors
    /// When the line could not be read or has another number of columns than the header.
    pub(super) fn fields<'l>(&self, line: &'l Line) -> Result<&'l StringRecord, Fault> {
        let record = line.fields.as_ref().map_err(Fault::clone)?;
        if record.len() == self.columns {
            return Ok(record);
        }
        let detail = format!("the line has {} columns, the header {}", record.len(), self.columns);
        Err(Fault { pointer: String::new(), code: "wrong_columns", detail })
    }

    /// The external id of a line, if it has one.
    pub(super) fn external_id(&self, line: &Line) -> Option<String> {
        let target = Target::Property(Property::ExternalId);
        let (index, _) = self.targets.iter().find(|(_, known)| *known == target)?;
        let value = line.fields.as_ref().ok()?.get(*index)?.trim();
        (!value.is_empty()).then(|| value.to_owned())
    }

    /// `base` with the values of a line; an empty cell takes a value away.
    pub(super) fn apply(&self, fields: &StringRecord, base: Building, faults: &mut Faults) -> Building {
        let mut building = base;
        if self.source.is_some() {
            building.source.clone_from(&self.source);
        }
        for (index, target) in &self.targets {
            let value = fields.get(*index).map(str::trim).filter(|value| !value.is_empty());
            match target {
                Target::Property(property) => set(&mut building, *property, value, faults),
                Target::Attribute(name) => {
                    match value {
                        Some(value) => building.attributes.insert(name.clone(), exact(value)),
                        None => building.attributes.remove(name),
                    };
                }
            }
        }
        building
    }
}

fn set(building: &mut Building, property: Property, value: Option<&str>, faults: &mut Faults) {
    let text = value.map(str::to_owned);
    match property {
        Property::Name => building.name = text.unwrap_or_default(),
        Property::Source => building.source = text.or_else(|| building.source.take()),
        Property::ExternalId => building.external_id = text,
        Property::Street => building.address.street = text,
        Property::PostalCode => building.address.postal_code = text,
        Property::City => building.address.city = text,
        Property::Region => building.address.region = text,
        Property::Country => building.address.country = text,
        Property::TimeZone => building.time_zone = text,
        Property::Latitude => building.latitude = degrees(value, "/latitude", faults),
        Property::Longitude => building.longitude = degrees(value, "/longitude", faults),
    }
}

fn degrees(value: Option<&str>, pointer: &str, faults: &mut Faults) -> Option<f64> {
    let value = value?;
    let parsed = value.parse().ok();
    if parsed.is_none() {
        faults.add(pointer, "bad_value", "must be a number");
    }
    parsed
}

/// A number if it is written exactly like the text, else the text.
fn exact(text: &str) -> Json {
    if let Ok(int) = text.parse::<i64>()
        && int.unsigned_abs() <= MAX_EXACT
        && int.to_string() == text
    {
        return Json::from(int);
    }
    match text.parse::<f64>().ok().and_then(Number::from_f64) {
        Some(number) if number.to_string() == text => Json::Number(number),
        _ => Json::from(text),
    }
}
