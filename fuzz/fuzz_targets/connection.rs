//! See [`consign_fuzz::connection`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| consign_fuzz::connection(data));
