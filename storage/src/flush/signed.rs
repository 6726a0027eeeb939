//! Small JSON files with a checksum as their last line, so that a changed digit is not believed.

use std::path::Path;

use crate::error::{Error, Result};

/// Bytes of the last line: a line feed, eight hexadecimal digits, a line feed.
const SIGNATURE_BYTES: usize = 10;

/// The content with its CRC-32C as the last line.
pub(crate) fn sign(mut content: Vec<u8>) -> Vec<u8> {
    let checksum = crc32c::crc32c(&content);
    content.extend_from_slice(format!("\n{checksum:08x}\n").as_bytes());
    content
}

/// The content of a signed file.
///
/// # Errors
/// [`Error::Damaged`] when it is not what was signed.
pub(crate) fn content<'a>(path: &Path, bytes: &'a [u8]) -> Result<&'a [u8]> {
    verified(bytes).ok_or_else(|| {
        Error::Damaged(format!(
            "{} is not what was written: its last line is not its checksum; restore it from a backup",
            path.display()
        ))
    })
}

/// The content of a signed file; `None` when it is not what was signed.
pub(crate) fn verified(bytes: &[u8]) -> Option<&[u8]> {
    let (content, signature) = bytes.split_at_checked(bytes.len().checked_sub(SIGNATURE_BYTES)?)?;
    (signature == format!("\n{:08x}\n", crc32c::crc32c(content)).as_bytes()).then_some(content)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{content, sign};

    #[test]
    fn a_flipped_bit_anywhere_in_a_signed_file_is_seen() {
        let signed = sign(br#"{"sealed_at":117}"#.to_vec());
        assert_eq!(content(Path::new("a"), &signed).unwrap(), br#"{"sealed_at":117}"#);
        for at in 0..signed.len() {
            for bit in 0..8 {
                let mut bytes = signed.clone();
                bytes[at] ^= 1 << bit;
                assert!(content(Path::new("a"), &bytes).is_err(), "bit {bit} of byte {at}");
            }
        }
        assert!(content(Path::new("a"), b"{}").is_err());
    }
}
