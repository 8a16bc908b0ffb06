//! What a restored checkpoint holds that was prepared by somebody else: nothing of it may have come to power.
//!
//! The suite packs it (`escape`, `layer.rs`); the places are agreed on there.

use crate::context::Context;
use crate::privilege;
use crate::probe::Outcome;
use crate::probe::Probe;
use crate::probe::all;
use crate::sys;
use crate::sys::Errno;

/// The folder of everything that is prepared.
const FOLDER: &str = "/opt/prepared";
const DEVICES: [&str; 4] = ["disk", "virtual-disk", "memory", "log"];

/// Row 17.
pub(crate) fn probes() -> Vec<Probe> {
    let mut probes = vec![
        Probe::new(17, "a prepared program that belongs to root and has its bit set", "no gain", |_| {
            prepared("set-user", privilege::still_other)
        }),
        Probe::new(17, "a prepared program with capabilities in its file", "no gain", |_| {
            prepared("capable", privilege::still_powerless)
        }),
        Probe::new(
            17,
            "a prepared folder that is redirected to the host's",
            "nothing of the host",
            |context| list(context, &format!("{FOLDER}/redirected")),
        ),
        Probe::new(
            17,
            "a prepared file whose content is redirected to the host's",
            "nothing of the host",
            |context| content(context, &format!("{FOLDER}/redirected-file")),
        ),
        Probe::new(17, "a prepared link to the host's files", "nothing of the host", |context| {
            all([
                ("file".to_owned(), content(context, &format!("{FOLDER}/link"))),
                ("folder".to_owned(), list(context, &format!("{FOLDER}/links"))),
            ])
        }),
    ];
    for name in DEVICES {
        let attack = move |_: &Context| device(&format!("{FOLDER}/{name}"));
        probes.push(Probe::new(17, format!("a prepared device, {name}"), "absent or EACCES", attack));
    }
    probes
}

fn prepared(name: &str, judge: fn(&str) -> Outcome) -> Outcome {
    let path = format!("{FOLDER}/{name}");
    match std::fs::metadata(&path) {
        Ok(_) => judge(&path),
        Err(error) => Outcome::Escaped(format!("unclear: the checkpoint was not restored: {error}")),
    }
}

fn device(path: &str) -> Outcome {
    match sys::open(path, libc::O_RDONLY) {
        Ok(_) => Outcome::Escaped("it can be opened".to_owned()),
        Err(errno) => Outcome::Held(errno.to_string()),
    }
}

fn content(context: &Context, path: &str) -> Outcome {
    match std::fs::read(path) {
        Ok(content) if context.is_betrayed_by(&content) => Outcome::Escaped(format!("{path} can be read")),
        Ok(_) => Outcome::Held("the sandbox's own".to_owned()),
        Err(error) => Outcome::Held(Errno::from(error).to_string()),
    }
}

/// Reads everything in a folder.
fn list(context: &Context, path: &str) -> Outcome {
    let entries = match std::fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) => return Outcome::Held(Errno::from(error).to_string()),
    };
    let mut tries: Vec<(String, Outcome)> =
        vec![(path.to_owned(), Outcome::Held("the sandbox's own".to_owned()))];
    for entry in entries.flatten() {
        let path = entry.path().to_string_lossy().into_owned();
        let outcome = content(context, &path);
        tries.push((path, outcome));
    }
    all(tries)
}
