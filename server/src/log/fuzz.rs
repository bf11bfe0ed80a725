//! What holds for any bytes that the disk gives back: a part of the fuzz target `storage`.

use dormouse_protocol::{Encoding, ServerMessage, encode_events};

use super::keys::{event, format, next_id, object};
use super::{Entry, Tail};

/// Takes bytes for every kind of stored key and value. What is taken is stored again as it is.
pub fn storage(bytes: &[u8]) {
    keys(bytes);
    if let Some(record) = object::decode(bytes) {
        assert_eq!(object::encode(&record), bytes);
    }
    if let Some(entry) = Entry::from_stored(bytes.into()) {
        an_entry(&entry);
    }
}

/// A key has one form, so that what is read is also what is found and removed.
fn keys(bytes: &[u8]) {
    if let Some((id, offset)) = event::decode_key(bytes) {
        assert_eq!(event::encode_key(id, offset), bytes);
    }
    if let Some(name) = object::decode_key(bytes) {
        assert_eq!(object::encode_key(&name), bytes);
    }
    if let Some(version) = format::decode(bytes) {
        assert_eq!(format::encode(version), bytes);
    }
    if let Some(id) = next_id::decode(bytes) {
        assert_eq!(next_id::encode(id), bytes);
    }
}

/// An event that can be read can be sent to everybody, and the log goes on after it.
fn an_entry(entry: &Entry) {
    assert!(entry.bytes_before() <= entry.bytes_with());
    let Ok(mut event) = entry.decode() else { return };
    for encoding in [Encoding::Json, Encoding::Msgpack] {
        let sent = encode_events(encoding, 1, &[entry]).expect("an event is sent");
        match encoding.decode_server(&sent) {
            Ok(ServerMessage::Events(events)) => assert_eq!(events.events, [event.clone()]),
            other => panic!("{other:?} in {encoding:?}"),
        }
    }
    if let Ok(mut tail) = entry.tail(event.offset) {
        let before = tail;
        let next = tail.push(&mut event, 0);
        assert_eq!((tail.offset, tail.time), (before.offset + 1, before.time));
        assert_eq!(next.bytes_before(), before.bytes);
        assert_eq!(next.decode().as_ref(), Ok(&event));
        assert_eq!(next.tail(tail.offset).ok(), tail.is_possible().then_some(tail));
    }
    let mut first = Tail::default();
    assert_eq!(first.push(&mut event, 1).tail(1).ok(), Some(first));
}
