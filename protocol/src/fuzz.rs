//! What holds for any bytes that somebody sends as a message: run by the fuzz target `messages`, and by the tests below
//! over what it has found worth keeping.

use std::fmt::Debug;

use serde_json::Value;

use crate::{DecodeError, Encoding, Events, MAX_DEPTH, Payload, ServerMessage, encode_events};

const ENCODINGS: [Encoding; 2] = [Encoding::Json, Encoding::Msgpack];

/// How much longer a message can be in one encoding than in another. (An empty byte string has 2 bytes in MessagePack, and
/// 14 and a comma in JSON.)
const GROWTH: usize = 8;
/// What the defaults of fields that were left out have at most.
const DEFAULTS: usize = 128;

/// Takes bytes for a message of either side in either encoding. What is a message stays one, and the same, in both.
pub fn messages(bytes: &[u8]) {
    for encoding in ENCODINGS {
        let _ = encoding.request_id(bytes);
        if let Ok(message) = encoding.decode_client(bytes) {
            stays(bytes.len(), &message, Encoding::encode_client, Encoding::decode_client);
        }
        if let Ok(message) = encoding.decode_server(bytes) {
            stays(bytes.len(), &message, Encoding::encode_server, Encoding::decode_server);
            if let ServerMessage::Events(events) = &message {
                are_copied(events, &message);
            }
        }
    }
    if let Ok(payload) = Payload::from_msgpack(bytes) {
        assert_eq!(Payload::from_msgpack(payload.as_msgpack()).as_ref(), Ok(&payload));
        let json = serde_json::to_value(&payload).expect("a payload has a JSON form");
        // Bytes look like a map there.
        assert!(depth(&json) <= MAX_DEPTH + 1, "{json}");
    }
}

fn stays<M: PartialEq + Debug>(
    size: usize,
    message: &M,
    encode: impl Fn(Encoding, &M) -> Vec<u8>,
    decode: impl Fn(Encoding, &[u8]) -> Result<M, DecodeError>,
) {
    for encoding in ENCODINGS {
        let bytes = encode(encoding, message);
        assert!(bytes.len() <= GROWTH * size + DEFAULTS, "{size} became {}", bytes.len());
        assert_eq!(decode(encoding, &bytes).as_ref(), Ok(message), "{encoding:?}");
    }
}

/// The encoder that copies stored events agrees with the one that serializes them.
fn are_copied(events: &Events, message: &ServerMessage) {
    let store = |event: &crate::Event| {
        let mut stored = Vec::new();
        event.write_msgpack(&mut stored);
        stored
    };
    let stored: Vec<_> = events.events.iter().map(store).collect();
    for encoding in ENCODINGS {
        let copied = encode_events(encoding, events.object, &stored);
        assert_eq!(copied, Ok(encoding.encode_server(message)), "{encoding:?}");
    }
}

fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or_default(),
        Value::Object(entries) => 1 + entries.values().map(depth).max().unwrap_or_default(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    #[test]
    fn the_corpus_holds() {
        let corpus = concat!(env!("CARGO_MANIFEST_DIR"), "/../fuzz/corpus/messages");
        let files: Vec<_> = std::fs::read_dir(corpus).unwrap().collect();
        assert!(files.len() > 10);
        for file in files {
            super::messages(&std::fs::read(file.unwrap().path()).unwrap());
        }
    }

    proptest! {
        #[test]
        fn hostile_bytes_are_an_error_at_most(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            super::messages(&bytes);
        }
    }
}
