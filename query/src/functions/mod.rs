//! Functions that SQL has here and not in DataFusion.

mod latest;

pub(crate) use self::latest::{LATEST, Latest};
