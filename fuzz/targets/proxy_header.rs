#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| dormouse::fuzz::proxy_header(bytes));
