//! What all lists of records have in common: filters on `created_at`, archived or not, keyset pages in both directions.

use api::time::Timestamp;

use crate::backend::Order;
use crate::backend::Select;
use crate::backend::Stmt;
use crate::backend::Value;
use crate::limits;

/// Filters and place of one page. To read backwards from a place, turn `order` and reverse the rows.
#[derive(Clone, Debug)]
pub struct ListQuery {
    /// Only what was created after this.
    pub created_gt: Option<Timestamp>,
    /// Only what was created at or after this.
    pub created_gte: Option<Timestamp>,
    /// Only what was created before this.
    pub created_lt: Option<Timestamp>,
    /// Only what was created at or before this.
    pub created_lte: Option<Timestamp>,
    /// Whether archived objects are listed too.
    pub include_archived: bool,
    /// By time of creation, then by id.
    pub order: Order,
    /// Creation in microseconds and id of the last row of the page before.
    pub after: Option<(i64, String)>,
    /// Rows of the page.
    pub limit: usize,
}

impl Default for ListQuery {
    fn default() -> Self {
        Self {
            created_gt: None,
            created_gte: None,
            created_lt: None,
            created_lte: None,
            include_archived: false,
            order: Order::Desc,
            after: None,
            limit: limits::ROWS_PER_READ_MAX,
        }
    }
}

impl ListQuery {
    /// Adds the filters, the order and the limit to a query on a table that is called `it`.
    pub(crate) fn finish(&self, mut select: Select) -> Stmt {
        let Self { created_gt, created_gte, created_lt, created_lte, include_archived, order, after, limit } =
            self;
        select.and_some("it.created_at >", *created_gt);
        select.and_some("it.created_at >=", *created_gte);
        select.and_some("it.created_at <", *created_lt);
        select.and_some("it.created_at <=", *created_lte);
        if !include_archived {
            select.push(" AND it.archived_at IS NULL");
        }
        if let Some((created_at, id)) = after {
            select.push(" AND (it.created_at, it.id) ");
            select.push(order.past());
            select.push(" (");
            select.arg(*created_at);
            select.push(", ");
            select.arg(Value::from(id));
            select.push(")");
        }
        let word = order.sql();
        select.push(&format!(" ORDER BY it.created_at {word}, it.id {word}"));
        select.limit(*limit)
    }
}
