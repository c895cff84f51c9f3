//! See [`consign_fuzz::names`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| consign_fuzz::names(data));
