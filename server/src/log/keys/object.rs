//! An object's record, by its name. Lives in `objects`, from the object's first event, for ever.

use dormouse_protocol::ObjectName;
use serde::{Deserialize, Serialize};

use crate::log::{Identity, ObjectId, Tail};

/// What is known of an object besides its events: a `MessagePack` array of these fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::log) struct Record {
    id: u64,
    epoch: u32,
    trimmed: u64,
    trimmed_time: u64,
    trimmed_bytes: u64,
}

impl Record {
    /// The record of an object of which the events up to `trimmed` are no longer kept.
    ///
    /// The whole tail at that point is stored, so that a log of which nothing is left still goes on from its end.
    pub(in crate::log) fn new(identity: &Identity, trimmed: Tail) -> Self {
        Self {
            id: identity.id.0,
            epoch: identity.epoch,
            trimmed: trimmed.offset,
            trimmed_time: trimmed.time,
            trimmed_bytes: trimmed.bytes,
        }
    }

    pub(in crate::log) fn identity(&self, name: ObjectName) -> Identity {
        Identity { id: ObjectId(self.id), epoch: self.epoch, name }
    }

    pub(in crate::log) fn id(&self) -> ObjectId {
        ObjectId(self.id)
    }

    pub(in crate::log) fn trimmed(&self) -> Tail {
        Tail { offset: self.trimmed, time: self.trimmed_time, bytes: self.trimmed_bytes }
    }
}

pub(in crate::log) fn encode_key(name: &ObjectName) -> &[u8] {
    name.as_bytes()
}

pub(in crate::log) fn decode_key(key: &[u8]) -> Option<ObjectName> {
    std::str::from_utf8(key).ok()?.parse().ok()
}

pub(in crate::log) fn encode(record: &Record) -> Vec<u8> {
    rmp_serde::to_vec(record).expect("a record has a MessagePack form")
}

pub(in crate::log) fn decode(value: &[u8]) -> Option<Record> {
    let record: Record = rmp_serde::from_slice(value).ok()?;
    (record.trimmed().is_possible() && encode(&record) == value).then_some(record)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::log::entry::MAX_NUMBER;

    proptest! {
        #[test]
        fn a_record_and_its_key_come_back(
            id: u64, epoch: u32, offset in 0..MAX_NUMBER, time in 0..MAX_NUMBER, bytes in 0..MAX_NUMBER,
            name in "[a-z0-9_-]{1,32}/[.]{0,3}[a-zA-Z0-9_:~@-][a-zA-Z0-9_.:~@-]{0,124}",
        ) {
            let name: ObjectName = name.parse().unwrap();
            prop_assert_eq!(decode_key(encode_key(&name)), Some(name.clone()));
            let identity = Identity { id: ObjectId(id), epoch, name: name.clone() };
            let tail = Tail { offset, time, bytes };
            let record = decode(&encode(&Record::new(&identity, tail))).unwrap();
            prop_assert_eq!(record.trimmed(), tail);
            prop_assert_eq!(record.id(), identity.id);
            prop_assert_eq!(record.identity(name), identity);
        }
    }

    #[test]
    fn what_is_no_record_is_refused() {
        let impossible =
            [&b"\x95\x01\x02\xcf"[..], &MAX_NUMBER.to_be_bytes(), b"\x00\x00"].concat();
        let values = [&b"\x95\x01\x02\x00\x00"[..], b"\x95\x01\x02\x00\x00\x00more", &impossible];
        for value in values {
            assert_eq!(decode(value), None, "{value:02x?}");
        }
        assert!(decode(b"\x95\x01\x02\x00\x00\x00").is_some());
    }
}
