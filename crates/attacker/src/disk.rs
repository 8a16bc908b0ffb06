//! Filling the disk beyond the sandbox's share.

use std::fs::File;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::time::Duration;
use std::time::Instant;

use crate::probe::Outcome;
use crate::probe::Probe;
use crate::sys;
use crate::sys::Argument::Number;
use crate::sys::Errno;

/// A place that no attack of a former life replaces.
const FOLDER: &str = "/opt/escape-disk";
const STEP: usize = 4 << 20;
/// A host that looks at disks from time to time has this long to notice: it pauses for half a minute at most. It then ends
/// everything inside, this program included, so each of these is a call of its own.
const NOTICE: Duration = Duration::from_secs(40);
const TIME_MAX: Duration = Duration::from_secs(80);

/// Row 3: the attack of this name, if there is one.
pub(crate) fn probe(name: &str) -> Option<Probe> {
    const EXPECTED: &str = "ENOSPC, EDQUOT, EFBIG or stopped";
    let probe = match name {
        "fill-file" => {
            Probe::new(3, "a big file", EXPECTED, |context| attempt(context.disk_bytes_max, 150, big_file))
        }
        "fill-deleted" => Probe::new(3, "a file that was deleted and is still open", EXPECTED, |context| {
            attempt(context.disk_bytes_max, 160, deleted_file)
        }),
        "fill-reserved" => {
            Probe::new(3, "space that is reserved beyond the end of files", EXPECTED, |context| {
                attempt(context.disk_bytes_max, 170, reserved)
            })
        }
        "fill-many" => Probe::new(3, "many small files", EXPECTED, |context| {
            attempt(context.disk_files_max, 150, many_files)
        }),
        _ => return None,
    };
    Some(probe.within(TIME_MAX))
}

/// Takes so many hundredths of the limit. One after the other takes more: a host that looks now and then may let a sandbox
/// stay for a while at what it was stopped with.
fn attempt(limit: u64, percent: u64, take: fn(u64) -> Result<(), Errno>) -> Outcome {
    if let Err(error) = std::fs::create_dir_all(FOLDER) {
        return Outcome::Escaped(format!("unclear: make {FOLDER}: {error}"));
    }
    let result = take(limit * percent / 100);
    std::fs::remove_dir_all(FOLDER).ok();
    match result {
        Err(errno) => Outcome::Held(errno.to_string()),
        Ok(()) => Outcome::Escaped(format!("{percent} % of {limit} could be had for {NOTICE:?}")),
    }
}

fn big_file(bytes: u64) -> Result<(), Errno> {
    // In several files, each small enough for a bound on single ones.
    for part in 0..4 {
        write(&mut File::create(format!("{FOLDER}/part-{part}"))?, bytes / 4)?;
    }
    hold();
    Ok(())
}

fn deleted_file(bytes: u64) -> Result<(), Errno> {
    let mut held = Vec::new();
    for part in 0..4 {
        let path = format!("{FOLDER}/gone-{part}");
        let mut file = File::create(&path)?;
        std::fs::remove_file(&path)?;
        write(&mut file, bytes / 4)?;
        held.push(file);
    }
    hold();
    drop(held);
    Ok(())
}

/// Takes blocks without a size that would tell.
fn reserved(bytes: u64) -> Result<(), Errno> {
    let share = i64::try_from(bytes / 4).map_err(|_| Errno(libc::EINVAL))?;
    for part in 0..4 {
        let file = File::create(format!("{FOLDER}/reserved-{part}"))?;
        let fd = Number(file.as_raw_fd().into());
        let keeps_size = Number(libc::FALLOC_FL_KEEP_SIZE.into());
        sys::call(libc::SYS_fallocate, &mut [fd, keeps_size, Number(0), Number(share)])?;
    }
    hold();
    Ok(())
}

fn write(file: &mut File, bytes: u64) -> Result<(), Errno> {
    let piece = vec![1; STEP];
    let mut written = 0;
    while written < bytes {
        file.write_all(&piece)?;
        written += STEP as u64;
    }
    Ok(())
}

fn many_files(count: u64) -> Result<(), Errno> {
    for number in 0..count {
        File::create(format!("{FOLDER}/{number}"))?;
    }
    hold();
    Ok(())
}

/// Stays there, for whoever looks.
fn hold() {
    let start = Instant::now();
    while start.elapsed() < NOTICE {
        std::thread::sleep(Duration::from_millis(100));
    }
}
