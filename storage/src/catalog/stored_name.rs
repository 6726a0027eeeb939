//! Names of columns in files.
//!
//! Delta Lake refuses the characters ` ,;{}()\n\t=` in column names and takes names that differ only in case
//! for one. So such characters (and `%`, to keep it reversible) are percent-encoded, and a name that equals an
//! earlier one up to case gets `%~` and a number, which no encoded name can hold. SQL shows the original name.

use std::sync::Arc;

use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

use crate::model::{FieldSchema, TIME_COLUMN, TableSchema};

const REFUSED: &AsciiSet =
    &CONTROLS.add(b' ').add(b',').add(b';').add(b'{').add(b'}').add(b'(').add(b')').add(b'=').add(b'%');

/// The stored name for a new column `name` of `schema`.
pub(super) fn choose(schema: &TableSchema, name: &str) -> Arc<str> {
    let encoded = utf8_percent_encode(name, REFUSED).to_string();
    let folded = encoded.to_lowercase();
    let tags = schema.tags.iter().map(|t| &t.stored_name);
    let fields = schema.fields.iter().flat_map(FieldSchema::columns).map(|c| &c.stored_name);
    let base = |stored: &str| stored.split("%~").next().unwrap_or(stored).to_lowercase();
    let equal = tags.chain(fields).filter(|stored| base(stored) == folded).count();
    let equal = equal + usize::from(folded == TIME_COLUMN);
    if equal == 0 { encoded.into() } else { format!("{encoded}%~{equal}").into() }
}

/// The stored name of the float column beside a narrow column.
pub(super) fn wide(narrow: &str) -> Arc<str> {
    format!("busbar_f64_{narrow}").into()
}
