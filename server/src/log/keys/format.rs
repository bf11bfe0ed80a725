//! The version of the stored form. Lives in `meta`, written when the directory is created.
//!
//! The same number stands in the file [`FILE`] beside the database's files, which a program reads before it opens the database:
//! opening changes files. A directory without that file has format 1. A program that raises the version of a directory has to
//! write the file, and sync it, before it changes anything else.

pub(in crate::log) const KEY: &str = "format";

/// The name of the file: decimal digits and a line feed.
pub(in crate::log) const FILE: &str = "format";

/// The version that this program writes.
pub(in crate::log) const VERSION: u32 = 1;

pub(in crate::log) fn encode(version: u32) -> [u8; 4] {
    version.to_be_bytes()
}

pub(in crate::log) fn decode(value: &[u8]) -> Option<u32> {
    value.try_into().ok().map(u32::from_be_bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_version_comes_back(version: u32) {
            prop_assert_eq!(super::decode(&super::encode(version)), Some(version));
        }
    }
}
