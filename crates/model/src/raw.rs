//! JSON that is cut and joined as text, never read and written again, so that what is not touched keeps its bytes.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::Deserializer;
use serde::de::MapAccess;
use serde::de::Visitor;
use serde_json::value::RawValue;

/// The members of an object in their order, each value as its text.
#[derive(Debug, Default)]
pub(crate) struct Fields<'a>(pub(crate) Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'a> Fields<'a> {
    /// Reads an object; `None` when the text is none.
    pub(crate) fn of(object: &'a RawValue) -> Option<Self> {
        serde_json::from_str(object.get()).ok()
    }

    /// A member's text.
    pub(crate) fn get(&self, name: &str) -> Option<&'a RawValue> {
        self.0.iter().find(|(field, _)| field == name).map(|(_, value)| *value)
    }

    /// A member that is a string, decoded.
    pub(crate) fn string(&self, name: &str) -> Option<Cow<'a, str>> {
        self.get(name).and_then(string)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Fields<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Vec<(Cow<'de, str>, &'de RawValue)>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some((Name(name), value)) = map.next_entry()? {
                    members.push((name, value));
                }
                Ok(members)
            }
        }
        deserializer.deserialize_map(Members).map(Self)
    }
}

/// A string that is borrowed when it has no escapes.
#[derive(Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

/// Decodes a JSON string; half surrogate pairs become replacement characters. `None` when it is no string.
pub(crate) fn string(value: &RawValue) -> Option<Cow<'_, str>> {
    decode(value.get())
}

/// As [`string`], from text that may be none of ours.
pub(crate) fn decode(text: &str) -> Option<Cow<'_, str>> {
    if let Ok(Name(decoded)) = serde_json::from_str(text) {
        return Some(decoded);
    }
    let Wtf8(bytes) = serde_json::from_str(text).ok()?;
    Some(Cow::Owned(String::from_utf8_lossy(&bytes).into_owned()))
}

/// Whether decoding loses nothing.
pub(crate) fn is_proper_string(text: &str) -> bool {
    serde_json::from_str::<Name<'_>>(text).is_ok()
}

/// A string's bytes, with half surrogate pairs in the encoding that UTF-8 forbids.
struct Wtf8(Vec<u8>);

impl<'de> Deserialize<'de> for Wtf8 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bytes;
        impl Visitor<'_> for Bytes {
            type Value = Vec<u8>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
                Ok(bytes.to_vec())
            }
        }
        deserializer.deserialize_bytes(Bytes).map(Self)
    }
}

/// The text of a JSON string.
pub(crate) fn quote(text: &str) -> String {
    serde_json::to_string(text).expect("a string is always JSON")
}

/// Appends a JSON string to `out`.
pub(crate) fn push_quoted(out: &mut String, text: &str) {
    out.push_str(&quote(text));
}

/// Joins two JSON strings as text; `false` when one of them is none and nothing was done.
pub(crate) fn join_strings(left: &mut String, right: &str) -> bool {
    let fits = left.len() >= 2 && left.ends_with('"') && left.starts_with('"') && right.starts_with('"');
    if fits {
        left.pop();
        left.push_str(&right[1..]);
    }
    fits
}

/// Appends an element to a JSON array; anything else is replaced by an array of that element.
pub(crate) fn push_element(array: &mut String, element: &str) {
    let inner = array.trim().strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).map(str::trim);
    *array = match inner {
        None | Some("") => format!("[{element}]"),
        Some(inner) => format!("[{inner},{element}]"),
    };
}

/// Makes a block of JSON text, on one line: between tokens a line break is as good as a space, and what is stored
/// must fit into a line of an event stream. `None` when the text is no JSON.
pub(crate) fn block(mut text: String) -> Option<Box<RawValue>> {
    if text.contains(['\n', '\r']) {
        text = text.replace(['\n', '\r'], " ");
    }
    RawValue::from_string(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_keep_their_order_and_their_bytes() {
        let text = r#"{ "b" : 1.50 , "a\u0062": {"x" :[ ]}, "type":"t" }"#;
        let object = RawValue::from_string(text.to_owned()).unwrap();
        let fields = Fields::of(&object).unwrap();
        let shown: Vec<_> = fields.0.iter().map(|(name, value)| (name.as_ref(), value.get())).collect();
        assert_eq!(shown, [("b", "1.50"), ("ab", r#"{"x" :[ ]}"#), ("type", r#""t""#)]);
    }

    #[test]
    fn half_of_a_surrogate_pair_is_replaced_only_when_its_other_half_never_comes() {
        let mut joined = r#""a\ud83e""#.to_owned();
        assert_eq!(decode(&joined).as_deref(), Some("a\u{fffd}\u{fffd}\u{fffd}"));
        assert!(join_strings(&mut joined, r#""\udd80b""#));
        assert_eq!(decode(&joined).as_deref(), Some("a🦀b"));
    }

    #[test]
    fn elements_are_added_to_whatever_was_there() {
        for (before, after) in
            [("null", "[1]"), ("[]", "[1]"), ("[ ]", "[1]"), (r#"[{"a":0}]"#, r#"[{"a":0},1]"#)]
        {
            let mut array = before.to_owned();
            push_element(&mut array, "1");
            assert_eq!(array, after);
        }
    }
}
