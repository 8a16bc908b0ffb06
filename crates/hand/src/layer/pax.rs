//! The extended header of a tar archive: `LENGTH KEY=VALUE` lines, for what the plain header has no room for.

use std::ffi::CString;

use super::sys::Time;

/// Prefix of the keys of extended attributes.
const ATTRIBUTE: &[u8] = b"SCHILY.xattr.";
const NANOS: i128 = 1_000_000_000;

/// What an extended header says, as far as it says something.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Extended {
    pub(super) path: Option<Vec<u8>>,
    pub(super) link: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
    pub(super) uid: Option<u64>,
    pub(super) gid: Option<u64>,
    pub(super) modified: Option<Time>,
    pub(super) attributes: Vec<(CString, Vec<u8>)>,
    /// The size of a file with holes; a map of them precedes its data.
    pub(super) sparse_size: Option<u64>,
    /// A map in a form that is not understood.
    pub(super) has_old_sparse: bool,
}

impl Extended {
    /// Whether there is nothing to say.
    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The lines.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let Self { path, link, size, uid, gid, modified, attributes, sparse_size, has_old_sparse: _ } = self;
        let mut lines = Vec::new();
        if let Some(size) = sparse_size {
            line(&mut lines, b"GNU.sparse.major", b"1");
            line(&mut lines, b"GNU.sparse.minor", b"0");
            line(&mut lines, b"GNU.sparse.realsize", size.to_string().as_bytes());
        }
        if let Some(path) = path {
            let key: &[u8] = if sparse_size.is_some() { b"GNU.sparse.name" } else { b"path" };
            line(&mut lines, key, path);
        }
        if let Some(link) = link {
            line(&mut lines, b"linkpath", link);
        }
        for (key, number) in [(b"size".as_slice(), size), (b"uid", uid), (b"gid", gid)] {
            if let Some(number) = number {
                line(&mut lines, key, number.to_string().as_bytes());
            }
        }
        if let Some(modified) = modified {
            line(&mut lines, b"mtime", time_text(*modified).as_bytes());
        }
        for (name, value) in attributes {
            line(&mut lines, &[ATTRIBUTE, name.as_bytes()].concat(), value);
        }
        lines
    }

    /// Reads the lines; `None` if they are none.
    pub(super) fn parse(mut bytes: &[u8]) -> Option<Self> {
        let mut extended = Self::default();
        let mut is_first_form = true;
        while !bytes.is_empty() {
            let space = bytes.iter().take(20).position(|byte| *byte == b' ')?;
            let length = usize::try_from(number(&bytes[..space])?).ok()?;
            if length <= space + 1 || length > bytes.len() {
                return None;
            }
            let (line, rest) = bytes.split_at(length);
            bytes = rest;
            let line = line[space + 1..].strip_suffix(b"\n")?;
            let equals = line.iter().position(|byte| *byte == b'=')?;
            let (key, value) = (&line[..equals], &line[equals + 1..]);
            match key {
                b"GNU.sparse.major" => is_first_form = value == b"1",
                b"GNU.sparse.map" | b"GNU.sparse.numblocks" => extended.has_old_sparse = true,
                key => extended.set(key, value)?,
            }
        }
        extended.has_old_sparse |= !is_first_form;
        Some(extended)
    }

    fn set(&mut self, key: &[u8], value: &[u8]) -> Option<()> {
        match key {
            b"path" if self.sparse_size.is_none() => self.path = Some(value.to_vec()),
            b"GNU.sparse.name" => self.path = Some(value.to_vec()),
            b"GNU.sparse.realsize" => self.sparse_size = Some(number(value)?),
            b"linkpath" => self.link = Some(value.to_vec()),
            b"size" => self.size = Some(number(value)?),
            b"uid" => self.uid = Some(number(value)?),
            b"gid" => self.gid = Some(number(value)?),
            b"mtime" => self.modified = Some(parse_time(value)?),
            key => {
                if let Some(name) = key.strip_prefix(ATTRIBUTE) {
                    self.attributes.push((CString::new(name).ok()?, value.to_vec()));
                }
            }
        }
        Some(())
    }
}

/// Adds a line. Its length counts its own digits.
fn line(lines: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    lines.extend_from_slice(length.to_string().as_bytes());
    lines.push(b' ');
    lines.extend_from_slice(key);
    lines.push(b'=');
    lines.extend_from_slice(value);
    lines.push(b'\n');
}

/// A decimal number.
pub(super) fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}

fn time_text(time: Time) -> String {
    let nanos = i128::from(time.seconds) * NANOS + i128::from(time.nanos);
    let sign = if nanos < 0 { "-" } else { "" };
    let nanos = nanos.unsigned_abs();
    let (seconds, nanos) = (nanos / NANOS.unsigned_abs(), nanos % NANOS.unsigned_abs());
    if nanos == 0 { format!("{sign}{seconds}") } else { format!("{sign}{seconds}.{nanos:09}") }
}

fn parse_time(text: &[u8]) -> Option<Time> {
    let (is_negative, text) = text.strip_prefix(b"-").map_or((false, text), |rest| (true, rest));
    let (seconds, fraction) = match text.iter().position(|byte| *byte == b'.') {
        Some(dot) => (&text[..dot], &text[dot + 1..]),
        None => (text, b"".as_slice()),
    };
    let mut digits = fraction.to_vec();
    digits.resize(9, b'0');
    let nanos = i128::from(number(seconds)?) * NANOS + i128::from(number(&digits)?);
    let nanos = if is_negative { -nanos } else { nanos };
    Some(Time {
        seconds: i64::try_from(nanos.div_euclid(NANOS)).ok()?,
        nanos: u32::try_from(nanos.rem_euclid(NANOS)).ok()?,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bytes() -> impl Strategy<Value = Vec<u8>> {
        prop::collection::vec(any::<u8>(), 0..200)
    }

    prop_compose! {
        fn extended()(
            path in prop::option::of(bytes()),
            link in prop::option::of(bytes()),
            numbers in any::<[Option<u64>; 4]>(),
            modified in prop::option::of((any::<i64>(), 0_u32..1_000_000_000)),
            attributes in prop::collection::vec(("user\\.[a-z]{1,90}", bytes()), 0..3),
        ) -> Extended {
            let [size, uid, gid, sparse_size] = numbers;
            let attributes = attributes.into_iter().map(|(name, value)| (CString::new(name).unwrap(), value)).collect();
            let modified = modified.map(|(seconds, nanos)| Time { seconds, nanos });
            Extended { path, link, size, uid, gid, modified, attributes, sparse_size, has_old_sparse: false }
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(extended in extended()) {
            prop_assert_eq!(Extended::parse(&extended.to_bytes()), Some(extended));
        }

        #[test]
        fn arbitrary_bytes_are_read_or_refused(bytes in bytes()) {
            drop(Extended::parse(&bytes));
        }
    }

    #[test]
    fn lengths_count_themselves() {
        let mut lines = Vec::new();
        line(&mut lines, b"k", &[b'v'; 94]);
        line(&mut lines, b"mtime", b"1");
        assert!(lines.starts_with(b"101 k=v"));
        assert_eq!(Extended::parse(&lines).unwrap().modified, Some(Time { seconds: 1, nanos: 0 }));
        for broken in
            [b"3 a".as_slice(), b"9 a=b\n", b"5 ab\n", b"6 a=bcx", b" a=b\n", b"99999999999999999999 a=b\n"]
        {
            assert_eq!(Extended::parse(broken), None, "{broken:?}");
        }
    }
}
