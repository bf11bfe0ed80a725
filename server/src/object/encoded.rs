//! A message that is encoded once for all its receivers.

use std::ops::Deref;
use std::sync::OnceLock;

use bytes::Bytes;

/// The bytes of a message, and the compressed ones that a sink has made of them.
#[derive(Debug)]
pub struct Encoded {
    bytes: Bytes,
    compressed: OnceLock<Option<Bytes>>,
}

impl Encoded {
    /// The compressed message, made at the first call; `None` if compression saves nothing.
    pub fn compressed(&self, compress: impl FnOnce(&[u8]) -> Option<Bytes>) -> Option<&Bytes> {
        self.compressed.get_or_init(|| compress(&self.bytes)).as_ref()
    }
}

impl<T: Into<Bytes>> From<T> for Encoded {
    fn from(bytes: T) -> Self {
        Self { bytes: bytes.into(), compressed: OnceLock::new() }
    }
}

impl Deref for Encoded {
    type Target = Bytes;

    fn deref(&self) -> &Bytes {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_compressed_once() {
        let message = Encoded::from(b"message".to_vec());
        assert_eq!(**message, b"message"[..]);
        let first = message.compressed(|bytes| Some(Bytes::copy_from_slice(&bytes[..3]))).cloned();
        assert_eq!(first.as_deref(), Some(&b"mes"[..]));
        assert_eq!(message.compressed(|_| panic!("it was compressed")).cloned(), first);
    }
}
