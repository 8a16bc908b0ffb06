//! Lists: query strings, cursors, and the models API.

use api::errors::Error;
use api::lists;
use api::lists::EventList;
use api::lists::ModelList;
use api::lists::RecordList;
use api::lists::SessionList;
use api::lists::StreamOptions;
use api::lists::ThreadList;
use api::lists::VersionList;
use api::models;
use api::models::Model;
use api::page::Cursor;
use api::page::Order;
use api::page::Position;
use api::query::Range;
use api::time::Timestamp;
use proptest::prelude::*;
use serde_json::Value;
use serde_json::json;

use crate::NOON;
use crate::message;
use crate::parse;

fn created(order: Order) -> Cursor {
    Cursor::after(order, Position::Created { at: NOON, id: "sesn_1".into() })
}

fn page(cursor: &Cursor) -> String {
    format!("page={}", cursor.encode())
}

#[test]
fn a_query_that_says_nothing_takes_the_defaults() {
    let list = SessionList::parse(None).unwrap();
    let expected = SessionList {
        base: RecordList {
            created_at: Range::default(),
            include_archived: false,
            order: Order::Desc,
            limit: 20,
            page: None,
        },
        agent_id: None,
        agent_version: None,
        deployment_id: None,
        memory_store_id: None,
        statuses: Vec::new(),
    };
    assert_eq!(list, expected);
    assert_eq!(EventList::parse(Some("beta=true")).unwrap().order, Order::Asc);
    assert_eq!(EventList::parse(None).unwrap().limit, 1_000);
    assert_eq!(ThreadList::parse(None).unwrap().limit, 1_000);
}

#[test]
fn every_filter_of_sessions_is_read() {
    let query = "agent_id=agent_1&agent_version=2&statuses[]=idle&statuses%5B%5D=running&include_archived=true&\
                 order=asc&limit=7&created_at%5Bgte%5D=2027-01-15T08%3A00%3A00Z&deployment_id=depl_1&beta=true";
    let list = SessionList::parse(Some(query)).unwrap();
    assert_eq!(list.agent_id.map(|id| id.to_string()), Some("agent_1".into()));
    assert_eq!((list.agent_version, list.base.limit, list.base.order), (Some(2), 7, Order::Asc));
    assert_eq!(list.statuses, [api::sessions::SessionStatus::Idle, api::sessions::SessionStatus::Running]);
    assert_eq!(list.base.created_at, Range { gte: Some(NOON), ..Range::default() });
    assert_eq!(list.deployment_id.as_deref(), Some("depl_1"));
    assert!(list.base.include_archived);
}

#[test]
fn a_version_without_an_agent_filters_nothing() {
    assert_eq!(SessionList::parse(Some("agent_version=2")).unwrap().agent_version, None);
}

#[test]
fn a_wrong_parameter_is_named() {
    let sessions = |query: &str| message(SessionList::parse(Some(query)));
    assert_eq!(sessions("color=red"), "color: Extra inputs are not permitted");
    assert_eq!(sessions("limit=0"), "limit: Input should be greater than or equal to 1");
    assert_eq!(sessions("limit=101"), "limit: Input should be less than or equal to 100");
    assert_eq!(sessions("limit=ten"), "limit: Input should be a valid integer");
    assert_eq!(sessions("limit=1&limit=2"), "limit: Given more than once");
    assert_eq!(sessions("order=up"), "order: Input should be 'asc' or 'desc'");
    assert_eq!(sessions("include_archived=yes"), "include_archived: Input should be a valid boolean");
    assert_eq!(sessions("created_at[gt]=now"), "created_at[gt]: Input should be a valid RFC 3339 timestamp");
    assert_eq!(
        sessions("statuses[]=idle&statuses[]=asleep"),
        "statuses.1: Input should be 'idle', 'running', 'rescheduling' or 'terminated'"
    );
    assert_eq!(sessions("agent_id=x"), "agent_id: Input should be an agent's id, which starts with 'agent_'");
    assert_eq!(sessions("order=%ff"), "The query string is not valid UTF-8");
    assert!(
        message(EventList::parse(Some("types[]=event_delta")))
            .starts_with("types.0: Input should be 'user.message'")
    );
    assert_eq!(message(EventList::parse_thread(Some("order=asc"))), "order: Extra inputs are not permitted");
    assert_eq!(message(lists::parse_none(Some("x=1"))), "x: Extra inputs are not permitted");
}

#[test]
fn a_cursor_fits_only_the_order_it_was_made_for() {
    let list = SessionList::parse(Some(&page(&created(Order::Desc)))).unwrap();
    let keyset = list.base.page.unwrap();
    assert_eq!((keyset.at, keyset.id.as_str()), (NOON, "sesn_1"));
    let query = format!("order=asc&{}", page(&created(Order::Desc)));
    let refusal = "page: The cursor belongs to a list with a different `order`";
    assert_eq!(message(SessionList::parse(Some(&query))), refusal);
}

#[test]
fn a_cursor_fits_only_the_kind_of_list_it_was_made_for() {
    let foreign = |result: Result<Value, Error>| {
        assert_eq!(message(result), "page: The cursor belongs to another list");
    };
    let events = page(&Cursor::after(Order::Desc, Position::Log(1)));
    foreign(RecordList::parse_created(Some(&events)).map(|_| Value::Null));
    foreign(RecordList::parse(Some(&events)).map(|_| Value::Null));
    foreign(VersionList::parse(Some(&events)).map(|_| Value::Null));
    foreign(EventList::parse(Some(&page(&created(Order::Asc)))).map(|_| Value::Null));
}

#[test]
fn a_cursor_outside_of_the_filter_is_refused() {
    let query = format!("created_at[gt]=2027-01-15T08:00:00Z&{}", page(&created(Order::Desc)));
    let refusal = "page: The cursor lies outside of the `created_at` filter";
    assert_eq!(message(SessionList::parse(Some(&query))), refusal);
    let query = format!("created_at[gte]=2027-01-15T08:00:00Z&{}", page(&created(Order::Desc)));
    assert!(SessionList::parse(Some(&query)).is_ok());
}

#[test]
fn a_cursor_that_is_not_ours_is_refused() {
    for text in ["x", "%20", "AAAA", "MWFmYzox", &"A".repeat(10_000)] {
        assert_eq!(
            message(SessionList::parse(Some(&format!("page={text}")))),
            "page: The cursor is not valid"
        );
    }
    assert_eq!(SessionList::parse(Some("page=")).unwrap().base.page, None);
}

#[test]
fn positions_of_events_and_versions_are_read_back() {
    let list = EventList::parse(Some(&page(&Cursor::after(Order::Asc, Position::Log(42))))).unwrap();
    assert_eq!(list.after, Some(42));
    let list = VersionList::parse(Some(&page(&Cursor::after(Order::Desc, Position::Version(3))))).unwrap();
    assert_eq!(list.before, Some(3));
}

#[test]
fn streams_preview_what_is_asked_for() {
    let options = StreamOptions::parse(Some("event_deltas[]=agent.message&beta=true")).unwrap();
    assert!(options.previews(&api::event_kinds::EventKind::AgentMessage));
    assert!(!options.previews(&api::event_kinds::EventKind::AgentThinking));
    assert_eq!(
        message(StreamOptions::parse(Some("event_deltas[]=agent.tool_use"))),
        "event_deltas.0: Input should be 'agent.message' or 'agent.thinking'"
    );
    let many = vec!["event_deltas[]=agent.message"; 101].join("&");
    assert_eq!(message(StreamOptions::parse(Some(&many))), "event_deltas: At most 100 values are permitted");
}

#[test]
fn an_agent_is_asked_for_at_a_version() {
    assert_eq!(lists::parse_agent_version(Some("version=3")).unwrap(), Some(3));
    assert_eq!(lists::parse_agent_version(Some("beta=true")).unwrap(), None);
    let text = message(lists::parse_agent_version(Some("version=0")));
    assert_eq!(text, "version: Input should be greater than or equal to 1");
}

fn ids(query: &str) -> Value {
    let models: Vec<Model> = ["a", "b", "c"]
        .map(|id| Model {
            id: id.into(),
            display_name: id.to_uppercase(),
            created_at: Timestamp(0),
            max_input_tokens: None,
            max_tokens: None,
        })
        .into();
    let page = parse(&models::page(&models, &ModelList::parse(Some(query)).unwrap()));
    let ids: Vec<&Value> = page["data"].as_array().unwrap().iter().map(|model| &model["id"]).collect();
    json!([ids, page["has_more"], page["first_id"], page["last_id"]])
}

#[test]
fn models_are_paged_by_id_both_ways() {
    assert_eq!(ids(""), json!([["a", "b", "c"], false, "a", "c"]));
    assert_eq!(ids("limit=2"), json!([["a", "b"], true, "a", "b"]));
    assert_eq!(ids("limit=2&after_id=b"), json!([["c"], false, "c", "c"]));
    assert_eq!(ids("limit=1&before_id=c"), json!([["b"], true, "b", "b"]));
    assert_eq!(ids("after_id=zzz"), json!([[], false, null, null]));
    assert_eq!(ids("lifecycle[]=retired"), json!([[], false, null, null]));
}

#[test]
fn a_model_is_answered_with_every_field() {
    let model = Model {
        id: "m".into(),
        display_name: "M".into(),
        created_at: Timestamp(0),
        max_input_tokens: Some(7),
        max_tokens: None,
    };
    let expected = json!({
        "type": "model", "id": "m", "display_name": "M", "created_at": "1970-01-01T00:00:00.000000Z",
        "lifecycle": "active", "line": null, "max_input_tokens": 7, "max_tokens": null, "capabilities": null,
        "allowed_fallback_models": null, "deprecated_at": null, "retires_at": null,
    });
    assert_eq!(parse(&model.render()), expected);
}

fn any_cursor() -> impl Strategy<Value = Cursor> {
    let position = prop_oneof![
        (any::<i64>(), "[a-zA-Z0-9_-]{1,64}")
            .prop_map(|(at, id)| Position::Created { at: Timestamp(at), id }),
        any::<i64>().prop_map(Position::Log),
        any::<i64>().prop_map(Position::Version),
    ];
    (any::<bool>(), any::<bool>(), position).prop_map(|(is_asc, is_backward, position)| Cursor {
        order: if is_asc { Order::Asc } else { Order::Desc },
        is_backward,
        position,
    })
}

proptest! {
    #[test]
    fn a_cursor_survives_the_wire(cursor in any_cursor()) {
        let text = cursor.encode();
        prop_assert!(text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_'));
        prop_assert_eq!(Cursor::decode(&text), Some(cursor));
    }

    #[test]
    fn any_text_is_a_cursor_or_none(text in ".{0,80}") {
        if let Some(cursor) = Cursor::decode(&text) {
            prop_assert_eq!(Cursor::decode(&cursor.encode()), Some(cursor));
        }
    }

    #[test]
    fn no_query_string_breaks_a_parser(text in ".{0,80}") {
        let _ignored = SessionList::parse(Some(&text));
        let _ignored = EventList::parse(Some(&text));
    }
}
