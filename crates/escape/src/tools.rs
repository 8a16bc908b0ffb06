//! Attacks through the tools, judged from outside.

use crate::ground::Ground;
use crate::play::Played;
use crate::report::Finding;
use crate::report::Verdict;

/// Places that a tool must refuse, because reading them would never end.
const ENDLESS: [&str; 2] = ["/workspace/tools/pipe", "/workspace/tools/endless"];

/// Judges the calls of the file tools: nothing of the host may be in a result.
pub(crate) fn file_tools(ground: &Ground, played: &[Played]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut races = 0;
    for call in played.iter().filter(|call| call.tool != "bash") {
        let path =
            call.input["file_path"].as_str().or_else(|| call.input["path"].as_str()).unwrap_or_default();
        let secret = secret_in(ground, &call.text);
        if path.starts_with("/workspace/race/") && secret.is_none() {
            races += 1;
            continue;
        }
        let name = format!("{} {path}", call.tool).replace(&ground.folder.display().to_string(), "…");
        let verdict = if let Some(secret) = secret {
            (Verdict::Escaped, secret)
        } else if ENDLESS.contains(&path) && !call.is_error {
            (Verdict::Escaped, "it was read".to_owned())
        } else {
            (Verdict::Held, call.text.lines().next().unwrap_or("nothing").to_owned())
        };
        findings.push(Finding::new(15, &name, "an error, or the sandbox's own file", verdict));
    }
    let detail = (Verdict::Held, format!("{races} reads and writes stayed inside"));
    findings.push(Finding::new(
        40,
        "swap a folder and a link during reads and writes",
        "no effect outside",
        detail,
    ));
    findings
}

/// What of the host is in a text.
fn secret_in(ground: &Ground, text: &str) -> Option<String> {
    // Complaints quote what they were asked for.
    let told = text.lines().find(|line| line.contains(&ground.token) && !line.contains("old_string"));
    if told.is_some() {
        return Some("a canary was read".to_owned());
    }
    let shadow = std::fs::read_to_string("/etc/shadow").ok()?;
    let mut hashes = shadow.lines().filter(|line| line.contains(":$"));
    hashes.any(|line| text.contains(line)).then(|| "the host's /etc/shadow was read".to_owned())
}

/// Judges the killing of everything: after each blow the session lives on.
pub(crate) fn killing(played: &[Played]) -> Vec<Finding> {
    let (blows, _) = played.as_chunks::<2>();
    let judge = |[blow, after]: &[Played; 2]| {
        let name = format!("then a call, after {}", blow.input["command"].as_str().unwrap_or_default());
        let met = blow.text.lines().next().unwrap_or("nothing");
        let verdict = if after.text.contains("alive") {
            (Verdict::Held, format!("alive; the blow met: {met}"))
        } else {
            (Verdict::Escaped, format!("unclear: it says {}; the blow met: {met}", after.text))
        };
        Finding::new(13, &name, "the session lives on", verdict)
    };
    blows.iter().map(judge).collect()
}

/// Judges the filling of the disk: either the attacker met a bound, or it was stopped from outside with a word why, and the
/// session lives on.
pub(crate) fn filling(played: &[Played]) -> Vec<Finding> {
    let (fills, _) = played.as_chunks::<2>();
    let judge = |[fill, after]: &[Played; 2]| {
        let way = fill.input["command"].as_str().and_then(|command| command.split(' ').nth(1));
        let way = way.unwrap_or_default();
        let stopped = fill.text.lines().find(|line| line.contains("allowed") && line.contains("stopped"));
        let mut findings = match stopped {
            Some(line) if fill.is_error => {
                let verdict = (Verdict::Held, line.trim().to_owned());
                vec![Finding::new(3, way, "stopped, with the reason", verdict)]
            }
            Some(_) | None => Finding::read(way, &fill.text),
        };
        let verdict = if after.text.contains("alive") { Verdict::Held } else { Verdict::Escaped };
        let name = format!("then a call, after {way}");
        findings.push(Finding::new(
            3,
            &name,
            "the session lives on",
            (verdict, after.text.trim().to_owned()),
        ));
        findings
    };
    fills.iter().flat_map(judge).collect()
}

/// Tells what the attacker could replace for the next life.
pub(crate) fn trap(played: &[Played], planted: &[&str]) -> Finding {
    let told = played.last().map(|call| call.text.trim().trim_start_matches("replaced:").trim().to_owned());
    let told = told.unwrap_or_default();
    let inside = told.split_whitespace().count();
    let verdict = if inside == 0 && planted.is_empty() {
        (Verdict::Skipped, "nothing could be replaced".to_owned())
    } else {
        (Verdict::Held, format!("{inside} by the tool ({told}), {} in the files themselves", planted.len()))
    };
    Finding::new(
        16,
        "links to the host in place of what a start touches",
        "the sandbox starts, the host is untouched",
        verdict,
    )
}
