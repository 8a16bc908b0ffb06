//! Pages of a list: the opaque cursor, and the page's body.
//!
//! A cursor names the last object of the page that it continues and the order in which it was listed. It is text in
//! URL-safe base64 and means nothing to clients; it is no secret and proves nothing, so that reading one parses it like
//! any other input.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::errors::Error;
use crate::limits::CURSOR_BYTES_MAX;
use crate::time::Timestamp;

/// Direction of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Oldest first.
    Asc,
    /// Newest first.
    Desc,
}

/// Where a page begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// The order of the list that the cursor belongs to.
    pub order: Order,
    /// The page lies before `position` (`prev_page`) instead of after it.
    pub is_backward: bool,
    /// The object next to the page, itself not on it.
    pub position: Position,
}

/// An object's place in its list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Position {
    /// In lists by creation.
    Created {
        /// Creation of the object.
        at: Timestamp,
        /// Its id, which decides among those of the same moment.
        id: String,
    },
    /// In lists of events: the store's position.
    Log(i64),
    /// In lists of versions.
    Version(i64),
}

/// One page of a list: the objects in order, and the cursors around them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<T> {
    /// The objects.
    pub items: Vec<T>,
    /// Continues after the last one; `None` at the end.
    pub next: Option<Cursor>,
    /// Continues before the first one; `None` at the beginning.
    pub prev: Option<Cursor>,
}

impl Cursor {
    /// A cursor to the page after `position`.
    pub fn after(order: Order, position: Position) -> Self {
        Self { order, is_backward: false, position }
    }

    /// A cursor to the page before `position`.
    pub fn before(order: Order, position: Position) -> Self {
        Self { order, is_backward: true, position }
    }

    /// The text that clients pass back.
    pub fn encode(&self) -> String {
        let order = match self.order {
            Order::Asc => 'a',
            Order::Desc => 'd',
        };
        let direction = if self.is_backward { 'b' } else { 'f' };
        let position = match &self.position {
            Position::Created { at, id } => format!("c:{}:{id}", at.0),
            Position::Log(position) => format!("l:{position}"),
            Position::Version(version) => format!("v:{version}"),
        };
        URL_SAFE_NO_PAD.encode(format!("1{order}{direction}{position}"))
    }

    /// Reads a cursor of ours; `None` for any other text.
    pub fn decode(text: &str) -> Option<Self> {
        if text.len() > CURSOR_BYTES_MAX {
            return None;
        }
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let rest = std::str::from_utf8(&bytes).ok()?.strip_prefix('1')?;
        let (order, rest) = match rest.strip_prefix('a') {
            Some(rest) => (Order::Asc, rest),
            None => (Order::Desc, rest.strip_prefix('d')?),
        };
        let (is_backward, rest) = match rest.strip_prefix('b') {
            Some(rest) => (true, rest),
            None => (false, rest.strip_prefix('f')?),
        };
        let (kind, rest) = rest.split_once(':')?;
        let position = match kind {
            "c" => {
                let (at, id) = rest.split_once(':')?;
                Position::Created { at: Timestamp(at.parse().ok()?), id: id.to_owned() }
            }
            "l" => Position::Log(rest.parse().ok()?),
            "v" => Position::Version(rest.parse().ok()?),
            _ => return None,
        };
        Some(Self { order, is_backward, position })
    }

    /// Refuses a cursor that belongs to a list in another order.
    pub fn check_order(&self, order: Order) -> Result<(), Error> {
        if self.order == order {
            return Ok(());
        }
        Err(Error::invalid("page: The cursor belongs to a list with a different `order`"))
    }

    /// The direction in which the store has to read to reach this page.
    pub fn scan(&self) -> Order {
        match (self.order, self.is_backward) {
            (Order::Asc, false) | (Order::Desc, true) => Order::Asc,
            (Order::Desc, false) | (Order::Asc, true) => Order::Desc,
        }
    }
}

impl<T> Page<T> {
    /// Makes a page of what was read.
    ///
    /// `rows` were read from `cursor` on in the direction of [`Cursor::scan`], one more than `limit` if there were as
    /// many; `position` says where a row stands.
    pub fn new(
        mut rows: Vec<T>,
        limit: usize,
        order: Order,
        cursor: Option<&Cursor>,
        position: impl Fn(&T) -> Position,
    ) -> Self {
        let has_more = rows.len() > limit;
        rows.truncate(limit);
        let is_backward = cursor.is_some_and(|cursor| cursor.is_backward);
        if is_backward {
            rows.reverse();
        }
        let (has_next, has_prev) = if is_backward { (true, has_more) } else { (has_more, cursor.is_some()) };
        let next = rows.last().filter(|_| has_next).map(|row| Cursor::after(order, position(row)));
        let prev = rows.first().filter(|_| has_prev).map(|row| Cursor::before(order, position(row)));
        Self { items: rows, next, prev }
    }
}

/// The body of a page that can only be turned forward. `items` are JSON texts.
pub fn body<I: AsRef<str>>(items: &[I], next: Option<&Cursor>) -> String {
    let mut body = data(items);
    push_cursor(&mut body, "next_page", next);
    body.push('}');
    body
}

/// The body of a page that can be turned both ways. `items` are JSON texts.
pub fn body_both_ways<I: AsRef<str>>(items: &[I], next: Option<&Cursor>, prev: Option<&Cursor>) -> String {
    let mut body = data(items);
    push_cursor(&mut body, "next_page", next);
    push_cursor(&mut body, "prev_page", prev);
    body.push('}');
    body
}

fn data<I: AsRef<str>>(items: &[I]) -> String {
    let bytes: usize = items.iter().map(|item| item.as_ref().len() + 1).sum();
    let mut body = String::with_capacity(bytes + 128);
    body.push_str("{\"data\":[");
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            body.push(',');
        }
        body.push_str(item.as_ref());
    }
    body.push(']');
    body
}

fn push_cursor(body: &mut String, name: &str, cursor: Option<&Cursor>) {
    body.push_str(",\"");
    body.push_str(name);
    body.push_str("\":");
    match cursor {
        Some(cursor) => {
            body.push('"');
            body.push_str(&cursor.encode());
            body.push('"');
        }
        None => body.push_str("null"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cursor(order: Order, is_backward: bool, row: i64) -> Cursor {
        Cursor { order, is_backward, position: Position::Log(row) }
    }

    #[test]
    fn the_first_page_has_no_previous_one_and_the_last_no_next_one() {
        let page = Page::new(vec![1, 2, 3], 2, Order::Asc, None, |row| Position::Log(*row));
        assert_eq!(page, Page { items: vec![1, 2], next: Some(cursor(Order::Asc, false, 2)), prev: None });
        let page = Page::new(vec![3], 2, Order::Asc, page.next.as_ref(), |row| Position::Log(*row));
        assert_eq!(page, Page { items: vec![3], next: None, prev: Some(cursor(Order::Asc, true, 3)) });
    }

    #[test]
    fn a_page_read_backwards_is_shown_forwards() {
        let back = cursor(Order::Asc, true, 9);
        assert_eq!(back.scan(), Order::Desc);
        let page = Page::new(vec![8, 7, 6], 2, Order::Asc, Some(&back), |row| Position::Log(*row));
        let expected = Page {
            items: vec![7, 8],
            next: Some(cursor(Order::Asc, false, 8)),
            prev: Some(cursor(Order::Asc, true, 7)),
        };
        assert_eq!(page, expected);
    }

    #[test]
    fn items_are_embedded_as_they_are() {
        assert_eq!(body(&["{\"a\":1.0}", "2"], None), r#"{"data":[{"a":1.0},2],"next_page":null}"#);
        let none: [&str; 0] = [];
        assert_eq!(body_both_ways(&none, None, None), r#"{"data":[],"next_page":null,"prev_page":null}"#);
    }
}
