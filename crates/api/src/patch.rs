//! A field of an update: left out, null, or a value. The three mean different things (keep, clear, replace), so an
//! `Option` cannot carry them.

/// One field of an update.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Patch<T> {
    /// The field is not in the request: keep what is stored.
    #[default]
    Absent,
    /// The field is null: clear it.
    Null,
    /// The field has a value: replace what is stored.
    Value(T),
}

impl<T> Patch<T> {
    /// The stored value after this patch, where null clears.
    pub fn over(self, stored: Option<T>) -> Option<T> {
        match self {
            Self::Absent => stored,
            Self::Null => None,
            Self::Value(value) => Some(value),
        }
    }

    /// The stored list or object after this patch, where null empties it.
    pub fn over_or_default(self, stored: T) -> T
    where
        T: Default,
    {
        match self {
            Self::Absent => stored,
            Self::Null => T::default(),
            Self::Value(value) => value,
        }
    }

    /// The same patch of another type, when its value can be converted.
    pub fn try_map<U, E>(self, convert: impl FnOnce(T) -> Result<U, E>) -> Result<Patch<U>, E> {
        match self {
            Self::Absent => Ok(Patch::Absent),
            Self::Null => Ok(Patch::Null),
            Self::Value(value) => convert(value).map(Patch::Value),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absent_keeps_null_clears_and_a_value_replaces() {
        assert_eq!(Patch::Absent.over(Some(1)), Some(1));
        assert_eq!(Patch::Null.over(Some(1)), None);
        assert_eq!(Patch::Value(2).over(Some(1)), Some(2));
        assert_eq!(Patch::Null.over_or_default(vec![1]), Vec::<i32>::new());
    }
}
