//! See [`consign_fuzz::records`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| consign_fuzz::records(data));
