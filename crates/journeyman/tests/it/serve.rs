//! `serve`

use crate::program::Program;

fn first_key(log: &str) -> Option<&str> {
    log.split_whitespace().find(|word| word.starts_with("sk-jm-"))
}

#[test]
fn serve_prints_one_line_when_it_is_ready_and_stops_on_sigterm() {
    let program = Program::new();
    let server = program.serve(&[]);
    assert_eq!(server.get("/healthz", None).0, 200);
    let (is_success, rest, _) = server.stop();
    assert!(is_success);
    assert_eq!(rest, "");
}

#[test]
fn the_first_start_makes_a_key_that_works_and_the_second_start_tells_none() {
    let program = Program::new();
    let (_, _, log) = program.serve(&[]).stop();
    let key = first_key(&log).expect("the first start tells its key").to_owned();
    let server = program.serve(&[]);
    assert_eq!(server.get("/v1/agents", Some(&key)).0, 200);
    assert_eq!(server.get("/v1/agents", Some("sk-jm-other")).0, 401);
    assert_eq!(server.get("/v1/agents", None).0, 401);
    let (_, _, log) = server.stop();
    assert_eq!(first_key(&log), None, "{log}");
}

#[test]
fn a_fixed_key_works_at_every_start_and_is_not_told() {
    let program = Program::new();
    for _ in 0..2 {
        let server = program.serve(&[("JOURNEYMAN_API_KEY", "sk-jm-fixed")]);
        assert_eq!(server.get("/v1/agents", Some("sk-jm-fixed")).0, 200);
        let (_, _, log) = server.stop();
        assert!(!log.contains("sk-jm-"), "{log}");
    }
    let listed = program.run(&["keys", "list"]);
    let listed = String::from_utf8(listed.stdout).unwrap();
    assert_eq!(listed.lines().filter(|line| line.starts_with("apikey_")).count(), 1, "{listed}");
}

#[test]
fn a_second_server_on_the_same_data_is_refused_with_a_reason() {
    let program = Program::new();
    let _server = program.serve(&[]);
    let second = program.run(&["serve", "--listen", "127.0.0.1:0"]);
    assert!(!second.status.success());
    let log = String::from_utf8(second.stderr).unwrap();
    assert!(log.contains("another server is using this data"), "{log}");
}
