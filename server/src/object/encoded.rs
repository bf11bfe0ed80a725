//! A message that was encoded once for all who get it.

use std::ops::Deref;
use std::sync::OnceLock;

use bytes::Bytes;

/// The bytes of a message, and the smaller ones that an outlet has made of them.
#[derive(Debug)]
pub struct Encoded {
    bytes: Bytes,
    packed: OnceLock<Option<Bytes>>,
}

impl Encoded {
    /// What the outlets have packed the message into; `None` where that is no gain. Whoever asks first packs it, for all others.
    pub fn packed(&self, pack: impl FnOnce(&[u8]) -> Option<Bytes>) -> Option<&Bytes> {
        self.packed.get_or_init(|| pack(&self.bytes)).as_ref()
    }
}

impl<T: Into<Bytes>> From<T> for Encoded {
    fn from(bytes: T) -> Self {
        Self { bytes: bytes.into(), packed: OnceLock::new() }
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
    fn it_is_packed_once() {
        let message = Encoded::from(b"message".to_vec());
        assert_eq!(**message, b"message"[..]);
        let first = message.packed(|bytes| Some(Bytes::copy_from_slice(&bytes[..3]))).cloned();
        assert_eq!(first.as_deref(), Some(&b"mes"[..]));
        assert_eq!(message.packed(|_| panic!("it was packed")).cloned(), first);
    }
}
