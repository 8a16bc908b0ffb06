#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::hand_protocol::check(bytes));
