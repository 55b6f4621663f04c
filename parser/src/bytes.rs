//! Big-endian fields at an offset of a byte slice, read and written without indexing.
//!
//! `None` always means "the slice ends before the field does". Offsets come from earlier, checked
//! lengths; they are added with saturating arithmetic, so a sum that would overflow simply lies
//! beyond every slice.

/// `N` bytes at `offset`.
pub(crate) fn array<const N: usize>(bytes: &[u8], offset: usize) -> Option<[u8; N]> {
    bytes.get(offset..)?.first_chunk().copied()
}

/// The byte at `offset`.
pub(crate) fn byte(bytes: &[u8], offset: usize) -> Option<u8> {
    bytes.get(offset).copied()
}

/// The 16-bit number at `offset`.
pub(crate) fn be16(bytes: &[u8], offset: usize) -> Option<u16> {
    array(bytes, offset).map(u16::from_be_bytes)
}

/// The 32-bit number at `offset`.
pub(crate) fn be32(bytes: &[u8], offset: usize) -> Option<u32> {
    array(bytes, offset).map(u32::from_be_bytes)
}

/// `length` bytes from `offset` on.
pub(crate) fn range(bytes: &[u8], offset: usize, length: usize) -> Option<&[u8]> {
    bytes.get(offset..)?.get(..length)
}

/// Writes `value` at `offset`; nothing is written when it does not fit.
pub(crate) fn put(bytes: &mut [u8], offset: usize, value: &[u8]) -> Option<()> {
    bytes.get_mut(offset..)?.get_mut(..value.len())?.copy_from_slice(value);
    Some(())
}

/// An IP length field as an offset.
pub(crate) fn size(length: u16) -> usize {
    usize::from(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_across_the_end_is_absent() {
        let bytes = [1, 2, 3, 4];
        assert_eq!(be16(&bytes, 2), Some(0x0304));
        assert_eq!(be16(&bytes, 3), None);
        assert_eq!(be32(&bytes, 0), Some(0x0102_0304));
        assert_eq!(be32(&bytes, usize::MAX), None);
        assert_eq!(range(&bytes, 4, 0), Some(&[][..]));
        assert_eq!(range(&bytes, 5, 0), None);
    }

    #[test]
    fn a_write_that_does_not_fit_changes_nothing() {
        let mut bytes = [0; 3];
        assert_eq!(put(&mut bytes, 2, &[1, 2]), None);
        assert_eq!(bytes, [0; 3]);
        assert_eq!(put(&mut bytes, 1, &[1, 2]), Some(()));
        assert_eq!(bytes, [0, 1, 2]);
    }
}
