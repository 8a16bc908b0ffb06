//! List prices, and what a request costs at them.
//!
//! There is no built-in table: a wrong price is worse than none. A model without a price has no list cost.

use std::collections::BTreeMap;

use api::completion::Usage;
use serde::Deserialize;

use crate::pattern;

/// Prices of one model in micro-dollars per million tokens: three dollars per million are `3_000_000`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Price {
    /// Fresh input.
    pub input: u64,
    /// Output.
    pub output: u64,
    /// Input read from the prompt cache; priced as fresh input when absent.
    #[serde(default)]
    pub cache_read: Option<u64>,
    /// Input written to the cache for five minutes; priced as fresh input when absent.
    #[serde(default)]
    pub cache_write_5m: Option<u64>,
    /// Input written to the cache for an hour; priced as fresh input when absent.
    #[serde(default)]
    pub cache_write_1h: Option<u64>,
}

/// The table.
#[derive(Clone, Debug, Default)]
pub struct Prices {
    /// Patterns, the most telling first.
    rows: Vec<(String, Price)>,
}

impl Prices {
    /// A table of model ids and patterns.
    pub fn new(prices: &BTreeMap<String, Price>) -> Self {
        let mut rows: Vec<_> = prices.iter().map(|(name, price)| (name.clone(), *price)).collect();
        rows.sort_by_key(|(name, _)| (name.contains('*'), std::cmp::Reverse(name.len())));
        Self { rows }
    }

    /// What `usage` of `model` costs, in millionths of a cent, rounded up; `None` without a price.
    pub fn cost(&self, model: &str, usage: &Usage) -> Option<i64> {
        let (_, price) = self.rows.iter().find(|(name, _)| pattern::matches(name, model))?;
        let Price { input, output, cache_read, cache_write_5m, cache_write_1h } = *price;
        let Usage {
            input_tokens,
            output_tokens,
            cache_read_input_tokens,
            cache_creation_5m_input_tokens,
            cache_creation_1h_input_tokens,
        } = *usage;
        let parts = [
            (input_tokens, input),
            (output_tokens, output),
            (cache_read_input_tokens, cache_read.unwrap_or(input)),
            (cache_creation_5m_input_tokens, cache_write_5m.unwrap_or(input)),
            (cache_creation_1h_input_tokens, cache_write_1h.unwrap_or(input)),
        ];
        let total: u128 = parts.iter().map(|(tokens, price)| u128::from(*tokens) * u128::from(*price)).sum();
        // Micro-dollars per million tokens are a hundred microcents per million tokens.
        Some(i64::try_from(total.div_ceil(10_000)).unwrap_or(i64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_telling_price_wins_and_every_kind_of_token_counts() {
        let price = |input| Price {
            input,
            output: 15_000_000,
            cache_read: Some(300_000),
            cache_write_5m: Some(3_750_000),
            cache_write_1h: None,
        };
        let table = BTreeMap::from([
            ("*".to_owned(), price(9)),
            ("big-*".to_owned(), price(5_000_000)),
            ("big-1".to_owned(), price(3_000_000)),
        ]);
        let prices = Prices::new(&table);
        let usage = Usage {
            input_tokens: 1_000_000,
            output_tokens: 1_000_000,
            cache_read_input_tokens: 1_000_000,
            cache_creation_5m_input_tokens: 1_000_000,
            cache_creation_1h_input_tokens: 1_000_000,
        };
        // 3 + 15 + 0.30 + 3.75 + 3 dollars.
        assert_eq!(prices.cost("big-1", &usage), Some(2_505_000_000));
        let one = Usage { input_tokens: 1, ..Usage::default() };
        assert_eq!(prices.cost("big-2", &one), Some(500));
        assert_eq!(prices.cost("other", &one), Some(1));
        assert_eq!(Prices::default().cost("big-1", &one), None);
    }
}
