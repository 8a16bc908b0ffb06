//! Lists by creation: from the parameters of a request to a query of the store, and to the page that is answered.
//!
//! One row more than the page holds is read, to know whether there is another page.

use api::lists::RecordList;
use api::page;
use api::page::Cursor;
use api::page::Page;
use api::page::Position;
use api::time::Timestamp;
use store::ListQuery;

/// The query for a page, and for the row after it.
pub(crate) fn query(list: &RecordList) -> ListQuery {
    let RecordList { created_at, include_archived, order, limit, page } = list;
    ListQuery {
        created_at: *created_at,
        include_archived: *include_archived,
        order: direction(page.as_ref().map_or(*order, |place| place.cursor.scan())),
        after: page.as_ref().map(|place| (place.at.0, place.id.clone())),
        limit: limit + 1,
    }
}

/// The page that these rows of [`query`] make; `place` is the time of creation and the id of a row.
pub(crate) fn page<T>(rows: Vec<T>, list: &RecordList, place: impl Fn(&T) -> (Timestamp, String)) -> Page<T> {
    let cursor: Option<&Cursor> = list.page.as_ref().map(|place| &place.cursor);
    Page::new(rows, list.limit, list.order, cursor, |row| {
        let (at, id) = place(row);
        Position::Created { at, id }
    })
}

/// The store's word for a direction.
pub(crate) fn direction(order: page::Order) -> store::Order {
    match order {
        page::Order::Asc => store::Order::Asc,
        page::Order::Desc => store::Order::Desc,
    }
}
