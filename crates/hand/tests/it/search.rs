//! `glob` and `grep`.

use std::fs;
use std::os::unix::fs::symlink;
use std::time::Duration;
use std::time::SystemTime;

use serde_json::Value;
use serde_json::json;

use crate::hand::Client;
use crate::hand::Hand;

/// Files with their text, each a minute older than the one before.
fn fill(hand: &Hand, files: &[(&str, &str)]) {
    let newest = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    for (minutes, (name, text)) in (0..).zip(files) {
        let path = hand.workspace().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        let file = fs::File::options().write(true).open(&path).unwrap();
        file.set_modified(newest - Duration::from_secs(60 * minutes)).unwrap();
    }
}

/// The text of a result with the workspace cut off.
fn text(hand: &Hand, client: &mut Client, tool: &str, input: &Value) -> String {
    let finished = client.call(tool, input);
    finished.text().replace(&format!("{}/", hand.workspace().display()), "")
}

#[test]
fn patterns_match_like_doublestar_newest_first() {
    let hand = Hand::start();
    let mut client = hand.connect();
    fill(
        &hand,
        &[
            ("b.rs", ""),
            ("src/a.rs", ""),
            ("src/deep/c.rs", ""),
            ("src/d.txt", ""),
            (".hidden/e.rs", ""),
            (".git/f.rs", ""),
            ("node_modules/g.rs", ""),
        ],
    );
    symlink("..", hand.workspace().join("src/up")).unwrap();
    let mut glob = |pattern: &str| text(&hand, &mut client, "glob", &json!({ "pattern": pattern }));
    assert_eq!(
        glob("**/*.rs"),
        "b.rs\nsrc/a.rs\nsrc/deep/c.rs\n.hidden/e.rs\n[folders named node_modules were not searched; give one as path to search it]"
    );
    assert_eq!(glob("*.rs"), "b.rs");
    assert_eq!(glob("src/*.{rs,txt}"), "src/a.rs\nsrc/d.txt");
    assert_eq!(glob("./src/**/c.rs"), "src/deep/c.rs");
    assert_eq!(glob("node_modules/*.rs"), "node_modules/g.rs");
    assert_eq!(glob("nothing*"), "no matches");
    assert_eq!(glob("missing/*"), "no matches");
    assert_eq!(glob("b.rs"), "b.rs");
    let absolute = "glob: absolute pattern not permitted; pass a relative pattern (and optionally path)";
    assert_eq!(glob("/etc/*"), absolute);
    assert_eq!(glob("a/../../*"), "glob: '..' is not permitted in the pattern");
    assert!(glob("[").starts_with("glob: "));
    assert_eq!(text(&hand, &mut client, "glob", &json!({"pattern": "*.rs", "path": "src"})), "src/a.rs");
    assert_eq!(
        text(&hand, &mut client, "glob", &json!({"pattern": "*", "path": "x"})),
        "glob: x: no such file or directory"
    );
}

#[test]
fn a_pattern_gives_two_hundred_paths_at_most() {
    let hand = Hand::start();
    let mut client = hand.connect();
    client.bash("mkdir many && touch many/{1..300}");
    let paths = text(&hand, &mut client, "glob", &json!({"pattern": "many/*"}));
    assert_eq!(paths.lines().count(), 200);
}

#[test]
fn lines_that_match_carry_their_path_and_number() {
    let hand = Hand::start();
    let mut client = hand.connect();
    fill(
        &hand,
        &[
            ("b.txt", "one\ntwo needle\r\n"),
            ("a/c.txt", "needle\nx\nNeedle9"),
            (".env", "needle=1"),
            ("binary", "needle\0"),
        ],
    );
    client.bash("mkfifo fifo; ln -s b.txt link");
    let mut grep = |pattern: &str, path: Value| {
        text(&hand, &mut client, "grep", &json!({"pattern": pattern, "path": path}))
    };
    assert_eq!(grep("needle", Value::Null), ".env:1:needle=1\na/c.txt:1:needle\nb.txt:2:two needle");
    assert_eq!(grep("(?i)^needle\\d$", Value::Null), "a/c.txt:3:Needle9");
    assert_eq!(grep("needle", json!("b.txt")), "b.txt:2:two needle");
    assert_eq!(grep("absent", Value::Null), "no matches");
    assert_eq!(grep("-v", Value::Null), "no matches");
    assert!(grep("(", Value::Null).starts_with("grep: invalid regex: "));
    assert_eq!(grep("x", json!("missing")), "grep: missing: no such file or directory");
    assert_eq!(grep("x", json!("fifo")), "grep: fifo: not a regular file");
}

/// As ripgrep does it, and no result claims that nothing matches where something was left out.
#[test]
fn ignored_files_of_a_repository_are_searched_last_and_those_of_other_folders_as_any() {
    let hand = Hand::start();
    let mut client = hand.connect();
    fill(
        &hand,
        &[
            (".gitignore", "scripts/*\n*.log\n"),
            ("scripts/w.py", "needle_w"),
            ("app.log", "needle_l"),
            ("app.py", "needle_a needle_b"),
            ("other.log", "needle_b"),
            ("venv/.gitignore", "*"),
            ("venv/lib/pkg.py", "needle_v"),
            ("node_modules/m.js", "needle_m"),
        ],
    );
    let skipped = "\n[folders named node_modules were not searched; give one as path to search it]";
    let ignored = "\n[these files are ignored by .gitignore; no other file matches]";
    let mut grep = |pattern: &str, path: &str| {
        text(&hand, &mut client, "grep", &json!({"pattern": pattern, "path": path}))
    };
    for is_repository in [false, true] {
        let note = if is_repository { ignored } else { "" };
        assert_eq!(grep("needle_w", "scripts/"), "scripts/w.py:1:needle_w");
        let lib = hand.workspace().join("venv/lib");
        assert_eq!(grep("needle_v", &lib.to_string_lossy()), "venv/lib/pkg.py:1:needle_v");
        assert_eq!(grep("needle_v", "venv"), format!("venv/lib/pkg.py:1:needle_v{note}"));
        assert_eq!(grep("needle_l", ""), format!("app.log:1:needle_l{note}{skipped}"));
        assert_eq!(grep("needle_m", ""), format!("no matches{skipped}"));
        assert_eq!(grep("needle_m", "node_modules"), "node_modules/m.js:1:needle_m");
        if !is_repository {
            let both = "app.py:1:needle_a needle_b\nother.log:1:needle_b";
            assert_eq!(grep("needle_b", ""), format!("{both}{skipped}"));
            fill(&hand, &[(".git/HEAD", "needle_m"), ("venv/.git/HEAD", "")]);
            continue;
        }
        let left = "\n[5 files that .gitignore ignores were not searched; give one of them or its folder as path to \
                    search it]";
        assert_eq!(grep("needle_b", ""), format!("app.py:1:needle_a needle_b{left}{skipped}"));
    }
}

#[test]
fn long_lines_and_long_results_are_cut() {
    let hand = Hand::start();
    let mut client = hand.connect();
    fs::write(hand.workspace().join("long"), format!("é{}\n", "x".repeat(3000))).unwrap();
    let line = text(&hand, &mut client, "grep", &json!({"pattern": "xxx"}));
    assert_eq!(line, format!("long:1:é{} [line cut]", "x".repeat(1999)));
    client.bash("rm long; yes 'a line that matches' | head -20000 >many");
    let lines = text(&hand, &mut client, "grep", &json!({"pattern": "match"}));
    assert!(lines.ends_with("\n[output truncated at 99328 bytes]"));
    assert!(lines.len() < 100_000);
    let sparse = fs::File::create(hand.workspace().join("sparse")).unwrap();
    sparse.set_len(1 << 40).unwrap();
    client.bash("rm many");
    assert_eq!(text(&hand, &mut client, "grep", &json!({"pattern": "x"})), "no matches");
}

#[test]
fn searching_everything_does_not_fall_into_the_system() {
    let hand = Hand::start();
    let mut client = hand.connect();
    let found = text(&hand, &mut client, "glob", &json!({"pattern": "*/self/status", "path": "/"}));
    assert_eq!(found, "no matches");
}
