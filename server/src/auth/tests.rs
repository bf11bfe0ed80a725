//! Tokens through the whole check: which are taken, which are refused, and why.

mod algorithms;
mod claims;
mod keys;
pub(super) mod support;
