#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::layer_unpack::check(bytes));
