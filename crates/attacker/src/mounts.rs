//! Mounts, by every call that makes, moves or removes them.

use crate::probe::Call;
use crate::probe::Probe;
use crate::probe::refused;
use crate::sys::Argument::Bytes;
use crate::sys::Argument::Number;
use crate::sys::Argument::Text;
use crate::sys::Errno;
use crate::sys::call;

const HERE: i64 = libc::AT_FDCWD as i64;
const NULL: i64 = 0;
/// `open_tree_attr`, younger than the C library.
const OPEN_TREE_ATTR: libc::c_long = 467;

const CALLS: &[Call] = &[
    (6, "mount a tmpfs", || mount(c"none", c"/mnt", c"tmpfs", 0)),
    (6, "mount proc", || mount(c"none", c"/mnt", c"proc", 0)),
    (6, "mount sysfs", || mount(c"none", c"/mnt", c"sysfs", 0)),
    (6, "mount cgroup2", || mount(c"none", c"/mnt", c"cgroup2", 0)),
    (6, "mount cgroup", || mount(c"none", c"/mnt", c"cgroup", 0)),
    (6, "mount devtmpfs", || mount(c"none", c"/mnt", c"devtmpfs", 0)),
    (6, "mount mqueue", || mount(c"none", c"/mnt", c"mqueue", 0)),
    (6, "bind the root", || mount(c"/", c"/mnt", c"", libc::MS_BIND | libc::MS_REC)),
    (6, "remount /usr writable", || mount(c"none", c"/usr", c"", libc::MS_REMOUNT | libc::MS_BIND)),
    (6, "remount /proc/sys writable", || mount(c"none", c"/proc/sys", c"", libc::MS_REMOUNT | libc::MS_BIND)),
    (6, "remount / with devices", || mount(c"none", c"/", c"", libc::MS_REMOUNT | libc::MS_BIND)),
    (6, "make mounts shared", || mount(c"none", c"/", c"", libc::MS_REC | libc::MS_SHARED)),
    (6, "unmount a mask", || umount(c"/proc/kcore")),
    (6, "unmount /proc/sys", || umount(c"/proc/sys")),
    (6, "unmount /proc", || umount(c"/proc")),
    (6, "unmount /usr", || umount(c"/usr")),
    (6, "fsopen", || call(libc::SYS_fsopen, &mut [Text(c"tmpfs"), Number(0)])),
    (6, "fsconfig", || {
        call(libc::SYS_fsconfig, &mut [Number(0), Number(6), Number(NULL), Number(NULL), Number(0)])
    }),
    (6, "fsmount", || call(libc::SYS_fsmount, &mut [Number(0), Number(0), Number(0)])),
    (6, "fspick", || call(libc::SYS_fspick, &mut [Number(HERE), Text(c"/"), Number(0)])),
    (6, "open_tree", || call(libc::SYS_open_tree, &mut [Number(HERE), Text(c"/"), Number(1)])),
    (6, "open_tree_attr", || {
        call(OPEN_TREE_ATTR, &mut [Number(HERE), Text(c"/"), Number(1), Number(NULL), Number(0)])
    }),
    (6, "move_mount", || {
        call(
            libc::SYS_move_mount,
            &mut [Number(HERE), Text(c"/proc"), Number(HERE), Text(c"/mnt"), Number(0)],
        )
    }),
    (6, "mount_setattr", || {
        // Clears read-only on /usr.
        let mut attributes = [0; 32];
        attributes[8] = 1;
        let size = Number(32);
        call(
            libc::SYS_mount_setattr,
            &mut [Number(HERE), Text(c"/usr"), Number(0), Bytes(&mut attributes), size],
        )
    }),
    (6, "pivot_root", || call(libc::SYS_pivot_root, &mut [Text(c"/tmp"), Text(c"/tmp")])),
    (6, "mount after chroot", || {
        call(libc::SYS_chroot, &mut [Text(c"/")])?;
        mount(c"none", c"/mnt", c"tmpfs", 0)
    }),
    (46, "remount the uploads writable", || {
        mount(c"none", c"/mnt/session/uploads", c"", libc::MS_REMOUNT | libc::MS_BIND)
    }),
    (46, "bind over the uploads", || mount(c"/tmp", c"/mnt/session/uploads", c"", libc::MS_BIND)),
];

/// Rows 6 and 46.
pub(crate) fn probes() -> Vec<Probe> {
    refused(CALLS, "EPERM or ENOSYS", &[libc::EPERM, libc::ENOSYS]).collect()
}

fn mount(
    source: &std::ffi::CStr,
    target: &std::ffi::CStr,
    kind: &std::ffi::CStr,
    flags: libc::c_ulong,
) -> Result<i64, Errno> {
    let flags = Number(i64::try_from(flags).map_err(|_| Errno(libc::EINVAL))?);
    call(libc::SYS_mount, &mut [Text(source), Text(target), Text(kind), flags, Number(NULL)])
}

fn umount(target: &std::ffi::CStr) -> Result<i64, Errno> {
    call(libc::SYS_umount2, &mut [Text(target), Number(libc::MNT_DETACH.into())])
}
