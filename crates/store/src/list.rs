//! The part that all lists of records share: filters on `created_at`, archived or not, keyset pages in both directions.

use api::query::Range;

use crate::backend::Order;
use crate::backend::Select;
use crate::backend::Stmt;
use crate::backend::Value;
use crate::limits;

/// Filters and place of one page. To read backwards from a place, turn `order` and reverse the rows.
#[derive(Clone, Debug)]
pub struct ListQuery {
    pub created_at: Range,
    /// Lists archived objects too.
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
            created_at: Range::default(),
            include_archived: false,
            order: Order::Desc,
            after: None,
            limit: limits::ROWS_PER_READ_MAX,
        }
    }
}

impl ListQuery {
    /// Adds the filters, the order and the limit to a query on a table that is called `it` and whose column `archived`
    /// says when a row was archived.
    pub(crate) fn finish(&self, mut select: Select, archived: &str) -> Stmt {
        let Self { created_at: Range { gt, gte, lt, lte }, include_archived, order, after, limit } = self;
        select.and_some("it.created_at >", *gt);
        select.and_some("it.created_at >=", *gte);
        select.and_some("it.created_at <", *lt);
        select.and_some("it.created_at <=", *lte);
        if !include_archived {
            select.push(&format!(" AND it.{archived} IS NULL"));
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
