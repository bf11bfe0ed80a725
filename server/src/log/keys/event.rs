//! An event's key: the object's id, then the offset, so that a log is one range in its order. Lives in `events`.

use crate::log::ObjectId;

pub(in crate::log) fn encode_key(id: ObjectId, offset: u64) -> [u8; 16] {
    (u128::from(id.0) << 64 | u128::from(offset)).to_be_bytes()
}

pub(in crate::log) fn decode_key(key: &[u8]) -> Option<(ObjectId, u64)> {
    let key = u128::from_be_bytes(key.try_into().ok()?);
    Some((ObjectId((key >> 64) as u64), key as u64))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_key_comes_back_and_sorts_by_object_then_offset(
            a in (any::<u64>(), any::<u64>()), b in (any::<u64>(), any::<u64>()),
        ) {
            let key = |(id, offset)| encode_key(ObjectId(id), offset);
            prop_assert_eq!(decode_key(&key(a)), Some((ObjectId(a.0), a.1)));
            prop_assert_eq!(key(a).cmp(&key(b)), a.cmp(&b));
        }
    }
}
