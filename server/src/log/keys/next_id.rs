//! An id beyond those of all stored objects. Lives in `meta`, moved in the batch that stores a new object.
//!
//! The ids of the events don't tell it: an object keeps its id when all its events are trimmed.

use crate::log::entry::MAX_NUMBER;

pub(in crate::log) const KEY: &str = "next_id";

pub(in crate::log) fn encode(id: u64) -> [u8; 8] {
    id.to_be_bytes()
}

pub(in crate::log) fn decode(value: &[u8]) -> Option<u64> {
    value.try_into().ok().map(u64::from_be_bytes).filter(|id| *id < MAX_NUMBER)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn an_id_comes_back(id in 0..MAX_NUMBER) {
            prop_assert_eq!(decode(&encode(id)), Some(id));
        }
    }

    #[test]
    fn an_id_that_no_client_could_tell_is_none() {
        assert_eq!(decode(&encode(MAX_NUMBER)), None);
    }
}
