//! Loop devices.

#![expect(unsafe_code, reason = "system calls; every block says why its arguments are valid")]

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::fd::RawFd;

use super::ioctl;

const LOOP_NAME_BYTES: usize = 64;
const LOOP_KEY_BYTES: usize = 32;
const LOOP_CONFIGURE: u64 = 0x4c0a;
const LOOP_GET_FREE: u64 = 0x4c82;
const LOOP_DETACH_WHEN_UNUSED: u32 = 4;
const LOOP_PAST_THE_CACHE: u32 = 16;

#[repr(C)]
struct LoopConfiguration {
    fd: u32,
    block_size: u32,
    device: u64,
    inode: u64,
    device_number: u64,
    offset: u64,
    size_limit: u64,
    number: u32,
    encryption: u32,
    key_size: u32,
    flags: u32,
    file_name: [u8; LOOP_NAME_BYTES],
    crypt_name: [u8; LOOP_NAME_BYTES],
    key: [u8; LOOP_KEY_BYTES],
    initial: [u64; 2],
    reserved: [u64; 8],
}

/// The number of a loop device that nobody uses at this moment, made if there is none.
pub(in crate::spawner::volume) fn free_loop_device(controls: &File) -> io::Result<i64> {
    // SAFETY: this control takes no argument.
    unsafe { ioctl::<u8>(controls, LOOP_GET_FREE, std::ptr::null_mut()) }
}

/// Shows a file as a block device until that is not used any more. `ResourceBusy` when somebody else has taken it.
pub(in crate::spawner::volume) fn configure_loop_device(device: &File, image: &File) -> io::Result<()> {
    let mut argument = LoopConfiguration {
        fd: RawFd::cast_unsigned(image.as_raw_fd()),
        block_size: 0,
        device: 0,
        inode: 0,
        device_number: 0,
        offset: 0,
        size_limit: 0,
        number: 0,
        encryption: 0,
        key_size: 0,
        // Where the file system of the image cannot go past the cache, the kernel goes through it.
        flags: LOOP_DETACH_WHEN_UNUSED | LOOP_PAST_THE_CACHE,
        file_name: [0; LOOP_NAME_BYTES],
        crypt_name: [0; LOOP_NAME_BYTES],
        key: [0; LOOP_KEY_BYTES],
        initial: [0; 2],
        reserved: [0; 8],
    };
    // SAFETY: the structure that this control takes.
    unsafe { ioctl(device, LOOP_CONFIGURE, &raw mut argument) }.map(drop)
}
