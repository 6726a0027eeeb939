//! occupancy.
