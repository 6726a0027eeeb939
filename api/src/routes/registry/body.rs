//! Reads a JSON object property by property, so that all faults of a body are found in one go.
//!
//! Invariant: a property that nobody asked for is a fault when the reader is finished.

use std::str::FromStr;

use chrono::DateTime;
use serde_json::{Map, Value as Json};
use storage::model::Timestamp;
use storage::registry::{Attributes, Faults, RegistryId, escape_pointer};
use uuid::Uuid;

/// Properties that the server sets; naming them is a common slip that deserves its own words.
const READ_ONLY: [&str; 6] = ["id", "rev", "created_at", "updated_at", "deleted_at", "state"];

/// A JSON object that is being read.
pub(super) struct BodyReader {
    properties: Map<String, Json>,
    /// The pointer of the object within the body.
    at: String,
    faults: Faults,
}

impl BodyReader {
    /// Begins to read a body; anything but an object is a fault.
    pub(super) fn new(body: Json) -> Self {
        let mut faults = Faults::default();
        let properties = as_object(body, "", &mut faults).unwrap_or_default();
        Self { properties, at: String::new(), faults }
    }

    /// A text, if it is there.
    pub(super) fn text(&mut self, name: &str) -> Option<String> {
        match self.take(name)? {
            Json::String(text) => Some(text),
            _ => self.fault(name, "wrong_type", "must be a text"),
        }
    }

    /// A number, if it is there.
    pub(super) fn number(&mut self, name: &str) -> Option<f64> {
        match self.take(name)?.as_f64() {
            Some(number) => Some(number),
            None => self.fault(name, "wrong_type", "must be a number"),
        }
    }

    /// A whole number, if it is there.
    pub(super) fn int(&mut self, name: &str) -> Option<i64> {
        match self.take(name)?.as_i64() {
            Some(int) => Some(int),
            None => self.fault(name, "wrong_type", "must be a whole number"),
        }
    }

    /// An id, if it is there.
    pub(super) fn id<I: RegistryId>(&mut self, name: &str) -> Option<I> {
        let text = self.text(name)?;
        match Uuid::from_str(&text) {
            Ok(id) => Some(I::from(id)),
            Err(_) => self.fault(name, "bad_id", "must be a UUID"),
        }
    }

    /// An id that must be there; without it the nil id, and a fault.
    pub(super) fn required_id<I: RegistryId>(&mut self, name: &str) -> I {
        let known = self.properties.get(name).is_some_and(|value| !value.is_null());
        let id = self.id(name);
        if !known {
            self.fault::<()>(name, "required", "must be an id");
        }
        id.unwrap_or_else(|| I::from(Uuid::nil()))
    }

    /// A time, if it is there.
    pub(super) fn time(&mut self, name: &str) -> Option<Timestamp> {
        let text = self.text(name)?;
        match parse_time(&text) {
            Some(time) => Some(time),
            None => self.fault(name, "bad_time", "must be a time such as 2026-01-31T12:00:00Z"),
        }
    }

    /// The free attributes; none if they are not there.
    pub(super) fn attributes(&mut self) -> Attributes {
        let Some(value) = self.take("attributes") else { return Attributes::new() };
        let pointer = self.pointer("attributes");
        as_object(value, &pointer, &mut self.faults).unwrap_or_default()
    }

    /// An object within the object; an empty one if it is not there.
    pub(super) fn within<T>(&mut self, name: &str, read: impl FnOnce(&mut Self) -> T) -> T {
        let at = self.pointer(name);
        let value = self.take(name).unwrap_or_else(|| Json::Object(Map::new()));
        let mut faults = std::mem::take(&mut self.faults);
        let properties = as_object(value, &at, &mut faults).unwrap_or_default();
        let mut inner = Self { properties, at, faults };
        let result = read(&mut inner);
        self.faults = inner.finish();
        result
    }

    /// All faults, also of properties that nobody asked for.
    pub(super) fn finish(mut self) -> Faults {
        for name in std::mem::take(&mut self.properties).keys() {
            if self.at.is_empty() && READ_ONLY.contains(&name.as_str()) {
                self.fault::<()>(name, "read_only", "is set by the server: leave it out");
            } else {
                self.fault::<()>(
                    name,
                    "unknown_property",
                    "there is no such property: use attributes for your own",
                );
            }
        }
        self.faults
    }

    /// Takes a property out; null is the same as nothing.
    fn take(&mut self, name: &str) -> Option<Json> {
        self.properties.remove(name).filter(|value| !value.is_null())
    }

    fn pointer(&self, name: &str) -> String {
        format!("{}/{}", self.at, escape_pointer(name))
    }

    fn fault<T>(&mut self, name: &str, code: &'static str, detail: &str) -> Option<T> {
        let pointer = self.pointer(name);
        self.faults.add(pointer, code, detail);
        None
    }
}

fn as_object(value: Json, pointer: &str, faults: &mut Faults) -> Option<Map<String, Json>> {
    match value {
        Json::Object(properties) => Some(properties),
        _ => {
            faults.add(pointer, "wrong_type", "must be an object");
            None
        }
    }
}

/// A time in RFC 3339.
pub(super) fn parse_time(text: &str) -> Option<Timestamp> {
    DateTime::parse_from_rfc3339(text).ok()?.timestamp_nanos_opt().map(Timestamp::from_nanos)
}

/// Applies a JSON merge patch (RFC 7396, section 2): null takes away, objects are merged, all else is replaced.
pub(super) fn merge_patch(target: &mut Json, patch: Json) {
    let Json::Object(patch) = patch else {
        *target = patch;
        return;
    };
    if !target.is_object() {
        *target = Json::Object(Map::new());
    }
    let Json::Object(target) = target else { return };
    for (name, value) in patch {
        if value.is_null() {
            target.remove(&name);
        } else {
            merge_patch(target.entry(name).or_insert(Json::Null), value);
        }
    }
}
