//! Both encodings carry every message unchanged, and the encoder that copies
//! stored events agrees with the one that serializes them.

#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]

use dormouse_protocol::{
    ClientMessage, Encoding, Event, Events, History, Join, Key, Leave, Payload, Ping, Position,
    Publish, ServerMessage, Signal, Start, encode_events,
};
use proptest::prelude::*;
use serde_json::{Value, json};

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_filter("finite", |f| f.is_finite()).prop_map(Value::from),
        ".{0,40}".prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 64, 8, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..20).prop_map(Value::from),
            prop::collection::btree_map("[a-z]{0,6}", inner, 0..20).prop_map(|map| json!(map)),
        ]
    })
}

fn event() -> impl Strategy<Value = Event> {
    (
        any::<u64>(),
        any::<u64>(),
        "[a-z]{1,13}",
        "[a-zA-Z.]{1,32}",
        value(),
        proptest::option::of("[a-z]{1,64}"),
        proptest::option::of("[a-zäö]{1,64}"),
    )
        .prop_map(|(offset, time, sender, kind, data, key, user)| Event {
            offset,
            time,
            sender: sender.into(),
            kind: kind.parse().unwrap(),
            data: Payload::of(&data).unwrap(),
            key: key.map(|key| key.parse::<Key>().unwrap()),
            user: user.map(Into::into),
        })
}

fn start() -> impl Strategy<Value = Start> {
    prop_oneof![
        Just(Start::Now),
        Just(Start::All),
        any::<u32>().prop_map(Start::Last),
        (any::<u32>(), any::<u64>())
            .prop_map(|(epoch, offset)| Start::After(Position { epoch, offset })),
    ]
}

fn client_message() -> impl Strategy<Value = ClientMessage> {
    let key = || proptest::option::of("[a-z]{1,64}".prop_map(|key| key.parse::<Key>().unwrap()));
    let offset = || proptest::option::of(any::<u64>());
    prop_oneof![
        (any::<u32>(), "[a-z]{1,32}/[.]{0,3}[A-Za-z0-9_:~@-][A-Za-z0-9._:~@-]{0,124}", start())
            .prop_map(|(id, object, from)| {
                ClientMessage::Join(Join::new(id, object.parse().unwrap(), from))
            }),
        (any::<u32>(), any::<u64>())
            .prop_map(|(id, object)| ClientMessage::Leave(Leave { id, object })),
        (proptest::option::of(any::<u32>()), any::<u64>(), value(), key()).prop_map(
            |(id, object, data, key)| {
                let data = Payload::of(&data).unwrap();
                ClientMessage::Signal(Signal { id, object, data, key })
            }
        ),
        (
            any::<u32>(),
            any::<u64>(),
            offset(),
            offset(),
            proptest::option::of(any::<u32>()),
            any::<bool>()
        )
            .prop_map(|(id, object, after, before, limit, reverse)| {
                ClientMessage::History(History { id, object, after, before, limit, reverse })
            }),
        any::<u32>().prop_map(|id| ClientMessage::Ping(Ping { id })),
    ]
}

proptest! {
    #[test]
    fn every_request_is_the_same_after_both_encodings(message in client_message()) {
        for encoding in [Encoding::Json, Encoding::Msgpack] {
            let bytes = encoding.encode_client(&message);
            prop_assert_eq!(&encoding.decode_client(&bytes).unwrap(), &message);
        }
    }

    #[test]
    fn a_payload_is_the_same_in_both_encodings(data in value()) {
        let message = ClientMessage::Publish(Publish {
            id: 1,
            object: 2,
            kind: "k".parse().unwrap(),
            data: Payload::of(&data).unwrap(),
            key: None,
            after: None,
        });
        for encoding in [Encoding::Json, Encoding::Msgpack] {
            let read = encoding.decode_client(&encoding.encode_client(&message)).unwrap();
            prop_assert_eq!(&read, &message);
        }
    }

    #[test]
    fn stored_events_are_sent_as_the_serializer_would(events in prop::collection::vec(event(), 0..5)) {
        let stored: Vec<Vec<u8>> = events
            .iter()
            .map(|event| {
                let mut bytes = Vec::new();
                event.write_msgpack(&mut bytes);
                bytes
            })
            .collect();
        let message = ServerMessage::Events(Events { object: 3, events });
        for encoding in [Encoding::Json, Encoding::Msgpack] {
            let copied = encode_events(encoding, 3, &stored).unwrap();
            prop_assert_eq!(copied, encoding.encode_server(&message));
        }
    }

    #[test]
    fn bytes_survive_json(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
        let mut packed = Vec::new();
        rmp::encode::write_bin(&mut packed, &bytes).unwrap();
        let payload = Payload::from_msgpack(&packed).unwrap();
        let json = serde_json::to_string(&payload).unwrap();
        prop_assert_eq!(serde_json::from_str::<Payload>(&json).unwrap(), payload);
    }
}

#[test]
fn what_a_payload_may_not_hold_is_refused() {
    let deep = |levels| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
    assert!(serde_json::from_str::<Payload>(&deep(32)).is_ok());
    assert!(serde_json::from_str::<Payload>(&deep(33)).is_err());
    for binary in [r#""not base64!""#, r#"{"$binary": "YUdrPQ=="}"#] {
        assert!(serde_json::from_str::<Payload>(&format!(r#"{{"$binary": {binary}}}"#)).is_err());
    }
    let refused: [&[u8]; 6] = [
        b"\xc0\xc0",                             // two values
        b"\x81\x01\x02",                         // a map with a number as key
        b"\xd4\x01\x00",                         // an extension type
        b"\xcb\x7f\xf0\x00\x00\x00\x00\x00\x00", // infinity
        b"\xdd\xff\xff\xff\xff",                 // a list that claims 4 G items
        b"\xc1",                                 // a marker that does not exist
    ];
    for bytes in refused {
        assert!(Payload::from_msgpack(bytes).is_err(), "{bytes:02x?}");
    }
}

/// Bytes are no level of their own, though JSON has no other form for them than a map.
#[test]
fn bytes_may_stand_at_the_greatest_depth_in_both_encodings() {
    let deep = |levels: usize, inner: &[u8]| [&vec![0x91; levels], inner].concat();
    let payload = Payload::from_msgpack(&deep(32, b"\xc4\x01x")).unwrap();
    let json = serde_json::to_string(&payload).unwrap();
    assert_eq!(serde_json::from_str::<Payload>(&json).unwrap(), payload);
    assert_eq!(Payload::from_msgpack(&deep(32, b"\x81\xa7$binary\xa4eA==")).unwrap(), payload);
    assert!(Payload::from_msgpack(&deep(32, b"\x80")).is_err());
    assert!(Payload::from_msgpack(&deep(32, b"\x81\xa1x\xa1y")).is_err());
    assert!(Payload::from_msgpack(&deep(33, b"\xc4\x01x")).is_err());
}

/// What is skipped while looking for a request's id nests on the stack as well.
#[test]
fn deep_nesting_is_an_error_and_no_overflow() {
    for marker in [0x91, 0x81] {
        let deep = vec![marker; 60_000];
        assert!(Encoding::Msgpack.decode_client(&deep).is_err());
        assert_eq!(Encoding::Msgpack.request_id(&deep), None);
    }
    let deep = "{\"a\":".repeat(10_000);
    assert!(Encoding::Json.decode_client(deep.as_bytes()).is_err());
    assert_eq!(Encoding::Json.request_id(deep.as_bytes()), None);
}

/// A forgotten field must not remove a member from the roster; only an explicit null does.
#[test]
fn presence_set_needs_data_that_may_be_null() {
    for (text, valid) in [
        (r#"{"presence.set":{"id":1,"object":2}}"#, false),
        (r#"{"presence.set":{"id":1,"object":2,"data":null}}"#, true),
        (r#"{"presence.set":{"id":1,"object":2,"data":{"name":"Ada"}}}"#, true),
    ] {
        assert_eq!(serde_json::from_str::<ClientMessage>(text).is_ok(), valid, "{text}");
    }
}
