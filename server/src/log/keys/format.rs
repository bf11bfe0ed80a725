//! The version of the stored form. Lives in `meta`, written when the directory is created.

pub(in crate::log) const KEY: &str = "format";

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
