//! A disk that takes no more: the caller hears of it, and nothing is acknowledged that is not there.
