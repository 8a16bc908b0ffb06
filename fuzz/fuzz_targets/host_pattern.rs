#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::host_pattern::check(bytes));
