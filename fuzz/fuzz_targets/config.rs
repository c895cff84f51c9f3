//! See [`consign_fuzz::config`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| consign_fuzz::config(data));
