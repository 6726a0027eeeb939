//! The last values of one field: for each slot of a table the time and the value.
//!
//! Invariant: of all values that a slot was given it holds the one with the greatest time; of equal times the one
//! that was given last. A field that was widened holds floats only.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Float64Array, Int64Array, StringArray, UInt64Array,
};
use arrow::datatypes::{DataType, Float64Type, Int64Type, UInt64Type};
use hashbrown::HashSet;

use crate::error::{Error, Result};
use crate::model::FieldType;

/// The time of a slot without a value. A value may have it too: see [`Column::at_first`].
pub(super) const NO_TIME: i64 = i64::MIN;

/// A row of some columns, and the slot that it is for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pick {
    pub(super) slot: u32,
    pub(super) row: u32,
}

/// One field of all slots.
#[derive(Debug)]
pub(super) struct Column {
    pub(super) times: Vec<i64>,
    /// Slots that have a value at the first time there is.
    pub(super) at_first: HashSet<u32>,
    pub(super) values: Values,
}

/// Values by slot; those of slots without a value are whatever they are.
#[derive(Debug)]
pub(super) enum Values {
    Float(Vec<f64>),
    Integer(Vec<i64>),
    Unsigned(Vec<u64>),
    Boolean(Vec<bool>),
    /// And the bytes of all texts.
    Text(Vec<Arc<str>>, usize),
}

impl Column {
    pub(super) fn new(field_type: FieldType) -> Self {
        let values = match field_type {
            FieldType::Float => Values::Float(Vec::new()),
            FieldType::Integer => Values::Integer(Vec::new()),
            FieldType::Unsigned => Values::Unsigned(Vec::new()),
            FieldType::Boolean => Values::Boolean(Vec::new()),
            FieldType::Text => Values::Text(Vec::new(), 0),
        };
        Self { times: Vec::new(), at_first: HashSet::new(), values }
    }

    /// The type of its values.
    pub(super) fn field_type(&self) -> FieldType {
        match &self.values {
            Values::Float(_) => FieldType::Float,
            Values::Integer(_) => FieldType::Integer,
            Values::Unsigned(_) => FieldType::Unsigned,
            Values::Boolean(_) => FieldType::Boolean,
            Values::Text(..) => FieldType::Text,
        }
    }

    /// Makes room for so many slots.
    pub(super) fn resize(&mut self, slots: usize) {
        self.times.resize(slots, NO_TIME);
        match &mut self.values {
            Values::Float(values) => values.resize(slots, 0.0),
            Values::Integer(values) => values.resize(slots, 0),
            Values::Unsigned(values) => values.resize(slots, 0),
            Values::Boolean(values) => values.resize(slots, false),
            Values::Text(values, _) => values.resize(slots, Arc::default()),
        }
    }

    /// The time of a slot's value, if it has one.
    pub(super) fn time(&self, slot: u32) -> Option<i64> {
        let time = *self.times.get(slot as usize)?;
        (time != NO_TIME || self.at_first.contains(&slot)).then_some(time)
    }

    /// Takes a slot's value away.
    pub(super) fn clear(&mut self, slot: u32) {
        self.at_first.remove(&slot);
        if let Some(time) = self.times.get_mut(slot as usize) {
            *time = NO_TIME;
        }
        if let Values::Text(values, bytes) = &mut self.values
            && let Some(text) = values.get_mut(slot as usize)
        {
            *bytes -= text.len();
            *text = Arc::default();
        }
    }

    /// The column of these slots alone, in their order.
    pub(super) fn only(self, slots: &[u32]) -> Self {
        fn pick<T: Clone + Default>(values: &[T], slots: &[u32]) -> Vec<T> {
            slots.iter().map(|slot| values.get(*slot as usize).cloned().unwrap_or_default()).collect()
        }
        let at_first = (0..).zip(slots).filter(|(_, slot)| self.at_first.contains(*slot)).map(|(at, _)| at);
        let time = |slot: &u32| self.times.get(*slot as usize).copied().unwrap_or(NO_TIME);
        Self {
            times: slots.iter().map(time).collect(),
            at_first: at_first.collect(),
            values: match &self.values {
                Values::Float(values) => Values::Float(pick(values, slots)),
                Values::Integer(values) => Values::Integer(pick(values, slots)),
                Values::Unsigned(values) => Values::Unsigned(pick(values, slots)),
                Values::Boolean(values) => Values::Boolean(pick(values, slots)),
                // Those that go were cleared, and have no bytes.
                Values::Text(values, bytes) => Values::Text(pick(values, slots), *bytes),
            },
        }
    }

    /// Bytes of memory that it takes.
    pub(super) fn bytes(&self) -> usize {
        let values = match &self.values {
            Values::Float(values) => size_of::<f64>() * values.capacity(),
            Values::Integer(values) => size_of::<i64>() * values.capacity(),
            Values::Unsigned(values) => size_of::<u64>() * values.capacity(),
            Values::Boolean(values) => values.capacity(),
            Values::Text(values, bytes) => size_of::<Arc<str>>() * values.capacity() + bytes,
        };
        size_of::<i64>() * self.times.capacity() + values
    }

    /// The values are floats from now on. Integers become the nearest float, as in SQL.
    #[expect(
        clippy::cast_precision_loss,
        reason = "a widened field is a float, wide integers are quarantined"
    )]
    pub(super) fn widen(&mut self) {
        self.values = match &self.values {
            Values::Integer(values) => Values::Float(values.iter().map(|value| *value as f64).collect()),
            Values::Unsigned(values) => Values::Float(values.iter().map(|value| *value as f64).collect()),
            _ => return,
        };
    }

    /// Takes the picked rows in their order, where they have a value: that of `wide`, else that of `narrow`.
    ///
    /// # Errors
    /// [`Error::Internal`] when a column is of another type than the field.
    pub(super) fn fold(
        &mut self,
        picks: &[Pick],
        times: &[i64],
        narrow: Option<&ArrayRef>,
        wide: Option<&ArrayRef>,
    ) -> Result<()> {
        if wide.is_some() {
            self.widen();
        }
        let Some(first) = narrow.or(wide) else { return Ok(()) };
        let mut places = Places { times: &mut self.times, at_first: &mut self.at_first };
        match &mut self.values {
            // Usually a float came as one.
            Values::Float(values) if wide.is_none() && first.as_primitive_opt::<Float64Type>().is_some() => {
                let array = first.as_primitive::<Float64Type>();
                places.put(values, picks, times, |row| array.is_valid(row).then(|| array.value(row)));
            }
            Values::Float(values) => {
                let (narrow, wide) = (Numbers::of_some(narrow)?, Numbers::of_some(wide)?);
                let at = |numbers: &Option<Numbers<'_>>, row| numbers.as_ref()?.at(row);
                places.put(values, picks, times, |row| at(&wide, row).or_else(|| at(&narrow, row)));
            }
            Values::Integer(values) => {
                let array = first.as_primitive_opt::<Int64Type>().ok_or_else(|| mismatch(first))?;
                places.put(values, picks, times, |row| array.is_valid(row).then(|| array.value(row)));
            }
            Values::Unsigned(values) => {
                let array = first.as_primitive_opt::<UInt64Type>().ok_or_else(|| mismatch(first))?;
                places.put(values, picks, times, |row| array.is_valid(row).then(|| array.value(row)));
            }
            Values::Boolean(values) => {
                let array = first.as_boolean_opt().ok_or_else(|| mismatch(first))?;
                places.put(values, picks, times, |row| array.is_valid(row).then(|| array.value(row)));
            }
            Values::Text(values, bytes) => {
                let array = first.as_string_opt::<i32>().ok_or_else(|| mismatch(first))?;
                let text = |row| array.is_valid(row).then(|| array.value(row));
                places.put_with(values, picks, times, text, |place, text| {
                    // Most texts are states that repeat.
                    if **place != *text {
                        *bytes = *bytes + text.len() - place.len();
                        *place = text.into();
                    }
                });
            }
        }
        Ok(())
    }

    /// The values of slots as an array of the type that SQL shows; null where there is none, or only one from
    /// before `since`.
    ///
    /// # Errors
    /// [`Error::Invalid`] when the field was widened after its type was looked up.
    pub(super) fn gather(&self, slots: &[u32], wanted: &DataType, since: i64) -> Result<ArrayRef> {
        let shown = |slot: u32| self.time(slot).is_some_and(|time| time >= since);
        macro_rules! gather {
            ($array:ty, $values:expr, $convert:expr) => {
                Arc::new(
                    slots
                        .iter()
                        .map(|slot| shown(*slot).then(|| $values.get(*slot as usize).map($convert))?)
                        .collect::<$array>(),
                )
            };
        }
        #[expect(clippy::cast_precision_loss, reason = "as a widened field is shown everywhere")]
        Ok(match (&self.values, wanted) {
            (Values::Float(values), DataType::Float64) => gather!(Float64Array, values, |value| *value),
            (Values::Integer(values), DataType::Int64) => gather!(Int64Array, values, |value| *value),
            (Values::Integer(values), DataType::Float64) => {
                gather!(Float64Array, values, |value| *value as f64)
            }
            (Values::Unsigned(values), DataType::UInt64) => gather!(UInt64Array, values, |value| *value),
            (Values::Unsigned(values), DataType::Float64) => {
                gather!(Float64Array, values, |value| *value as f64)
            }
            (Values::Boolean(values), DataType::Boolean) => gather!(BooleanArray, values, |value| *value),
            (Values::Text(values, _), DataType::Utf8) => gather!(StringArray, values, |value| &**value),
            _ => {
                return Err(Error::Invalid(
                    "a field became a float while the query was planned: send the query again".into(),
                ));
            }
        })
    }
}

/// Where the values of a column are put.
struct Places<'a> {
    times: &'a mut [i64],
    at_first: &'a mut HashSet<u32>,
}

impl Places<'_> {
    fn put<T>(
        &mut self,
        values: &mut [T],
        picks: &[Pick],
        times: &[i64],
        value: impl Fn(usize) -> Option<T>,
    ) {
        self.put_with(values, picks, times, value, |place, value| *place = value);
    }

    fn put_with<T, V>(
        &mut self,
        values: &mut [T],
        picks: &[Pick],
        times: &[i64],
        value: impl Fn(usize) -> Option<V>,
        mut set: impl FnMut(&mut T, V),
    ) {
        for Pick { slot, row } in picks {
            let (at, row) = (*slot as usize, *row as usize);
            let (Some(known), Some(time)) = (self.times.get_mut(at), times.get(row)) else { continue };
            // Of equal times the later write wins.
            if time >= known
                && let Some(value) = value(row)
                && let Some(place) = values.get_mut(at)
            {
                *known = *time;
                set(place, value);
                if *time == NO_TIME {
                    self.at_first.insert(*slot);
                }
            }
        }
    }
}

/// Numbers of any type, as floats.
enum Numbers<'a> {
    Float(&'a Float64Array),
    Integer(&'a Int64Array),
    Unsigned(&'a UInt64Array),
}

impl<'a> Numbers<'a> {
    fn of_some(array: Option<&'a ArrayRef>) -> Result<Option<Self>> {
        let Some(array) = array else { return Ok(None) };
        let float = array.as_primitive_opt::<Float64Type>().map(Self::Float);
        let integer = || array.as_primitive_opt::<Int64Type>().map(Self::Integer);
        let unsigned = || array.as_primitive_opt::<UInt64Type>().map(Self::Unsigned);
        let numbers = float.or_else(integer).or_else(unsigned);
        numbers.map(Some).ok_or_else(|| mismatch(array))
    }

    #[expect(clippy::cast_precision_loss, reason = "as a widened field is shown everywhere")]
    fn at(&self, row: usize) -> Option<f64> {
        match self {
            Self::Float(array) => array.is_valid(row).then(|| array.value(row)),
            Self::Integer(array) => array.is_valid(row).then(|| array.value(row) as f64),
            Self::Unsigned(array) => array.is_valid(row).then(|| array.value(row) as f64),
        }
    }
}

fn mismatch(array: &ArrayRef) -> Error {
    Error::Internal(format!(
        "a field has values of type {}, which its schema does not say",
        array.data_type()
    ))
}
