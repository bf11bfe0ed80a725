//! Rosters on disk: each change is stored when it is delivered to members, and all rosters are read once, at the start.
//!
//! Rosters are not promised to be durable. They cause no fsync of their own and become durable with the next commit of events.
//!
//! A member is a pair in [`Keyspace::Presence`]: from the flush that announces it until the one that announces that it has left.
//! The key is the object's name, a zero byte and the member's number, a big-endian u64. The object is there by its name, since one
//! without events has no id on disk. The value is the session, the member's presence, and
//! the user if there is one.

use std::collections::HashMap;

use bytes::Bytes;
use dormouse_protocol::{ObjectName, Payload};

use super::entry::Owner;
use crate::log::{Change, Keyspace, Log, MAX_NUMBER, ReadError};
use crate::session::{SessionId, UserName};

/// A member, as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Row {
    /// Its number.
    pub(super) member: u64,
    /// Whose it is.
    pub(super) owner: Owner,
    /// Its presence: a payload in its `MessagePack` form.
    pub(super) data: Bytes,
}

/// The rosters that were stored before this start.
#[derive(Debug, Default)]
pub struct StoredRosters(pub(super) HashMap<ObjectName, Vec<Row>>);

impl StoredRosters {
    /// Reads all rosters. Removes rows that cannot be read: they must not keep the server from starting. Blocks.
    pub fn read(log: &Log) -> Result<Self, ReadError> {
        let mut rosters: HashMap<_, Vec<_>> = HashMap::new();
        for (key, value) in log.pairs(Keyspace::Presence)? {
            let row = decode_key(&key)
                .and_then(|(object, member)| Some((object, decode(member, &value)?)));
            if let Some((object, row)) = row {
                rosters.entry(object).or_default().push(row);
            } else {
                tracing::warn!("a stored member of a roster cannot be read and is removed");
                log.change_lazily(vec![Change { keyspace: Keyspace::Presence, key, value: None }]);
            }
        }
        Ok(Self(rosters))
    }
}

/// Stores a member.
pub(super) fn put(object: &ObjectName, row: &Row) -> Change {
    let (key, value) = (encode_key(object, row.member), encode(row));
    Change { keyspace: Keyspace::Presence, key: key.into(), value: Some(value.into()) }
}

/// Removes a member.
pub(super) fn remove(object: &ObjectName, member: u64) -> Change {
    let key = encode_key(object, member).into();
    Change { keyspace: Keyspace::Presence, key, value: None }
}

/// Stands in no name, so that no name's keys are among those of another one.
const END: u8 = 0;

fn encode_key(name: &ObjectName, member: u64) -> Vec<u8> {
    let mut key = Vec::with_capacity(name.len() + 1 + size_of::<u64>());
    key.extend_from_slice(name.as_bytes());
    key.push(END);
    key.extend_from_slice(&member.to_be_bytes());
    key
}

fn decode_key(key: &[u8]) -> Option<(ObjectName, u64)> {
    let (name, member) = key.split_last_chunk()?;
    let (&END, name) = name.split_last()? else { return None };
    let member = u64::from_be_bytes(*member);
    let name = std::str::from_utf8(name).ok()?.parse().ok()?;
    (member < MAX_NUMBER).then_some((name, member))
}

const ARRAY_OF_TWO: u8 = 0x92;
const ARRAY_OF_THREE: u8 = 0x93;

/// A `MessagePack` array of the session, the member's presence, and the user if there is one.
fn encode(row: &Row) -> Vec<u8> {
    let Row { owner, data, .. } = row;
    let mut value = Vec::with_capacity(24 + owner.name_bytes() + data.len());
    value.push(if owner.user.is_some() { ARRAY_OF_THREE } else { ARRAY_OF_TWO });
    let text = |value: &mut Vec<u8>, text: &str| {
        rmp_serde::encode::write(value, text).expect("text has a MessagePack form");
    };
    text(&mut value, &owner.session());
    value.extend_from_slice(data);
    if let Some(user) = &owner.user {
        text(&mut value, user);
    }
    value
}

fn decode(member: u64, value: &[u8]) -> Option<Row> {
    let (session, data, user): (Box<str>, Payload, Option<Box<str>>) =
        if value.first() == Some(&ARRAY_OF_TWO) {
            let (session, data) = rmp_serde::from_slice(value).ok()?;
            (session, data, None)
        } else {
            rmp_serde::from_slice(value).ok()?
        };
    let owner = Owner::new(SessionId::from_text(&session)?, user.as_deref().map(UserName::from));
    let data = Bytes::copy_from_slice(data.as_msgpack());
    let row = Row { member, owner, data };
    (encode(&row) == value).then_some(row)
}

/// What holds for any bytes that the disk gives back: a part of the fuzz target `storage`.
#[cfg(any(test, fuzzing))]
pub fn fuzz(bytes: &[u8]) {
    if let Some((name, member)) = decode_key(bytes) {
        assert_eq!(encode_key(&name, member), bytes);
    }
    if let Some(row) = decode(7, bytes) {
        assert_eq!(encode(&row), bytes);
        let data = Payload::from_msgpack(&row.data).expect("a member's presence is a payload");
        assert_eq!(data.as_msgpack(), &*row.data);
    }
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
            session: u64,
            user in proptest::option::of(".{0,128}"),
            text in ".{0,40}",
        ) {
            let named = |(name, member): (String, u64)| (name.parse::<ObjectName>().unwrap(), member);
            let (a, b) = (named(a), named(b));
            let key = |(name, member): &(ObjectName, u64)| encode_key(name, *member);
            prop_assert_eq!(key(&a).cmp(&key(&b)), a.cmp(&b));
            prop_assert_eq!(decode_key(&key(&a)), Some(a.clone()));

            let data = Payload::of(&text).unwrap().as_msgpack().to_vec().into();
            let user = user.as_deref().map(UserName::from);
            let row = Row { member: a.1, owner: Owner::new(SessionId::of(session), user), data };
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
