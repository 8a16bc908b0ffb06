//! Rows of the table.

use std::time::Duration;

/// What a figure is held against.
#[derive(Clone, Copy)]
pub(crate) enum Bound {
    None,
    AtMost(f64),
    AtLeast(f64),
}

pub(crate) fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

/// The value below which so many of a hundred lie.
pub(crate) fn percentile(times: &[Duration], percent: usize) -> f64 {
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    millis(sorted[((sorted.len() - 1) * percent).div_ceil(100)])
}

/// Times in milliseconds, their median and their 99th percentile.
pub(crate) fn times(what: &str, times: &[Duration], middle: Bound, high: Bound) {
    let (p50, p99) = (percentile(times, 50), percentile(times, 99));
    let bound = [describe(p50, middle, "p50 "), describe(p99, high, "p99 ")].concat();
    println!("| {what} | {p50:.2} | {p99:.2} | {} |", bound.trim());
}

/// One number with its unit.
pub(crate) fn value(what: &str, value: f64, unit: &str, bound: Bound) {
    println!("| {what} | {value:.2} {unit} | | {} |", describe(value, bound, "").trim());
}

fn describe(value: f64, bound: Bound, name: &str) -> String {
    let (is_kept, sign, limit) = match bound {
        Bound::None => return String::new(),
        Bound::AtMost(limit) => (value <= limit, "≤", limit),
        Bound::AtLeast(limit) => (value >= limit, "≥", limit),
    };
    format!("{name}{sign} {limit}: {} ", if is_kept { "ok" } else { "over" })
}
