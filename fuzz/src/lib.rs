//! What must hold whatever bytes come from outside, one function for each parser. A fuzzer calls them with bytes of its own
//! (`fuzz_targets`), a test with those in `corpus`.

use std::fmt;
use std::str::FromStr;

pub mod body;
pub mod client_hello;
pub mod dns;
pub mod hand_protocol;
pub mod host_pattern;
mod http_lines;
pub mod http_request;
pub mod http_response;
pub mod images;
pub mod layer_unpack;
pub mod model_stream;
pub mod socks;
pub mod tar;
pub mod wire;

// The parsers of models' streams are private to their crate: their sources, as they are, under the names that they use.
#[path = "../../crates/model/src/block.rs"]
#[allow(dead_code, reason = "only the parsers are used here")]
mod block;
#[path = "../../crates/model/src/input.rs"]
mod input;
#[path = "../../crates/model/src/limits.rs"]
#[allow(dead_code, reason = "only the parsers are used here")]
mod limits;
#[path = "../../crates/model/src/raw.rs"]
#[allow(dead_code, reason = "only the parsers are used here")]
mod raw;
#[path = "../../crates/model/src/sse.rs"]
#[allow(dead_code, reason = "only the parsers are used here")]
mod sse;
#[path = "../../crates/model/src/tools.rs"]
mod tools;

/// A check of one parser.
pub type Check = fn(&[u8]);

/// Every check, by the name of its corpus.
pub const TARGETS: [(&str, Check); 13] = [
    ("body", body::check),
    ("client_hello", client_hello::check),
    ("dns", dns::check),
    ("hand_protocol", hand_protocol::check),
    ("host_pattern", host_pattern::check),
    ("http_request", http_request::check),
    ("http_response", http_response::check),
    ("image_archive", images::archives::check),
    ("image_document", images::documents::check),
    ("layer_unpack", layer_unpack::check),
    ("model_stream", model_stream::check),
    ("socks", socks::check),
    ("wire", wire::check),
];

/// Stands for the layers of the crate that the parsers of images are taken from: only their names matter.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub struct LayerName(String);

impl FromStr for LayerName {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        if text.len() == 64 && text.bytes().all(is_digit) { Ok(Self(text.to_owned())) } else { Err(Error) }
    }
}

impl fmt::Display for LayerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Stands for that crate's error.
#[derive(Debug, thiserror::Error)]
#[error("not the name of a layer")]
pub struct Error;
