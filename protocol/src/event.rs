//! An event: an entry of an object's log, and the form in which it is both stored and sent.

use serde::ser::SerializeStruct as _;
use serde::{Deserialize, Serialize, Serializer};

use crate::{DecodeError, Encoding, Key, Kind, Payload, codec};

/// An entry of an object's log.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Event {
    /// Its place in the log, from 1, without holes.
    pub offset: u64,
    /// When the server took it in: milliseconds since the Unix epoch, never before the event ahead of it.
    pub time: u64,
    /// The session that published it.
    pub sender: Box<str>,
    /// What kind of event it is, in the application's words.
    pub kind: Kind,
    /// What the application sent.
    pub data: Payload,
    /// The key under which it is stored once.
    #[serde(default)]
    pub key: Option<Key>,
    /// The user of the publisher's token. `None` if the publisher had no token.
    #[serde(default)]
    pub user: Option<Box<str>>,
}

impl Event {
    /// Appends the MessagePack form, copying the payload as it is.
    pub fn write_msgpack(&self, out: &mut Vec<u8>) {
        use rmp::encode as put;
        const MEMORY: &str = "writing to memory does not fail";
        put::write_array_len(out, 5 + self.optional_fields()).expect(MEMORY);
        put::write_uint(out, self.offset).expect(MEMORY);
        put::write_uint(out, self.time).expect(MEMORY);
        put::write_str(out, &self.sender).expect(MEMORY);
        put::write_str(out, &self.kind).expect(MEMORY);
        out.extend_from_slice(self.data.as_msgpack());
        match (&self.key, &self.user) {
            (Some(key), _) => put::write_str(out, key).expect(MEMORY),
            (None, Some(_)) => put::write_nil(out).expect(MEMORY),
            (None, None) => {}
        }
        if let Some(user) = &self.user {
            put::write_str(out, user).expect(MEMORY);
        }
    }

    /// The number of optional fields in an array. A missing `key` takes a place there if `user` follows it.
    fn optional_fields(&self) -> u32 {
        match (&self.key, &self.user) {
            (_, Some(_)) => 2,
            (Some(_), None) => 1,
            (None, None) => 0,
        }
    }

    /// Reads the form that [`Event::write_msgpack`] writes.
    pub fn from_msgpack(bytes: &[u8]) -> Result<Self, DecodeError> {
        codec::from_msgpack(bytes).map_err(DecodeError::new)
    }
}

impl Serialize for Event {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let is_array = !serializer.is_human_readable();
        let mut event =
            serializer.serialize_struct("Event", 5 + self.optional_fields() as usize)?;
        event.serialize_field("offset", &self.offset)?;
        event.serialize_field("time", &self.time)?;
        event.serialize_field("sender", &self.sender)?;
        event.serialize_field("kind", &self.kind)?;
        event.serialize_field("data", &self.data)?;
        if self.key.is_some() || is_array && self.user.is_some() {
            event.serialize_field("key", &self.key)?;
        }
        if let Some(user) = &self.user {
            event.serialize_field("user", user)?;
        }
        event.end()
    }
}

/// Encodes an `events` message from events in their MessagePack form.
///
/// MessagePack members get those bytes as they are, so a page of the log is a copy. Fails only where an
/// event is not what [`Event::write_msgpack`] wrote.
pub fn encode_events(
    encoding: Encoding,
    object: u64,
    events: &[impl AsRef<[u8]>],
) -> Result<Vec<u8>, DecodeError> {
    let size: usize = events.iter().map(|e| e.as_ref().len()).sum();
    match encoding {
        Encoding::Msgpack => {
            use rmp::encode as put;
            const MEMORY: &str = "writing to memory does not fail";
            let mut out = Vec::with_capacity(size + 24);
            put::write_map_len(&mut out, 1).expect(MEMORY);
            put::write_str(&mut out, "events").expect(MEMORY);
            put::write_array_len(&mut out, 2).expect(MEMORY);
            put::write_uint(&mut out, object).expect(MEMORY);
            put::write_array_len(&mut out, events.len() as u32).expect(MEMORY);
            for event in events {
                out.extend_from_slice(event.as_ref());
            }
            Ok(out)
        }
        Encoding::Json => {
            let mut out = Vec::with_capacity(size * 2 + 40);
            out.extend_from_slice(
                format!("{{\"events\":{{\"object\":{object},\"events\":[").as_bytes(),
            );
            for (index, event) in events.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                let event = Event::from_msgpack(event.as_ref())?;
                serde_json::to_writer(&mut out, &event)
                    .map_err(|e| DecodeError::new(e.to_string()))?;
            }
            out.extend_from_slice(b"]}}");
            Ok(out)
        }
    }
}
