//! Times the packing and unpacking of a tree of about 300 MiB in 4,400 files, in a folder that is given or made.

#![expect(clippy::print_stdout, clippy::cast_possible_truncation, reason = "a measurement to be read")]

use std::error::Error;
use std::fs;
use std::fs::File;
use std::io::BufWriter;
use std::path::Path;
use std::time::Instant;

use hand::layer::Limits;

const FILES: usize = 4_400;
const FILE_BYTES: usize = 70_000;

fn main() -> Result<(), Box<dyn Error>> {
    let folder = std::env::temp_dir().join(format!("layer-speed-{}", std::process::id()));
    let measured = measure(&folder);
    fs::remove_dir_all(&folder)?;
    measured
}

fn measure(folder: &Path) -> Result<(), Box<dyn Error>> {
    let (from, to, archive) = (folder.join("from"), folder.join("to"), folder.join("archive"));
    fs::create_dir_all(&to)?;
    for index in 0..FILES {
        let folder = from.join(format!("folder-{}", index / 40));
        fs::create_dir_all(&folder)?;
        fs::write(folder.join(format!("file-{index}")), content(index))?;
    }
    let limits = Limits { bytes_max: 1 << 30, entries_max: 100_000, path_bytes_max: 4096 };
    for _ in 0..3 {
        let started = Instant::now();
        let packed = hand::layer::pack(&File::open(&from)?, BufWriter::new(File::create(&archive)?))?;
        let pack_ms = started.elapsed().as_millis();
        let size = fs::metadata(&archive)?.len();
        let started = Instant::now();
        let unpacked = hand::layer::unpack(&File::open(&to)?, File::open(&archive)?, &limits)?;
        let unpack_ms = started.elapsed().as_millis();
        println!("pack {pack_ms} ms to {size} bytes, unpack {unpack_ms} ms: {packed:?} {unpacked:?}");
        fs::remove_dir_all(&to)?;
        fs::create_dir_all(&to)?;
    }
    Ok(())
}

/// Bytes that compress to about a third, as programs and text do.
fn content(seed: usize) -> Vec<u8> {
    let mut state = seed as u64 * 2 + 1;
    let mut bytes = Vec::with_capacity(FILE_BYTES);
    while bytes.len() < FILE_BYTES {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let word = format!("{:x} ", (state >> 40) as u16);
        bytes.extend_from_slice(word.as_bytes());
        if state >> 62 == 0 {
            bytes.extend_from_slice(b"and the same again, ");
        }
    }
    bytes
}
