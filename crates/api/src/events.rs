//! Events that a client sends: their kinds, their checks, and the object that is stored.
//!
//! The stored object is what the client sent, with `type` first; the harness adds the `id`, and `processed_at` is put in
//! when it is read. One bad event refuses the whole request.

use serde_json::Map;
use serde_json::Value;

use crate::body;
use crate::body::Field;
use crate::body::Object;
use crate::body::Path;
use crate::body::excerpt;
use crate::content;
use crate::content::Place;
use crate::errors::Error;
use crate::event_kinds::EventKind;
use crate::ids::ThreadId;
use crate::limits::EVENTS_MAX;
use crate::limits::FILE_DOCUMENTS_MAX;
use crate::limits::INITIAL_EVENTS_MAX;
use crate::limits::NAME_CHARS_MAX;
use crate::limits::OUTCOME_ITERATIONS_MAX;
use crate::limits::RUBRIC_CHARS_MAX;
use crate::limits::SYSTEM_BLOCKS_MAX;
use crate::limits::SYSTEM_CHARS_MAX;
use crate::unbuilt;

/// An event that a client sent.
#[derive(Clone, Debug, PartialEq)]
pub struct ClientEvent {
    /// What it asks for.
    pub kind: ClientEventKind,
    /// The event without `id` and `processed_at`; `type` is its first field.
    pub body: Map<String, Value>,
}

/// What an event of a client asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientEventKind {
    /// `user.message`: work.
    Message,
    /// `user.interrupt`: stop.
    Interrupt {
        /// Only this thread.
        thread: Option<ThreadId>,
    },
    /// `user.tool_confirmation`: let a call run, or not.
    ToolConfirmation {
        /// The call.
        tool_use_id: String,
        /// Whether it may run.
        is_allowed: bool,
        /// Why not.
        deny_message: Option<String>,
    },
    /// `user.custom_tool_result`: what the client's tool gave.
    CustomToolResult {
        /// The call.
        custom_tool_use_id: String,
    },
    /// `user.tool_result`: what a built-in tool gave that a worker ran.
    ToolResult {
        /// The call.
        tool_use_id: String,
    },
}

/// Kinds of events that a stream can preview.
pub const PREVIEWED: [EventKind; 2] = [EventKind::AgentMessage, EventKind::AgentThinking];

/// Kinds of events that a session may be created with.
const INITIAL: [EventKind; 2] = [EventKind::UserMessage, EventKind::UserDefineOutcome];

impl ClientEventKind {
    /// The kind of the entry that it becomes.
    pub fn event_kind(&self) -> EventKind {
        match self {
            Self::Message => EventKind::UserMessage,
            Self::Interrupt { .. } => EventKind::UserInterrupt,
            Self::ToolConfirmation { .. } => EventKind::UserToolConfirmation,
            Self::CustomToolResult { .. } => EventKind::UserCustomToolResult,
            Self::ToolResult { .. } => EventKind::UserToolResult,
        }
    }
}

/// An event whose shape is right; of a kind that may not be built.
enum Checked {
    Built(ClientEventKind),
    DefineOutcome,
    SystemMessage,
}

/// Reads the body of a request that sends events.
pub fn parse_send(bytes: &[u8]) -> Result<Vec<ClientEvent>, Error> {
    let mut fields = body::object(bytes)?;
    Object::root(&fields).only(&["events"])?;
    let Some(events) = fields.shift_remove("events") else {
        return Err(Path::ROOT.key("events").error("Field required"));
    };
    parse_list(events, Path::ROOT.key("events"), 1, EVENTS_MAX, &EventKind::sent_by_clients())
}

/// Reads the events that a session is created with; null is as good as none.
pub(crate) fn parse_initial(events: Value) -> Result<Vec<ClientEvent>, Error> {
    if events.is_null() {
        return Ok(Vec::new());
    }
    parse_list(
        events,
        Path::ROOT.key("initial_events"),
        0,
        INITIAL_EVENTS_MAX,
        &INITIAL.each_ref().map(EventKind::as_str),
    )
}

fn parse_list(
    events: Value,
    path: Path<'_>,
    min: usize,
    max: usize,
    tags: &[&'static str],
) -> Result<Vec<ClientEvent>, Error> {
    let field = Field { value: &events, path };
    let list = field.list(min, max)?;
    let mut checked = Vec::with_capacity(list.count());
    let mut file_documents = 0;
    for item in list.each() {
        let (event, documents) = check(&item, tags)?;
        file_documents += documents;
        checked.push(event);
    }
    check_list(&path, &checked, file_documents)?;
    let mut kinds = Vec::with_capacity(checked.len());
    for (item, event) in list.each().zip(checked) {
        let object = item.object()?;
        match event {
            Checked::Built(kind) => kinds.push(kind),
            Checked::DefineOutcome => {
                return Err(unbuilt::refuse(&item.path, "An event of type 'user.define_outcome'"));
            }
            Checked::SystemMessage => {
                return Err(unbuilt::refuse(&item.path, "An event of type 'system.message'"));
            }
        }
        if let Some(content) = object.optional("content") {
            content::refuse_files(&content.list(0, usize::MAX)?)?;
        }
    }
    let Value::Array(bodies) = events else {
        return Ok(Vec::new());
    };
    let bodies = bodies.into_iter().map(type_first);
    Ok(kinds.into_iter().zip(bodies).map(|(kind, body)| ClientEvent { kind, body }).collect())
}

/// Checks what has to hold between events.
fn check_list(path: &Path<'_>, events: &[Checked], file_documents: usize) -> Result<(), Error> {
    let outcomes = events.iter().filter(|event| matches!(event, Checked::DefineOutcome)).count();
    if outcomes > 1 {
        return Err(path.error("At most one `user.define_outcome` event is permitted"));
    }
    let system = events.iter().position(|event| matches!(event, Checked::SystemMessage));
    if system.is_some_and(|index| index + 1 != events.len()) {
        return Err(
            path.error("A `system.message` event should be the last one, and at most one is permitted")
        );
    }
    if file_documents > FILE_DOCUMENTS_MAX {
        return Err(path.error(format_args!(
            "At most {FILE_DOCUMENTS_MAX} documents from files are permitted, not {file_documents}"
        )));
    }
    Ok(())
}

/// Checks one event; says how many of its documents come from files.
fn check(item: &Field<'_>, tags: &[&'static str]) -> Result<(Checked, usize), Error> {
    let object = item.object()?;
    match EventKind::parse(object.tag(tags)?) {
        EventKind::UserMessage => {
            object.only(&["type", "content"])?;
            let content = object.required("content")?;
            let documents = content::check(&content.list(1, usize::MAX)?, Place::Message)?;
            Ok((Checked::Built(ClientEventKind::Message), documents))
        }
        EventKind::UserInterrupt => Ok((Checked::Built(check_interrupt(&object)?), 0)),
        EventKind::UserToolConfirmation => Ok((Checked::Built(check_confirmation(&object)?), 0)),
        EventKind::UserCustomToolResult => {
            let (custom_tool_use_id, documents) = check_result(&object, "custom_tool_use_id")?;
            Ok((Checked::Built(ClientEventKind::CustomToolResult { custom_tool_use_id }), documents))
        }
        EventKind::UserToolResult => {
            let (tool_use_id, documents) = check_result(&object, "tool_use_id")?;
            Ok((Checked::Built(ClientEventKind::ToolResult { tool_use_id }), documents))
        }
        EventKind::UserDefineOutcome => check_outcome(&object).map(|()| (Checked::DefineOutcome, 0)),
        _ => check_system(&object).map(|()| (Checked::SystemMessage, 0)),
    }
}

fn check_interrupt(object: &Object<'_>) -> Result<ClientEventKind, Error> {
    object.only(&["type", "session_thread_id"])?;
    let Some(field) = object.optional("session_thread_id") else {
        return Ok(ClientEventKind::Interrupt { thread: None });
    };
    let text = field.text()?;
    let Some(thread) = ThreadId::parse(text) else {
        return Err(field.error(format_args!("'{}' is not a thread's id", excerpt(text))));
    };
    Ok(ClientEventKind::Interrupt { thread: Some(thread) })
}

fn check_confirmation(object: &Object<'_>) -> Result<ClientEventKind, Error> {
    object.only(&["type", "tool_use_id", "result", "deny_message"])?;
    let tool_use_id = object.required("tool_use_id")?.text_within(1, NAME_CHARS_MAX)?.to_owned();
    let is_allowed = object.required("result")?.choice(&["allow", "deny"])? == "allow";
    let deny_message = match object.optional("deny_message") {
        Some(field) if is_allowed => {
            return Err(field.error("Only permitted when `result` is 'deny'"));
        }
        Some(field) => Some(field.text_within(0, SYSTEM_CHARS_MAX)?.to_owned()),
        None => None,
    };
    Ok(ClientEventKind::ToolConfirmation { tool_use_id, is_allowed, deny_message })
}

fn check_result(object: &Object<'_>, id: &str) -> Result<(String, usize), Error> {
    object.only(&["type", id, "content", "is_error"])?;
    let call = object.required(id)?.text_within(1, NAME_CHARS_MAX)?.to_owned();
    if let Some(is_error) = object.optional("is_error") {
        is_error.boolean()?;
    }
    let documents = match object.optional("content") {
        Some(content) => content::check(&content.list(0, usize::MAX)?, Place::Result)?,
        None => 0,
    };
    Ok((call, documents))
}

fn check_outcome(object: &Object<'_>) -> Result<(), Error> {
    object.only(&["type", "description", "rubric", "max_iterations"])?;
    object.required("description")?.text_within(1, SYSTEM_CHARS_MAX)?;
    if let Some(iterations) = object.optional("max_iterations") {
        iterations.integer(1, OUTCOME_ITERATIONS_MAX)?;
    }
    let rubric = object.required("rubric")?;
    let rubric = rubric.object()?;
    if rubric.tag(&["text", "file"])? == "text" {
        rubric.only(&["type", "content"])?;
        rubric.required("content")?.text_within(1, RUBRIC_CHARS_MAX)?;
    } else {
        rubric.only(&["type", "file_id"])?;
        rubric.required("file_id")?.text_within(1, NAME_CHARS_MAX)?;
    }
    Ok(())
}

fn check_system(object: &Object<'_>) -> Result<(), Error> {
    object.only(&["type", "content"])?;
    let content = object.required("content")?;
    for item in content.list(1, SYSTEM_BLOCKS_MAX)?.each() {
        let block = item.object()?;
        block.tag(&["text"])?;
        block.only(&["type", "text"])?;
        block.required("text")?.text()?;
    }
    Ok(())
}

/// The event's fields, `type` before all others. What is not an object was refused before.
fn type_first(event: Value) -> Map<String, Value> {
    let Value::Object(mut fields) = event else {
        return Map::new();
    };
    if fields.keys().next().is_some_and(|first| first == "type") {
        return fields;
    }
    let mut ordered = Map::with_capacity(fields.len());
    if let Some(tag) = fields.shift_remove("type") {
        ordered.insert("type".into(), tag);
    }
    ordered.extend(fields);
    ordered
}
