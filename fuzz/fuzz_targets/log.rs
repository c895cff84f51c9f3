//! See [`consign_fuzz::log`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| consign_fuzz::log(data));
