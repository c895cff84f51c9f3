//! See [`consign_fuzz::http`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| consign_fuzz::http(data));
