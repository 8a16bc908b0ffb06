//! Lists by creation: from the parameters of a request to a query of the store, and to the page that is answered.
//!
//! One row more than the page holds is read, to know whether there is another page.

use api::lists::Keyset;
use api::page;
use api::page::Cursor;
use api::page::Position;
use api::query::Range;
use api::time::Timestamp;
use store::ListQuery;

/// What the store is asked for.
pub(crate) fn query(
    created: &Range,
    include_archived: bool,
    order: page::Order,
    place: Option<&Keyset>,
    limit: usize,
) -> ListQuery {
    let Range { gt, gte, lt, lte } = *created;
    ListQuery {
        created_gt: gt,
        created_gte: gte,
        created_lt: lt,
        created_lte: lte,
        include_archived,
        order: direction(cursor(place).map_or(order, Cursor::scan)),
        after: place.map(|place| (place.at.0, place.id.clone())),
        limit: limit + 1,
    }
}

/// The cursor that a page begins at.
pub(crate) fn cursor(place: Option<&Keyset>) -> Option<&Cursor> {
    place.map(|place| &place.cursor)
}

/// A place in a list by creation.
pub(crate) fn created(at: Timestamp, id: &impl ToString) -> Position {
    Position::Created { at, id: id.to_string() }
}

/// The store's word for a direction.
pub(crate) fn direction(order: page::Order) -> store::Order {
    match order {
        page::Order::Asc => store::Order::Asc,
        page::Order::Desc => store::Order::Desc,
    }
}
