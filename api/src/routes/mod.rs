//! The HTTP surface, one folder or file per resource.

pub(crate) mod registry;
