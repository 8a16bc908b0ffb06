//! Frames.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use hand::protocol::Decoder;
use hand::protocol::Error;
use hand::protocol::FRAME_BYTES_MAX;
use hand::protocol::Request;
use hand::protocol::Response;
use hand::protocol::encode;
use hand::protocol::operation::Exec;
use hand::protocol::operation::ListFiles;
use hand::protocol::operation::Operation;
use hand::protocol::operation::ReadFile;
use hand::protocol::operation::WriteFile;
use proptest::prelude::*;
use serde_json::value::RawValue;

fn text(message: &impl serde::Serialize) -> String {
    serde_json::to_string(message).unwrap()
}

fn request() -> impl Strategy<Value = Request> {
    let any_text = || ".{0,40}";
    let id = any_text();
    prop_oneof![
        (id, any_text(), any_text(), any_text()).prop_map(|(id, thread, tool, input)| Request::Execute {
            id,
            thread,
            tool,
            input: RawValue::from_string(serde_json::json!({ "command": input }).to_string()).unwrap().into(),
        }),
        (any_text(), operation()).prop_map(|(id, operation)| Request::Operate { id, operation }),
        any_text().prop_map(|id| Request::Recall { id }),
        any_text().prop_map(|id| Request::Cancel { id }),
        prop::collection::vec(any_text(), 0..4).prop_map(|ids| Request::Acknowledge { ids }),
        Just(Request::Rest),
        Just(Request::Ping),
    ]
}

fn operation() -> impl Strategy<Value = Operation> {
    let path = || {
        prop::collection::vec(any::<u8>(), 0..40).prop_map(|bytes| PathBuf::from(OsString::from_vec(bytes)))
    };
    prop_oneof![
        (prop::collection::vec(".{0,9}", 0..4), prop::option::of(path()), any::<(Vec<u8>, u64, u32, bool)>())
            .prop_map(|(arguments, folder, (stdin, time_ms, output_bytes_max, merges_stderr))| {
                let variables = arguments.iter().cloned().zip(arguments.iter().cloned()).collect();
                Operation::Exec(Exec {
                    arguments,
                    folder,
                    variables,
                    stdin,
                    time_ms,
                    output_bytes_max,
                    merges_stderr,
                    is_streamed: !merges_stderr,
                })
            }),
        (path(), any::<(u64, u32)>()).prop_map(|(path, (offset, bytes_max))| Operation::ReadFile(ReadFile {
            path,
            offset,
            bytes_max
        })),
        (path(), any::<(Vec<u8>, u32, bool)>()).prop_map(|(path, (content, mode, makes_parents))| {
            Operation::WriteFile(WriteFile { path, content, mode, makes_parents })
        }),
        (path(), any::<(u32, u32)>(), prop::option::of(path())).prop_map(
            |(path, (depth, entries_max), after)| {
                Operation::ListFiles(ListFiles { path, depth, entries_max, after })
            }
        ),
    ]
}

proptest! {
    #[test]
    fn messages_survive_any_cutting_of_the_stream(
        requests in prop::collection::vec(request(), 0..6),
        cuts in prop::collection::vec(1_usize..50, 1..40),
    ) {
        let stream: Vec<u8> = requests.iter().flat_map(|request| encode(request).unwrap()).collect();
        let mut decoder = Decoder::default();
        let mut decoded = Vec::new();
        let mut rest = stream.as_slice();
        for cut in cuts.iter().cycle() {
            let (chunk, after) = rest.split_at((*cut).min(rest.len()));
            rest = after;
            decoder.push(chunk);
            while let Some(request) = decoder.message::<Request>().unwrap() {
                decoded.push(text(&request));
            }
            if rest.is_empty() {
                break;
            }
        }
        prop_assert_eq!(decoded, requests.iter().map(text).collect::<Vec<_>>());
        prop_assert!(decoder.frame().unwrap().is_none());
    }

    #[test]
    fn arbitrary_bytes_never_bring_the_decoder_down(chunks in prop::collection::vec(any::<Vec<u8>>(), 0..20)) {
        let mut decoder = Decoder::default();
        for chunk in chunks {
            decoder.push(&chunk);
            while let Ok(Some(_)) = decoder.frame() {}
            drop(decoder.message::<Response>());
        }
    }
}

#[test]
fn an_oversize_frame_is_refused_by_its_header() {
    let mut decoder = Decoder::default();
    let length = u32::try_from(FRAME_BYTES_MAX).unwrap() + 1;
    decoder.push(&length.to_le_bytes());
    assert!(matches!(decoder.frame(), Err(Error::Oversize { length }) if length == FRAME_BYTES_MAX + 1));
}

#[test]
fn raw_json_passes_through_byte_for_byte() {
    let json =
        r#"{"op":"result","id":"a","content":[{"type":"text",  "text":"\u00e9", "x":1.0}],"is_error":false}"#;
    let response: Response = serde_json::from_str(json).unwrap();
    assert_eq!(text(&response), json);
    let json = r#"{"op":"execute","id":"a","thread":"t","tool":"bash","input":{ "command" : 1e5 }}"#;
    let request: Request = serde_json::from_str(json).unwrap();
    assert_eq!(text(&request), json);
}

#[test]
fn a_message_that_lacks_a_field_names_it() {
    let error = serde_json::from_str::<Request>(r#"{"op":"execute","id":"a"}"#).unwrap_err();
    assert_eq!(error.to_string(), "field thread is missing");
}

#[test]
fn an_operation_with_a_field_too_many_or_too_few_is_refused() {
    let read = |rest: &str| {
        let text = format!(
            r#"{{"op":"operate","id":"a","operation":{{"read_file":{{"path":"YQ==","offset":0{rest}}}}}}}"#
        );
        serde_json::from_str::<Request>(&text)
    };
    assert!(read(r#","bytes_max":1"#).is_ok());
    for wrong in ["", r#","bytes_max":-1"#, r#","bytes_max":1,"more":1"#, r#","bytes_max":1,"path":"YQ""#] {
        assert!(read(wrong).is_err(), "{wrong}");
    }
}
