//! The doors of the fuzz targets: what holds for any bytes that a peer sends or a disk gives back. The tests below run the
//! same over what the targets have found worth keeping.

pub use crate::auth::{grants, tokens};
pub use crate::http::{handshake, proxy_header, query};
pub use crate::socket::frames;

/// All that is stored: events by the log, and rosters.
pub fn storage(bytes: &[u8]) {
    crate::log::storage(bytes);
    crate::object::presence::stored_rosters(bytes);
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use proptest::prelude::*;

    use super::*;

    fn over_the_corpus(target: &str, holds: impl Fn(&[u8])) {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(target);
        let files: Vec<_> = fs::read_dir(corpus).unwrap().collect();
        assert!(files.len() > 10);
        for file in files {
            holds(&fs::read(file.unwrap().path()).unwrap());
        }
    }

    #[test]
    fn frames_hold() {
        over_the_corpus("frames", frames);
    }

    #[test]
    fn grants_hold() {
        over_the_corpus("grants", grants);
    }

    #[test]
    fn tokens_hold() {
        over_the_corpus("tokens", tokens);
    }

    #[test]
    fn handshakes_hold() {
        over_the_corpus("handshake", handshake);
    }

    #[test]
    fn proxy_headers_hold() {
        over_the_corpus("proxy_header", proxy_header);
    }

    #[test]
    fn queries_hold() {
        over_the_corpus("query", query);
    }

    #[test]
    fn storage_holds() {
        over_the_corpus("storage", storage);
    }

    proptest! {
        #[test]
        fn hostile_bytes_hold(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            frames(&bytes);
            grants(&bytes);
            tokens(&bytes);
            handshake(&bytes);
            query(&bytes);
            storage(&bytes);
        }
    }
}
