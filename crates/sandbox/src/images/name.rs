//! Names of images, and digests.

use std::fmt;
use std::str::FromStr;

use serde::Deserialize;
use serde::Serialize;
use sha2::Sha256;

use super::Error;
use crate::LayerName;

/// Longest name of an image.
const NAME_BYTES_MAX: usize = 64;
const PREFIX: &str = "sha256:";

/// What an image is called: a small letter or digit, then at most 63 of those, dots, underscores and hyphens.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ImageName(String);

/// A SHA-256 digest. Written `sha256:` and 64 digits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest(LayerName);

impl ImageName {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for ImageName {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let mut bytes = text.bytes();
        let is_name = bytes.next().is_some_and(is_plain)
            && bytes.all(|byte| is_plain(byte) || matches!(byte, b'.' | b'_' | b'-'))
            && text.len() <= NAME_BYTES_MAX;
        if is_name { Ok(Self(text)) } else { Err(Error::Name { text }) }
    }
}

impl FromStr for ImageName {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        Self::try_from(text.to_owned())
    }
}

impl From<ImageName> for String {
    fn from(name: ImageName) -> Self {
        name.0
    }
}

impl fmt::Display for ImageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Digest {
    /// The digest of some bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self::finish(<Sha256 as sha2::Digest>::new_with_prefix(bytes))
    }

    /// The layer whose packed bytes have this digest.
    pub fn layer(&self) -> &LayerName {
        &self.0
    }

    /// A digest of 64 digits without the prefix.
    pub(super) fn of_digits(digits: &str) -> Option<Self> {
        digits.parse().ok().map(Self)
    }

    pub(super) fn finish(hash: Sha256) -> Self {
        use std::fmt::Write as _;
        let mut digits = String::with_capacity(64);
        for byte in sha2::Digest::finalize(hash) {
            write!(digits, "{byte:02x}").expect("writing to a string cannot fail");
        }
        Self(digits.parse().expect("these are 64 hexadecimal digits"))
    }
}

impl TryFrom<String> for Digest {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        let digits = text.strip_prefix(PREFIX).and_then(Self::of_digits);
        digits.ok_or(Error::NotADigest { text })
    }
}

impl FromStr for Digest {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        Self::try_from(text.to_owned())
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.to_string()
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_in_their_folder() {
        for good in ["a", "0", "default", "python3.12", "team_base-2", &"x".repeat(64)] {
            assert!(good.parse::<ImageName>().is_ok(), "{good}");
        }
        for bad in ["", ".", "..", ".layers", "-a", "_a", "A", "a/b", "a b", "é", "a\0", &"x".repeat(65)] {
            assert!(bad.parse::<ImageName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn digests_are_of_one_kind() {
        let empty = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(Digest::of(b"").to_string(), empty);
        assert_eq!(empty.parse::<Digest>().unwrap(), Digest::of(b""));
        let upper = empty.to_uppercase();
        for bad in ["", "sha256:", "sha256:00", "sha512:00", &empty[7..], &upper, "sha256:../../x"] {
            assert!(bad.parse::<Digest>().is_err(), "{bad}");
        }
    }
}
