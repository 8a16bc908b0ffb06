//! Reading a query string parameter by parameter, so that every refusal names the parameter.
//!
//! Repeated parameters are written `types[]=a&types[]=b` by the official clients; `types=a` is taken too. `beta` is
//! ignored, as the official clients add it to every URL.

use std::borrow::Cow;

use crate::body::alternatives;
use crate::body::excerpt;
use crate::errors::Error;
use crate::limits::QUERY_VALUES_MAX;
use crate::page::Cursor;
use crate::page::Order;
use crate::time::Timestamp;

/// The parameters of a query string.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query {
    pairs: Vec<(String, String)>,
}

/// A range of time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Range {
    /// After.
    pub gt: Option<Timestamp>,
    /// At or after.
    pub gte: Option<Timestamp>,
    /// Before.
    pub lt: Option<Timestamp>,
    /// At or before.
    pub lte: Option<Timestamp>,
}

impl Query {
    /// Reads a query string, and refuses every parameter that is not in `names`.
    pub fn parse(raw: Option<&str>, names: &[&str]) -> Result<Self, Error> {
        let mut pairs = Vec::new();
        for pair in raw.unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let name = decode(name)?;
            if name == "beta" {
                continue;
            }
            if !names.contains(&name.strip_suffix("[]").unwrap_or(&name)) {
                return Err(refuse(&excerpt(&name), "Extra inputs are not permitted"));
            }
            pairs.push((name.into_owned(), decode(value)?.into_owned()));
        }
        Ok(Self { pairs })
    }

    /// A parameter that may be given once.
    pub fn text(&self, name: &str) -> Result<Option<&str>, Error> {
        let mut values = self.pairs.iter().filter(|(key, _)| key == name).map(|(_, value)| value.as_str());
        let first = values.next();
        match values.next() {
            Some(_) => Err(refuse(name, "Given more than once")),
            None => Ok(first),
        }
    }

    /// `true` or `false`; false when it is missing.
    pub fn boolean(&self, name: &str) -> Result<bool, Error> {
        match self.text(name)? {
            None | Some("false") => Ok(false),
            Some("true") => Ok(true),
            Some(_) => Err(refuse(name, "Input should be a valid boolean")),
        }
    }

    /// A whole number of at least 1.
    pub fn positive(&self, name: &str) -> Result<Option<i64>, Error> {
        let Some(text) = self.text(name)? else {
            return Ok(None);
        };
        let number: i64 = text.parse().map_err(|_| refuse(name, "Input should be a valid integer"))?;
        if number < 1 {
            return Err(refuse(name, "Input should be greater than or equal to 1"));
        }
        Ok(Some(number))
    }

    /// `limit`, from 1 to `max`.
    pub fn limit(&self, default: usize, max: usize) -> Result<usize, Error> {
        let Some(limit) = self.positive("limit")? else {
            return Ok(default);
        };
        match usize::try_from(limit) {
            Ok(limit) if limit <= max => Ok(limit),
            Ok(_) | Err(_) => Err(refuse("limit", &format!("Input should be less than or equal to {max}"))),
        }
    }

    /// `order`.
    pub fn order(&self, default: Order) -> Result<Order, Error> {
        match self.text("order")? {
            None => Ok(default),
            Some("asc") => Ok(Order::Asc),
            Some("desc") => Ok(Order::Desc),
            Some(_) => Err(refuse("order", "Input should be 'asc' or 'desc'")),
        }
    }

    /// `page`, which has to belong to a list in `order`. The empty text is as good as none.
    pub fn page(&self, order: Order) -> Result<Option<Cursor>, Error> {
        let Some(text) = self.text("page")?.filter(|text| !text.is_empty()) else {
            return Ok(None);
        };
        let Some(cursor) = Cursor::decode(text) else {
            return Err(refuse("page", "The cursor is not valid"));
        };
        cursor.check_order(order)?;
        Ok(Some(cursor))
    }

    /// A repeated parameter, each value one of `choices`.
    pub fn choices(&self, name: &str, choices: &[&str]) -> Result<Vec<String>, Error> {
        let values: Vec<&String> = self
            .pairs
            .iter()
            .filter(|(key, _)| key.strip_suffix("[]").unwrap_or(key) == name)
            .map(|(_, value)| value)
            .collect();
        if values.len() > QUERY_VALUES_MAX {
            return Err(refuse(name, &format!("At most {QUERY_VALUES_MAX} values are permitted")));
        }
        if let Some(index) = values.iter().position(|value| !choices.contains(&value.as_str())) {
            let message = format!("Input should be {}", alternatives(choices));
            return Err(refuse(&format!("{name}.{index}"), &message));
        }
        Ok(values.into_iter().cloned().collect())
    }

    /// `created_at[gt]` and its like.
    pub fn created_at(&self) -> Result<Range, Error> {
        let bound = |name: &str| match self.text(name)? {
            None => Ok(None),
            Some(text) => match Timestamp::parse(text) {
                Some(stamp) => Ok(Some(stamp)),
                None => Err(refuse(name, "Input should be a valid RFC 3339 timestamp")),
            },
        };
        Ok(Range {
            gt: bound("created_at[gt]")?,
            gte: bound("created_at[gte]")?,
            lt: bound("created_at[lt]")?,
            lte: bound("created_at[lte]")?,
        })
    }
}

impl Range {
    /// A point lies within.
    pub fn contains(&self, point: Timestamp) -> bool {
        let Self { gt, gte, lt, lte } = *self;
        gt.is_none_or(|bound| point > bound)
            && gte.is_none_or(|bound| point >= bound)
            && lt.is_none_or(|bound| point < bound)
            && lte.is_none_or(|bound| point <= bound)
    }
}

/// A 400 about a parameter.
pub(crate) fn refuse(name: &str, message: &str) -> Error {
    Error::invalid(format!("{name}: {message}"))
}

/// Undoes percent-encoding, and `+` for a space. A stray percent sign is left as it is.
fn decode(text: &str) -> Result<Cow<'_, str>, Error> {
    if !text.contains(['%', '+']) {
        return Ok(Cow::Borrowed(text));
    }
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut index = 0;
    while index < bytes.len() {
        let escaped = bytes.get(index + 1..index + 3).filter(|_| bytes[index] == b'%').and_then(hex);
        let plain = if bytes[index] == b'+' { b' ' } else { bytes[index] };
        decoded.push(escaped.unwrap_or(plain));
        index += if escaped.is_some() { 3 } else { 1 };
    }
    String::from_utf8(decoded)
        .map(Cow::Owned)
        .map_err(|_| Error::invalid("The query string is not valid UTF-8"))
}

fn hex(digits: &[u8]) -> Option<u8> {
    let digits = std::str::from_utf8(digits).ok()?;
    if !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    u8::from_str_radix(digits, 16).ok()
}
