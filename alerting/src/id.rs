//! Ids that are hashes: of rules, alerts, transitions and deliveries.
//!
//! Invariant: the input is unambiguous (a kind, then each part with its length), so different parts never give
//! the same bytes to hash.

use sha2::{Digest, Sha256};

/// The first 128 bits of SHA-256 over the kind and the parts.
pub(crate) fn hash_bytes(kind: &str, parts: &[&[u8]]) -> [u8; 16] {
    let mut hasher = Sha256::new();
    for part in std::iter::once(kind.as_bytes()).chain(parts.iter().copied()) {
        hasher.update((part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    let digest = hasher.finalize();
    digest.first_chunk().copied().unwrap_or_default()
}

/// [`hash_bytes`] as 32 hexadecimal digits.
pub(crate) fn hash(kind: &str, parts: &[&[u8]]) -> String {
    hex(&hash_bytes(kind, parts))
}

/// Bytes as lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits.filter_map(|digit| char::from_digit(u32::from(digit), 16)).collect()
}
