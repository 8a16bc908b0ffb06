//! File systems in image files: ext4 without a journal, in a file that grows as it is filled.
//!
//! The image of a session is a copy of a template, which is made once for each size. A loop device shows it while it is
//! mounted; the kernel frees that device with the last mount, also when this process is killed.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::process::Stdio;

use super::DISK;
use super::IMAGE;
use super::is_mounted;
use super::make_folder;
use super::sys;
use super::sys::device;
use crate::Limits;

const PROGRAM: &str = "mkfs.ext4";
const PROGRAM_FOLDERS: [&str; 4] = ["/usr/sbin", "/sbin", "/usr/bin", "/usr/local/sbin"];
/// What a file takes at least, so that more files than fit are not asked for.
const FILE_BYTES_MIN: u64 = 4096;
/// Files that the smallest file system has.
const FILES_MIN: u64 = 16;
/// The tables of files are written when they are used, not in the background. What a crash of the machine leaves is of no
/// use anyway, so nothing waits for the disk.
const OPTIONS: &str = "noinit_itable,nobarrier";
/// How often another process may take the loop device that was just found to be free.
const TAKEN_MAX: usize = 100;
const COPY_BYTES: usize = 64 * 1024;

/// Makes and mounts images.
#[derive(Debug)]
pub(super) struct Images {
    /// Where the templates are.
    folder: PathBuf,
}

impl Images {
    pub(super) fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// Makes the usual template and mounts it once, to see whether that can be done.
    pub(super) fn check(&self) -> io::Result<()> {
        let place = self.folder.join("probe");
        drop(std::fs::remove_dir_all(&place));
        make_folder(&place, 0o700)?;
        let limits = Limits::default();
        self.make(&place, &limits)?;
        mount(&place)?;
        sys::unmount(&place.join(DISK))?;
        std::fs::remove_dir_all(&place)
    }

    /// Gives a session an empty image.
    pub(super) fn make(&self, folder: &Path, limits: &Limits) -> io::Result<()> {
        let template = self.template(limits)?;
        // One that is half made is never taken for an image.
        let beginning = folder.join("disk.new");
        copy(&template, &beginning)?;
        std::fs::rename(beginning, folder.join(IMAGE))
    }

    fn template(&self, limits: &Limits) -> io::Result<PathBuf> {
        let bytes = limits.disk_bytes_max;
        let files = limits.disk_files_max.min(bytes / FILE_BYTES_MIN).max(FILES_MIN);
        let path = self.folder.join(format!("template-{bytes}-{files}.img"));
        if path.exists() {
            return Ok(path);
        }
        let beginning = self.folder.join("template.new");
        File::create(&beginning)?.set_len(bytes)?;
        make_file_system(&beginning, files)?;
        std::fs::rename(beginning, &path)?;
        Ok(path)
    }
}

/// Mounts the image of a session, unless it is.
pub(super) fn mount(folder: &Path) -> io::Result<()> {
    let disk = folder.join(DISK);
    make_folder(&disk, 0o755)?;
    if is_mounted(&disk)? {
        return Ok(());
    }
    let image = File::options().read(true).write(true).open(folder.join(IMAGE))?;
    // It has to stay open until it is mounted: with its last user the device lets the image go.
    let (device, path) = attach(&image)?;
    sys::mount(&path, &disk, c"ext4", OPTIONS)?;
    drop(device);
    Ok(())
}

fn make_file_system(image: &Path, files: u64) -> io::Result<()> {
    let mut programs = PROGRAM_FOLDERS.iter().map(|folder| Path::new(folder).join(PROGRAM));
    let program = programs.find(|path| path.exists());
    let program = program.ok_or_else(|| io::Error::other(format!("{PROGRAM} is not installed")))?;
    let output = Command::new(program)
        .args(["-q", "-F", "-m", "0", "-O", "^has_journal,^resize_inode", "-E"])
        .args(["lazy_itable_init=1,nodiscard,packed_meta_blocks=1,root_owner=0:0", "-N"])
        .arg(files.to_string())
        .arg(image)
        .stdin(Stdio::null())
        .output()?;
    if output.status.success() {
        return Ok(());
    }
    Err(io::Error::other(format!("{PROGRAM}: {}", String::from_utf8_lossy(&output.stderr).trim())))
}

/// Copies a file with its holes.
fn copy(from: &Path, to: &Path) -> io::Result<()> {
    let (from, to) = (File::open(from)?, File::create(to)?);
    to.set_len(from.metadata()?.len())?;
    let mut buffer = vec![0; COPY_BYTES];
    let mut at = 0;
    while let Some((begin, end)) = sys::next_content(&from, at)? {
        at = begin;
        while at < end {
            let wanted = usize::try_from(end - at).unwrap_or(COPY_BYTES).min(COPY_BYTES);
            from.read_exact_at(&mut buffer[..wanted], at)?;
            to.write_all_at(&buffer[..wanted], at)?;
            at += wanted as u64;
        }
    }
    Ok(())
}

/// Shows an image as a device; answers that and its path.
pub(super) fn attach(image: &File) -> io::Result<(File, PathBuf)> {
    let controls = File::options().read(true).write(true).open("/dev/loop-control")?;
    let mut last = io::Error::from(io::ErrorKind::ResourceBusy);
    for _ in 0..TAKEN_MAX {
        let number = device::free_loop_device(&controls)?;
        let path = PathBuf::from(format!("/dev/loop{number}"));
        let found = File::options().read(true).write(true).open(&path)?;
        match device::configure_loop_device(&found, image) {
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy => last = error,
            other => return other.map(|()| (found, path)),
        }
    }
    Err(last)
}
