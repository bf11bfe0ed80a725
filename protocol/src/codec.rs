//! Messages to bytes and back, in both encodings.
//!
//! A message is a map with one entry: its type, and its body. In JSON the body is an object; in MessagePack it
//! is an array of the same fields in the order in which the types declare them.

use serde::de::{DeserializeOwned, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use crate::{ClientMessage, ServerMessage};

/// The WebSocket subprotocol of the JSON encoding, which is also spoken where a client names none.
pub const SUBPROTOCOL_JSON: &str = "dormouse.v1.json";
/// The WebSocket subprotocol of the MessagePack encoding.
pub const SUBPROTOCOL_MSGPACK: &str = "dormouse.v1.msgpack";

/// How deep a MessagePack message may nest, with its payload and the records around it.
const MAX_DEPTH_MSGPACK: usize = 4 * crate::MAX_DEPTH;

/// How the messages of a connection are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Encoding {
    /// Compact, in binary frames.
    Msgpack,
    /// Readable, in text frames.
    Json,
}

/// The bytes are not a message; says what was expected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct DecodeError(String);

impl DecodeError {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }
}

impl Encoding {
    /// The encoding that a subprotocol names.
    pub fn from_subprotocol(name: &str) -> Option<Self> {
        match name {
            SUBPROTOCOL_MSGPACK => Some(Self::Msgpack),
            SUBPROTOCOL_JSON => Some(Self::Json),
            _ => None,
        }
    }

    /// Reads a message of a client.
    pub fn decode_client(self, bytes: &[u8]) -> Result<ClientMessage, DecodeError> {
        self.decode(bytes)
    }

    /// Reads a message of the server.
    pub fn decode_server(self, bytes: &[u8]) -> Result<ServerMessage, DecodeError> {
        self.decode(bytes)
    }

    /// The id of a request that [`Encoding::decode_client`] refused, where it can be told.
    pub fn request_id(self, bytes: &[u8]) -> Option<u32> {
        self.decode::<Requested>(bytes).ok().and_then(|requested| requested.0)
    }

    /// Writes a message of a client.
    pub fn encode_client(self, message: &ClientMessage) -> Vec<u8> {
        self.encode(message)
    }

    /// Writes a message of the server.
    pub fn encode_server(self, message: &ServerMessage) -> Vec<u8> {
        self.encode(message)
    }

    fn decode<T: DeserializeOwned>(self, bytes: &[u8]) -> Result<T, DecodeError> {
        match self {
            Self::Json => {
                serde_json::from_slice(bytes).map_err(|error| json_error::<T>(bytes, &error))
            }
            Self::Msgpack => from_msgpack(bytes).map_err(DecodeError),
        }
    }

    fn encode(self, message: &impl Serialize) -> Vec<u8> {
        match self {
            Self::Json => serde_json::to_vec(message).expect("messages have a JSON form"),
            Self::Msgpack => rmp_serde::to_vec(message).expect("messages have a MessagePack form"),
        }
    }
}

/// Reads a value that takes all of the bytes; or says what was expected.
pub(crate) fn from_msgpack<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    let mut rest = bytes;
    let mut deserializer = rmp_serde::Deserializer::new(&mut rest);
    // Whatever is skipped nests on the stack as well.
    deserializer.set_max_depth(MAX_DEPTH_MSGPACK);
    let value = T::deserialize(&mut deserializer).map_err(|e| e.to_string())?;
    if rest.is_empty() { Ok(value) } else { Err("there are bytes after the end".into()) }
}

/// Where the text is JSON, its position in the line says less than what was expected. Half of a surrogate pair is what clients
/// get wrong that cut texts in the middle of an emoji: the error names the field.
fn json_error<T: DeserializeOwned>(bytes: &[u8], error: &serde_json::Error) -> DecodeError {
    let text = error.to_string();
    if text.contains("surrogate") || text.contains("hex escape") {
        let mut json = serde_json::Deserializer::from_slice(bytes);
        let field = serde_path_to_error::deserialize::<_, T>(&mut json).err();
        let field = field.map_or_else(|| "?".into(), |error| error.path().to_string());
        return DecodeError(format!(
            "the text at `{field}` must be well-formed Unicode: an escape \\uD800 to \\uDFFF stands without its other half, \
             or an escape is not four hexadecimal digits"
        ));
    }
    if error.classify() == serde_json::error::Category::Data {
        let what = text.rsplit_once(" at line ").map_or(&*text, |(what, _)| what);
        return DecodeError::new(what);
    }
    DecodeError(format!("the message is not JSON: {text}"))
}

/// What is left of a message of which only the request's id matters: `{type: {"id": n, …}}` or `{type: [n, …]}`.
struct Requested(Option<u32>);

impl<'de> Deserialize<'de> for Requested {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Message;
        impl<'de> Visitor<'de> for Message {
            type Value = Requested;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a message")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Requested, A::Error> {
                let body = entries.next_entry::<IgnoredAny, Body>()?;
                Ok(Requested(body.and_then(|(_, body)| body.0)))
            }
        }
        deserializer.deserialize_map(Message)
    }
}

struct Body(Option<u32>);

impl<'de> Deserialize<'de> for Body {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;
        impl<'de> Visitor<'de> for Fields {
            type Value = Body;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("the body of a message")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut fields: A) -> Result<Body, A::Error> {
                let id = fields.next_element()?;
                while fields.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Body(id))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Body, A::Error> {
                let mut id = None;
                while let Some(name) = fields.next_key::<String>()? {
                    if name == "id" {
                        id = fields.next_value()?;
                    } else {
                        fields.next_value::<IgnoredAny>()?;
                    }
                }
                Ok(Body(id))
            }
        }
        deserializer.deserialize_any(Fields)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_an_emoji_is_an_error_that_names_the_field() {
        for (json, field) in [
            (r#"{"publish":{"id":1,"object":1,"data":{"a":["b\ud83d"]}}}"#, "publish.data"),
            (r#"{"publish":{"id":1,"object":1,"data":"a\ud83db"}}"#, "publish.data"),
            (r#"{"publish":{"id":1,"object":1,"data":1,"key":"\ude00"}}"#, "publish.key"),
            (r#"{"signal":{"object":1,"data":"\ud83d\u0041"}}"#, "signal.data"),
        ] {
            let error = Encoding::Json.decode_client(json.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(&format!("`{field}")), "{error}");
            assert!(error.contains("well-formed Unicode"), "{error}");
        }
    }

    #[test]
    fn a_refused_request_is_named_by_its_id() {
        let json = br#"{"publish":{"object":1,"id":7,"colour":"red"}}"#;
        assert!(Encoding::Json.decode_client(json).is_err());
        assert_eq!(Encoding::Json.request_id(json), Some(7));

        let short =
            rmp_serde::to_vec(&std::collections::BTreeMap::from([("publish", (7,))])).unwrap();
        assert!(Encoding::Msgpack.decode_client(&short).is_err());
        assert_eq!(Encoding::Msgpack.request_id(&short), Some(7));

        assert_eq!(Encoding::Json.request_id(b"[1,2"), None);
    }

    #[test]
    fn bytes_after_the_message_are_refused() {
        let mut bytes =
            Encoding::Msgpack.encode_client(&ClientMessage::Ping(crate::Ping { id: 1 }));
        bytes.push(0xc0);
        assert!(Encoding::Msgpack.decode_client(&bytes).is_err());
        assert!(Encoding::Json.decode_client(br#"{"ping":{"id":1}} x"#).is_err());
    }
}
