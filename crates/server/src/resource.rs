//! Handlers and the compare-and-swap loop that all resources share.
//!
//! A [`Resource`] is a noun of the store whose records hold the object as clients read it. Its own file has the routes,
//! creation and update; retrieve, list, archive and delete are routes to the functions here.

use std::fmt::Display;

use api::ids::Id;
use api::lists::RecordList;
use api::page;
use api::page::Page;
use api::time::Timestamp;
use axum::extract::Path;
use axum::extract::RawQuery;
use serde::Serialize;
use serde::de::DeserializeOwned;
use store::Noun;
use store::Record;

use crate::answer::Answer;
use crate::answer::json;
use crate::auth::BetaCaller;
use crate::auth::Caller;
use crate::error;
use crate::error::Failure;
use crate::limits::UPDATE_ATTEMPTS_MAX;
use crate::request::NoQuery;

/// A noun that clients read as it is stored.
pub(crate) trait Resource: Noun + Clone {
    /// The object as clients read it.
    type Object: DeserializeOwned;
    /// Reads the query string of its list.
    const LIST: fn(Option<&str>) -> Result<RecordList, api::errors::Error> = RecordList::parse;

    /// The object as JSON.
    fn body(&self) -> &str;
    /// These columns after a change of the object.
    fn with(&self, object: &Self::Object) -> Self;
    /// The object archived at a time; `None` when it already is.
    fn archive(object: &Self::Object, now: Timestamp) -> Option<Self::Object>;
}

/// `GET /v1/{resources}/{id}`
pub(crate) async fn retrieve<R: Resource>(
    BetaCaller(caller): BetaCaller,
    _: NoQuery,
    Path(id): Path<String>,
) -> Answer {
    Ok(answer(&find::<R>(&caller, &error::id(R::NAME, &id)?).await?))
}

/// `GET /v1/{resources}`
pub(crate) async fn list<R: Resource>(BetaCaller(caller): BetaCaller, RawQuery(query): RawQuery) -> Answer {
    let list = R::LIST(query.as_deref())?;
    let rows = caller.server.store.list::<R>(&caller.workspace, &crate::list::query(&list)).await?;
    Ok(page(&crate::list::page(rows, &list, |row| (row.created_at, row.id.to_string()))))
}

/// `POST /v1/{resources}/{id}/archive`
pub(crate) async fn archive<R: Resource>(
    BetaCaller(caller): BetaCaller,
    _: NoQuery,
    Path(id): Path<String>,
) -> Answer {
    let id = error::id(R::NAME, &id)?;
    let changed = change::<R>(&caller, &id, |stored, now| {
        let archived = R::archive(&object(stored)?, now);
        Ok(archived.map(|object| Record { archived_at: Some(now), ..with(stored, &object) }))
    });
    Ok(answer(&changed.await?))
}

/// `DELETE /v1/{resources}/{id}`
pub(crate) async fn delete<R: Resource>(
    BetaCaller(caller): BetaCaller,
    _: NoQuery,
    Path(id): Path<String>,
) -> Answer {
    let id = error::id(R::NAME, &id)?;
    caller.server.store.delete::<R>(&caller.workspace, &id).await?;
    Ok(deleted(&id, R::NAME))
}

/// The record of this id in the caller's workspace.
pub(crate) async fn find<R: Resource>(caller: &Caller, id: &Id<R::Kind>) -> Result<Record<R>, Failure> {
    let found = caller.server.store.get(&caller.workspace, id).await?;
    found.ok_or_else(|| error::not_found(R::NAME, id.as_str()))
}

/// Puts what `change` makes of a record in its place; answers the stored one when it makes nothing of it. Where others
/// change the record at the same time, `change` is made again, of what they left.
pub(crate) async fn change<R: Resource>(
    caller: &Caller,
    id: &Id<R::Kind>,
    change: impl Fn(&Record<R>, Timestamp) -> Result<Option<Record<R>>, Failure>,
) -> Result<Record<R>, Failure> {
    let server = &caller.server;
    for _ in 0..UPDATE_ATTEMPTS_MAX {
        let stored = find::<R>(caller, id).await?;
        let now = stored.next_change(server.clock.now());
        let Some(next) = change(&stored, now)? else {
            return Ok(stored);
        };
        let next = Record { updated_at: now, ..next };
        match server.store.replace(&next, stored.updated_at).await {
            Ok(()) => return Ok(next),
            Err(store::Error::Conflict { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    let name = R::NAME;
    Err(Failure::conflict(format!("the {name} is being changed by others all the time")).with_retry(true))
}

/// The object of a record.
pub(crate) fn object<R: Resource>(record: &Record<R>) -> Result<R::Object, harness::Error> {
    harness::stored(R::NAME, &record.id, record.columns.body())
}

/// The record after a change of its object.
pub(crate) fn with<R: Resource>(record: &Record<R>, object: &R::Object) -> Record<R> {
    Record { columns: record.columns.with(object), ..record.clone() }
}

/// A record as clients read it.
pub(crate) fn answer<R: Resource>(record: &Record<R>) -> axum::response::Response {
    json(record.columns.body().to_owned())
}

/// A page of records as clients read them.
pub(crate) fn page<R: Resource>(page: &Page<Record<R>>) -> axum::response::Response {
    let bodies: Vec<&str> = page.items.iter().map(|record| record.columns.body()).collect();
    json(page::body(&bodies, page.next.as_ref()))
}

/// The answer to a delete.
pub(crate) fn deleted(id: &impl Display, name: &str) -> axum::response::Response {
    #[derive(Serialize)]
    struct Deleted {
        id: String,
        r#type: String,
    }
    crate::answer::of(&Deleted { id: id.to_string(), r#type: format!("{name}_deleted") })
}
