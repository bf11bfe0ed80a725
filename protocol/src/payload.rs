//! What applications send: any JSON-like value, held as MessagePack bytes.
//!
//! A payload is checked once, when it is decoded, and is then only copied: the log stores these bytes and
//! MessagePack members receive them as they are. JSON has no bytes; there a byte string is written as
//! `{"$binary": "<base64>"}`, and that form is turned into bytes in whichever encoding it arrives.

use std::cell::Cell;
use std::fmt;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use rmp::Marker;
use rmp::encode as put;
use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::ser::{self, Serialize, SerializeMap as _, SerializeSeq as _, Serializer};

use crate::codec;

/// How deep lists and maps may nest.
pub const MAX_DEPTH: usize = 32;

const BINARY_KEY: &str = "$binary";

/// A value of null, booleans, numbers, text, bytes, lists and maps with text keys, at most [`MAX_DEPTH`] deep.
#[derive(Clone, PartialEq, Eq)]
pub struct Payload(Vec<u8>);

/// The bytes are not one well-formed value of the kinds that a [`Payload`] may hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a valid payload: {0}")]
pub struct InvalidPayload(String);

impl Payload {
    /// The value as MessagePack.
    pub fn as_msgpack(&self) -> &[u8] {
        &self.0
    }

    /// Checks foreign MessagePack bytes and brings them into canonical form.
    pub fn from_msgpack(bytes: &[u8]) -> Result<Self, InvalidPayload> {
        codec::from_msgpack(bytes).map_err(InvalidPayload)
    }

    /// The value of anything that serializes.
    pub fn of(value: &impl Serialize) -> Result<Self, InvalidPayload> {
        let named = rmp_serde::to_vec_named(value).map_err(|e| InvalidPayload(e.to_string()))?;
        Self::from_msgpack(&named)
    }

    /// Reads the value into a type of the application.
    pub fn read<'a, T: de::Deserialize<'a>>(&'a self) -> Result<T, InvalidPayload> {
        rmp_serde::from_slice(&self.0).map_err(|e| InvalidPayload(e.to_string()))
    }
}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match serde_json::to_string(self) {
            Ok(json) => f.write_str(&json),
            Err(e) => write!(f, "<{e}>"),
        }
    }
}

impl<'de> de::Deserialize<'de> for Payload {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut out = Vec::new();
        Pack { out: &mut out, depth: 0 }.deserialize(deserializer)?;
        Ok(Self(out))
    }
}

/// Writes the value that it visits to `out` as canonical MessagePack.
struct Pack<'a> {
    out: &'a mut Vec<u8>,
    depth: usize,
}

impl Pack<'_> {
    fn deeper(&mut self) -> Pack<'_> {
        Pack { out: self.out, depth: self.depth + 1 }
    }
}

fn too_deep<E: de::Error>() -> E {
    E::custom(format_args!("nested deeper than {MAX_DEPTH}"))
}

/// Writing to memory fails only where a length does not fit its field.
fn written<E: de::Error, T, F: fmt::Display>(result: Result<T, F>) -> Result<(), E> {
    result.map(drop).map_err(E::custom)
}

fn length<E: de::Error>(len: usize) -> Result<u32, E> {
    u32::try_from(len).map_err(E::custom)
}

impl<'de> DeserializeSeed<'de> for Pack<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Pack<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("null, a boolean, a finite number, text, bytes, a list or a map with text keys")
    }

    fn visit_unit<E: de::Error>(self) -> Result<(), E> {
        written(put::write_nil(self.out))
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<(), E> {
        written(put::write_bool(self.out, value))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<(), E> {
        written(put::write_uint(self.out, value))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<(), E> {
        written(put::write_sint(self.out, value))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<(), E> {
        if !value.is_finite() {
            return Err(E::custom("a number must be finite"));
        }
        written(put::write_f64(self.out, value))
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<(), E> {
        length::<E>(value.len())?;
        written(put::write_str(self.out, value))
    }

    fn visit_bytes<E: de::Error>(self, value: &[u8]) -> Result<(), E> {
        length::<E>(value.len())?;
        written(put::write_bin(self.out, value))
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut items: A) -> Result<(), A::Error> {
        if self.depth >= MAX_DEPTH {
            return Err(too_deep());
        }
        let start = self.out.len();
        let inner = self.deeper();
        let mut count = 0;
        while items.next_element_seed(Pack { out: inner.out, depth: inner.depth })?.is_some() {
            count += 1;
        }
        let out = &mut *inner.out;
        let mut header = Vec::with_capacity(5);
        written(put::write_array_len(&mut header, length(count)?))?;
        put_before(out, start, header);
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut entries: A) -> Result<(), A::Error> {
        // Bytes have the form of a map, and may stand where no map may.
        let is_too_deep = self.depth >= MAX_DEPTH;
        if self.depth > MAX_DEPTH {
            return Err(too_deep());
        }
        let start = self.out.len();
        let inner = self.deeper();
        let mut count = 0;
        while entries.next_key_seed(PackKey(&mut *inner.out))?.is_some() {
            entries.next_value_seed(Pack { out: inner.out, depth: inner.depth })?;
            count += 1;
        }
        let out = &mut *inner.out;
        if count == 1 && out[start..].starts_with(b"\xa7$binary") {
            let bytes =
                binary_form(&out[start + 1 + BINARY_KEY.len()..]).map_err(de::Error::custom)?;
            out.truncate(start);
            return written(put::write_bin(out, &bytes));
        }
        if is_too_deep {
            return Err(too_deep());
        }
        let mut header = Vec::with_capacity(5);
        written(put::write_map_len(&mut header, length(count)?))?;
        put_before(out, start, header);
        Ok(())
    }
}

/// The length of a list is known only at its end (JSON), yet stands before it.
fn put_before(out: &mut Vec<u8>, start: usize, header: Vec<u8>) {
    out.splice(start..start, header);
}

fn binary_form(value: &[u8]) -> Result<Vec<u8>, InvalidPayload> {
    let invalid = || InvalidPayload(format!("{BINARY_KEY} must hold base64 text"));
    let (text, _) = rmp::decode::read_str_from_slice(value).map_err(|_| invalid())?;
    BASE64_STANDARD.decode(text).map_err(|_| invalid())
}

struct PackKey<'a>(&'a mut Vec<u8>);

impl<'de> DeserializeSeed<'de> for PackKey<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for PackKey<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text key")
    }

    fn visit_str<E: de::Error>(self, key: &str) -> Result<(), E> {
        Pack { out: self.0, depth: 0 }.visit_str(key)
    }
}

impl Serialize for Payload {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Unpack::new(&Cell::new(&self.0)).serialize(serializer)
    }
}

/// Serializes the next value of the MessagePack bytes and moves past it.
struct Unpack<'a, 'b> {
    rest: &'b Cell<&'a [u8]>,
    depth: usize,
}

impl<'a, 'b> Unpack<'a, 'b> {
    fn new(rest: &'b Cell<&'a [u8]>) -> Self {
        Self { rest, depth: 0 }
    }

    fn take<E: ser::Error>(&self, count: usize) -> Result<&'a [u8], E> {
        let (taken, rest) = self
            .rest
            .get()
            .split_at_checked(count)
            .ok_or_else(|| E::custom("payload cut short"))?;
        self.rest.set(rest);
        Ok(taken)
    }

    fn number<const N: usize, E: ser::Error>(&self) -> Result<[u8; N], E> {
        self.take(N).map(|bytes| {
            let mut number = [0; N];
            number.copy_from_slice(bytes);
            number
        })
    }

    fn len<E: ser::Error>(&self, width: usize) -> Result<usize, E> {
        Ok(self.take::<E>(width)?.iter().fold(0, |len, byte| len << 8 | usize::from(*byte)))
    }

    fn text<E: ser::Error>(&self, len: usize) -> Result<&'a str, E> {
        std::str::from_utf8(self.take(len)?).map_err(E::custom)
    }

    fn inner<E: ser::Error>(&self) -> Result<Self, E> {
        if self.depth > MAX_DEPTH {
            return Err(E::custom("payload nested too deep"));
        }
        Ok(Self { rest: self.rest, depth: self.depth + 1 })
    }

    fn list<S: Serializer>(&self, len: usize, serializer: S) -> Result<S::Ok, S::Error> {
        let inner = self.inner()?;
        let mut list = serializer.serialize_seq(Some(len))?;
        for _ in 0..len {
            list.serialize_element(&inner)?;
        }
        list.end()
    }

    fn map<S: Serializer>(&self, len: usize, serializer: S) -> Result<S::Ok, S::Error> {
        let inner = self.inner()?;
        let mut map = serializer.serialize_map(Some(len))?;
        for _ in 0..len {
            map.serialize_entry(&inner, &inner)?;
        }
        map.end()
    }

    fn bytes<S: Serializer>(&self, len: usize, serializer: S) -> Result<S::Ok, S::Error> {
        let bytes = self.take(len)?;
        if !serializer.is_human_readable() {
            return serializer.serialize_bytes(bytes);
        }
        let mut map = serializer.serialize_map(Some(1))?;
        map.serialize_entry(BINARY_KEY, &BASE64_STANDARD.encode(bytes))?;
        map.end()
    }
}

impl Serialize for Unpack<'_, '_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let marker = Marker::from_u8(self.take::<S::Error>(1)?[0]);
        match marker {
            Marker::Null => serializer.serialize_unit(),
            Marker::True => serializer.serialize_bool(true),
            Marker::False => serializer.serialize_bool(false),
            Marker::FixPos(value) => serializer.serialize_u8(value),
            Marker::FixNeg(value) => serializer.serialize_i8(value),
            Marker::U8 => serializer.serialize_u8(u8::from_be_bytes(self.number()?)),
            Marker::U16 => serializer.serialize_u16(u16::from_be_bytes(self.number()?)),
            Marker::U32 => serializer.serialize_u32(u32::from_be_bytes(self.number()?)),
            Marker::U64 => serializer.serialize_u64(u64::from_be_bytes(self.number()?)),
            Marker::I8 => serializer.serialize_i8(i8::from_be_bytes(self.number()?)),
            Marker::I16 => serializer.serialize_i16(i16::from_be_bytes(self.number()?)),
            Marker::I32 => serializer.serialize_i32(i32::from_be_bytes(self.number()?)),
            Marker::I64 => serializer.serialize_i64(i64::from_be_bytes(self.number()?)),
            Marker::F32 => serializer.serialize_f64(f32::from_be_bytes(self.number()?).into()),
            Marker::F64 => serializer.serialize_f64(f64::from_be_bytes(self.number()?)),
            Marker::FixStr(len) => serializer.serialize_str(self.text(len.into())?),
            Marker::Str8 => serializer.serialize_str(self.text(self.len(1)?)?),
            Marker::Str16 => serializer.serialize_str(self.text(self.len(2)?)?),
            Marker::Str32 => serializer.serialize_str(self.text(self.len(4)?)?),
            Marker::Bin8 => self.bytes(self.len(1)?, serializer),
            Marker::Bin16 => self.bytes(self.len(2)?, serializer),
            Marker::Bin32 => self.bytes(self.len(4)?, serializer),
            Marker::FixArray(len) => self.list(len.into(), serializer),
            Marker::Array16 => self.list(self.len(2)?, serializer),
            Marker::Array32 => self.list(self.len(4)?, serializer),
            Marker::FixMap(len) => self.map(len.into(), serializer),
            Marker::Map16 => self.map(self.len(2)?, serializer),
            Marker::Map32 => self.map(self.len(4)?, serializer),
            other => Err(ser::Error::custom(format_args!("{other:?} has no place in a payload"))),
        }
    }
}
