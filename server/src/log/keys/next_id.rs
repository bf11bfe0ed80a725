//! An id beyond those of all stored objects. Lives in `meta`, moved in the batch that stores a new object.
//!
//! The ids of the events don't tell it: an object keeps its id when all its events are trimmed.

pub(in crate::log) const KEY: &str = "next_id";

pub(in crate::log) fn encode(id: u64) -> [u8; 8] {
    id.to_be_bytes()
}

pub(in crate::log) fn decode(value: &[u8]) -> Option<u64> {
    value.try_into().ok().map(u64::from_be_bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn an_id_comes_back(id: u64) {
            prop_assert_eq!(super::decode(&super::encode(id)), Some(id));
        }
    }
}
