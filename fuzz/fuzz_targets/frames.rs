//! See [`consign_fuzz::frames`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| consign_fuzz::frames(data));
