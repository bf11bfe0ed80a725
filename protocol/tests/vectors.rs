//! The vector files hold for this implementation: the same bytes in both encodings, both ways.
//!
//! `client-js` runs the same files. `UPDATE_VECTORS=1 cargo test -p dormouse-protocol` writes the bytes of new entries.

#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]

use std::fmt::{Debug, Write as _};
use std::path::Path;

use dormouse_protocol::{DecodeError, Encoding};
use serde::{Deserialize, Serialize};
use serde_json::Value;

#[derive(Serialize, Deserialize)]
struct Vector {
    name: String,
    json: Value,
    #[serde(default)]
    msgpack: String,
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut hex, byte| {
        write!(hex, "{byte:02x}").unwrap();
        hex
    })
}

fn unhex(text: &str) -> Vec<u8> {
    let digit = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
    (0..text.len()).step_by(2).map(digit).collect()
}

fn check<M: PartialEq + Debug>(
    file: &str,
    decode: impl Fn(Encoding, &[u8]) -> Result<M, DecodeError>,
    encode: impl Fn(Encoding, &M) -> Vec<u8>,
) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors").join(file);
    let mut vectors: Vec<Vector> = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    assert!(vectors.len() > 10);
    for Vector { name, json, msgpack } in &mut vectors {
        let message = decode(Encoding::Json, json.to_string().as_bytes()).expect(name);
        let written: Value = serde_json::from_slice(&encode(Encoding::Json, &message)).unwrap();
        assert_eq!(written, *json, "{name}: JSON");
        let bytes = encode(Encoding::Msgpack, &message);
        if msgpack.is_empty() && std::env::var_os("UPDATE_VECTORS").is_some() {
            *msgpack = hex(&bytes);
        }
        assert_eq!(hex(&bytes), *msgpack, "{name}: MessagePack");
        assert_eq!(decode(Encoding::Msgpack, &unhex(msgpack)).expect(name), message, "{name}");
    }
    if std::env::var_os("UPDATE_VECTORS").is_some() {
        let lines: Vec<_> =
            vectors.iter().map(|v| format!("  {}", serde_json::to_string(v).unwrap())).collect();
        std::fs::write(&path, format!("[\n{}\n]\n", lines.join(",\n"))).unwrap();
    }
}

#[test]
fn client_messages() {
    check("client.json", Encoding::decode_client, Encoding::encode_client);
}

#[test]
fn server_messages() {
    check("server.json", Encoding::decode_server, Encoding::encode_server);
}
