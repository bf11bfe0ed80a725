//! skeleton
#![allow(dead_code)]
mod machine;
pub mod peers;
mod table;
