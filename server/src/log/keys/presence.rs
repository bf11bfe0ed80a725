//! A member in an object's roster: the object's name, a zero byte and the member's number. Lives in `presence`, from the
//! flush that tells of the member until the one that tells that it has left.
//!
//! The object is there by its name, since one without events has no id on disk.

use bytes::Bytes;
use dormouse_protocol::{ObjectName, Payload};

use crate::log::PresenceRow;
use crate::log::entry::MAX_NUMBER;

/// Stands in no name, so that no name's keys are among those of another one.
const END: u8 = 0;

pub(in crate::log) fn encode_key(name: &ObjectName, member: u64) -> Vec<u8> {
    let mut key = Vec::with_capacity(name.len() + 1 + size_of::<u64>());
    key.extend_from_slice(name.as_bytes());
    key.push(END);
    key.extend_from_slice(&member.to_be_bytes());
    key
}

pub(in crate::log) fn decode_key(key: &[u8]) -> Option<(ObjectName, u64)> {
    let (name, member) = key.split_last_chunk()?;
    let (&END, name) = name.split_last()? else { return None };
    let member = u64::from_be_bytes(*member);
    let name = std::str::from_utf8(name).ok()?.parse().ok()?;
    (member < MAX_NUMBER).then_some((name, member))
}

/// A `MessagePack` array of the user and what the member says of itself.
pub(in crate::log) fn encode(row: &PresenceRow) -> Vec<u8> {
    const ARRAY_OF_TWO: u8 = 0x92;
    let mut value = Vec::with_capacity(8 + row.user.len() + row.data.len());
    value.push(ARRAY_OF_TWO);
    rmp_serde::encode::write(&mut value, &row.user).expect("text has a MessagePack form");
    value.extend_from_slice(&row.data);
    value
}

pub(in crate::log) fn decode(member: u64, value: &[u8]) -> Option<PresenceRow> {
    let (user, data): (Box<str>, Payload) = rmp_serde::from_slice(value).ok()?;
    let data = Bytes::copy_from_slice(data.as_msgpack());
    let row = PresenceRow { member, user, data };
    (encode(&row) == value).then_some(row)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_member_comes_back_and_sorts_by_object_then_number(
            a in ("[a-z0-9_-]{1,32}/[.]{0,3}[a-zA-Z0-9_:~@-][a-zA-Z0-9_.:~@-]{0,124}", 0..MAX_NUMBER),
            b in ("[a-z0-9_-]{1,32}/[.]{0,3}[a-zA-Z0-9_:~@-][a-zA-Z0-9_.:~@-]{0,124}", 0..MAX_NUMBER),
            user in "[a-z2-7]{13}",
            text in ".{0,40}",
        ) {
            let named = |(name, member): (String, u64)| (name.parse::<ObjectName>().unwrap(), member);
            let (a, b) = (named(a), named(b));
            let key = |(name, member): &(ObjectName, u64)| encode_key(name, *member);
            prop_assert_eq!(key(&a).cmp(&key(&b)), a.cmp(&b));
            prop_assert_eq!(decode_key(&key(&a)), Some(a.clone()));

            let data = Payload::of(&text).unwrap().as_msgpack().to_vec().into();
            let row = PresenceRow { member: a.1, user: user.into(), data };
            prop_assert_eq!(decode(a.1, &encode(&row)), Some(row));
        }
    }

    #[test]
    fn what_is_no_member_is_refused() {
        for key in [
            &b""[..],
            b"room/a",
            b"room/a\x00short",
            b"room/a\x0112345678",
            b"\x0012345678",
            b"room/a\x00\xff2345678",
        ] {
            assert_eq!(decode_key(key), None);
        }
        for value in [
            &b""[..],
            b"\x92\xa1u",
            b"\x92\xa1u\xc1",
            b"\x91\xa1u",
            b"\x93\xa1u\xc0\xc0",
            b"\x92\xa1u\xc0\xc0",
        ] {
            assert_eq!(decode(1, value), None);
        }
    }
}
