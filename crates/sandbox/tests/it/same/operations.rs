//! Programs and files for the server itself.

use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;

use sandbox::Error;
use sandbox::operation::End;
use sandbox::operation::Exec;
use sandbox::operation::FailureKind;
use sandbox::operation::FileKind;
use sandbox::operation::ListFiles;
use sandbox::operation::ReadFile;
use sandbox::operation::Stream;
use sandbox::operation::WriteFile;

use super::Subject;

fn script(script: &str) -> Exec {
    Exec {
        arguments: vec!["bash".to_owned(), "-c".to_owned(), script.to_owned()],
        folder: None,
        variables: Vec::new(),
        stdin: Vec::new(),
        time_ms: 60_000,
        output_bytes_max: 1_000,
        merges_stderr: false,
        is_streamed: false,
    }
}

/// A program runs as the tools do, once per id; what it prints comes as it prints it and at the end.
pub(super) async fn a_program_runs_once_per_id_and_streams_its_output(on: &Subject<'_>) {
    let (session, hands) = on.sandbox().await;
    let id = hands.event();
    let seen: Arc<Mutex<Vec<u8>>> = Arc::default();
    let output = {
        let seen = Arc::clone(&seen);
        Arc::new(move |stream: Stream, bytes: &[u8]| {
            assert_eq!(stream, Stream::Stdout);
            seen.lock().unwrap().extend_from_slice(bytes);
        })
    };
    let exec = Exec {
        stdin: b"input\n".to_vec(),
        variables: vec![("MODE".to_owned(), "test".to_owned())],
        ..script("echo run >>runs; cat; echo $MODE $(id -u) $(pwd) $(wc -l <runs); exit 3")
    };
    let first = hands.sandbox.exec(&id, exec.clone(), Some(output)).await.unwrap();
    assert_eq!(first.end, End::Status(3));
    let printed = String::from_utf8(first.stdout.tail.clone()).unwrap();
    assert_eq!(printed, "input\ntest 0 /workspace 1\n");
    assert_eq!(seen.lock().unwrap().as_slice(), printed.as_bytes());
    assert_eq!(hands.sandbox.exec(&id, exec.clone(), None).await.unwrap(), first);
    hands.sandbox.acknowledge(std::slice::from_ref(&id)).await.unwrap();
    let again = hands.sandbox.exec(&id, exec, None).await;
    assert!(matches!(again, Err(Error::Operation { kind: FailureKind::Repeated, .. })), "{again:?}");
    assert_eq!(hands.bash("cat runs").await, "run");
    on.backend.destroy(&session, false).await.unwrap();
}

/// A program that takes too long, or is cancelled, is gone with its answer.
pub(super) async fn a_program_is_ended_when_its_time_is_over_or_nobody_wants_it(on: &Subject<'_>) {
    let (session, hands) = on.sandbox().await;
    let long = Exec { time_ms: 100, ..script("trap '' TERM; sleep 1000") };
    let ended = hands.sandbox.exec(&hands.event(), long, None).await.unwrap();
    assert_eq!(ended.end, End::TimedOut);
    let id = hands.event();
    let endless = hands.sandbox.exec(&id, script("sleep 1000"), None);
    let (ended, cancelled) = tokio::join!(endless, hands.sandbox.cancel(&id));
    cancelled.unwrap();
    assert_eq!(ended.unwrap().end, End::Cancelled);
    assert_eq!(hands.bash("pgrep -c sleep || true").await, "0");
    let missing = Exec { arguments: vec!["no-such-program".to_owned()], ..script("") };
    let failed = hands.sandbox.exec(&hands.event(), missing, None).await;
    assert!(matches!(failed, Err(Error::Operation { kind: FailureKind::NotFound, .. })), "{failed:?}");
    on.backend.destroy(&session, false).await.unwrap();
}

/// Files go in whole, come out in parts, and are listed without following anything.
pub(super) async fn files_are_written_read_and_listed(on: &Subject<'_>) {
    let (session, hands) = on.sandbox().await;
    let content: Vec<u8> = (0..3_000_000_u32).map(|number| number.to_le_bytes()[0]).collect();
    let path = PathBuf::from("/workspace/new/file");
    let write = WriteFile { path: path.clone(), content: content.clone(), mode: 0o600, makes_parents: true };
    let written = hands.sandbox.write_file(&hands.event(), write).await.unwrap();
    assert_eq!((written.kind, written.bytes, written.mode), (FileKind::File, 3_000_000, 0o600));
    let mut whole = Vec::new();
    loop {
        let read = ReadFile { path: path.clone(), offset: whole.len() as u64, bytes_max: 1 << 20 };
        let part = hands.sandbox.read_file(read).await.unwrap();
        assert_eq!(part.metadata, written);
        whole.extend(part.bytes);
        if part.is_last {
            break;
        }
    }
    assert!(whole == content);
    hands.bash("cd new; ln -s / out; mkfifo pipe; mkdir -p a/b").await;
    let list = |after| ListFiles { path: "new".into(), depth: 8, entries_max: 3, after };
    let first = hands.sandbox.list_files(list(None)).await.unwrap();
    let second = hands.sandbox.list_files(list(first.next.clone())).await.unwrap();
    let all: Vec<_> = first.entries.iter().chain(&second.entries).collect();
    let found: Vec<(&Path, FileKind)> =
        all.iter().map(|entry| (entry.path.as_path(), entry.metadata.kind)).collect();
    let expected = [
        ("a", FileKind::Folder),
        ("a/b", FileKind::Folder),
        ("file", FileKind::File),
        ("out", FileKind::Link),
        ("pipe", FileKind::Special),
    ];
    assert_eq!(found, expected.map(|(path, kind)| (Path::new(path), kind)));
    assert_eq!(second.next, None);
    for path in ["new/pipe", "new", "/dev/zero"] {
        let read = hands.sandbox.read_file(ReadFile { path: path.into(), offset: 0, bytes_max: 1 }).await;
        assert!(matches!(read, Err(Error::Operation { kind: FailureKind::WrongKind, .. })), "{read:?}");
    }
    on.backend.destroy(&session, false).await.unwrap();
}
