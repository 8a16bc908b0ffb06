//! Every system call that was reviewed, and what becomes of it. One table, to be read as a whole; what may be done without
//! further questions is in [`allowed`].
//!
//! Three kinds of refusal, because programs read the error:
//! - `EPERM` for what needs a privilege that nothing in here has;
//! - `ENOSYS` for what the kernel might as well be too old for, so that the C library falls back, and for every call that
//!   is not in the table;
//! - `EAFNOSUPPORT` for families of sockets: `groupadd` and so most package scripts abort when audit is forbidden but go
//!   on when it looks absent. `EPROTONOSUPPORT` likewise for protocols.

mod allowed;

use super::seccomp::Check;
use super::seccomp::Verdict;

/// A name and the numbers on `x86_64` and on `aarch64`, or [`NONE`].
pub(super) type Call = (&'static str, u32, u32);

/// There is no such call on this architecture.
pub(super) const NONE: u32 = u32::MAX;

/// Calls that are treated alike, for one reason.
pub(super) struct Group {
    pub(super) verdict: Verdict,
    pub(super) calls: &'static [Call],
}

/// The table.
pub(super) fn groups() -> impl Iterator<Item = &'static Group> {
    RESTRICTED.iter().chain(allowed::ALLOWED)
}

const RESTRICTED: &[Group] = &[
    // The file system tree. Attributes of a whole file system, and which ones there are to swap to, belong to it.
    Group {
        verdict: Verdict::Refuse(libc::EPERM),
        calls: &[
            ("mount", 165, 40),
            ("umount2", 166, 39),
            ("pivot_root", 155, 41),
            ("move_mount", 429, 429),
            ("open_tree", 428, 428),
            ("fsopen", 430, 430),
            ("fsconfig", 431, 431),
            ("fsmount", 432, 432),
            ("fspick", 433, 433),
            ("mount_setattr", 442, 442),
            ("quotactl", 179, 60),
            ("quotactl_fd", 443, 443),
            ("acct", 163, 89),
            ("swapon", 167, 224),
            ("swapoff", 168, 225),
        ],
    },
    // Files by handle: they do not respect the root. And watching whole file systems.
    Group {
        verdict: Verdict::Refuse(libc::EPERM),
        calls: &[
            ("open_by_handle_at", 304, 265),
            ("name_to_handle_at", 303, 264),
            ("fanotify_init", 300, 262),
            ("fanotify_mark", 301, 263),
        ],
    },
    // Namespaces, and names that belong to them.
    Group {
        verdict: Verdict::Refuse(libc::EPERM),
        calls: &[
            ("setns", 308, 268),
            ("unshare", 272, 97),
            ("sethostname", 170, 161),
            ("setdomainname", 171, 162),
        ],
    },
    // Programs in the kernel, views into it, and its end.
    Group {
        verdict: Verdict::Refuse(libc::EPERM),
        calls: &[
            ("bpf", 321, 280),
            ("perf_event_open", 298, 241),
            ("userfaultfd", 323, 282),
            ("kexec_load", 246, 104),
            ("kexec_file_load", 320, 294),
            ("init_module", 175, 105),
            ("finit_module", 313, 273),
            ("delete_module", 176, 106),
            ("syslog", 103, 116),
            ("reboot", 169, 142),
            ("vhangup", 153, 58),
        ],
    },
    // Keyrings are not namespaced.
    Group {
        verdict: Verdict::Refuse(libc::EPERM),
        calls: &[("keyctl", 250, 219), ("add_key", 248, 217), ("request_key", 249, 218)],
    },
    // The clock is everybody's, and so are the ports of devices.
    Group {
        verdict: Verdict::Refuse(libc::EPERM),
        calls: &[
            ("settimeofday", 164, 170),
            ("clock_settime", 227, 112),
            ("adjtimex", 159, 171),
            ("clock_adjtime", 305, 266),
            ("ioperm", 173, NONE),
            ("iopl", 172, NONE),
        ],
    },
    // Reaching into other processes beyond what a debugger needs.
    Group {
        verdict: Verdict::Refuse(libc::EPERM),
        calls: &[("kcmp", 312, 272), ("pidfd_getfd", 438, 438), ("process_madvise", 440, 440)],
    },
    // Which part of the machine memory lies in.
    Group {
        verdict: Verdict::Refuse(libc::EPERM),
        calls: &[
            ("mbind", 237, 235),
            ("set_mempolicy", 238, 237),
            ("set_mempolicy_home_node", 450, 450),
            ("migrate_pages", 256, 238),
            ("move_pages", 279, 239),
        ],
    },
    // Calls that would get past this filter, because what they do lies in memory. The C library does without.
    Group {
        verdict: Verdict::Refuse(libc::ENOSYS),
        calls: &[
            ("clone3", 435, 435),
            ("io_uring_setup", 425, 425),
            ("io_uring_enter", 426, 426),
            ("io_uring_register", 427, 427),
        ],
    },
    // Memory that not even the kernel can see, and code segments of old: a large surface for hardly any program.
    Group {
        verdict: Verdict::Refuse(libc::ENOSYS),
        calls: &[("memfd_secret", 447, 447), ("modify_ldt", 154, NONE)],
    },
    // Newer views of mounts and of security modules; programs go on without.
    Group {
        verdict: Verdict::Refuse(libc::ENOSYS),
        calls: &[
            ("statmount", 457, 457),
            ("listmount", 458, 458),
            ("lsm_get_self_attr", 459, 459),
            ("lsm_set_self_attr", 460, 460),
            ("lsm_list_modules", 461, 461),
            ("open_tree_attr", 467, 467),
        ],
    },
    // Attributes of files beyond permissions; programs fall back to a control of the file.
    Group {
        verdict: Verdict::Refuse(libc::ENOSYS),
        calls: &[("file_getattr", 468, 468), ("file_setattr", 469, 469)],
    },
    // Calls that kernels no longer have or never had, and some that only museums miss.
    Group {
        verdict: Verdict::Refuse(libc::ENOSYS),
        calls: &[
            ("_sysctl", 156, NONE),
            ("afs_syscall", 183, NONE),
            ("create_module", 174, NONE),
            ("epoll_ctl_old", 214, NONE),
            ("epoll_wait_old", 215, NONE),
            ("get_kernel_syms", 177, NONE),
            ("getpmsg", 181, NONE),
            ("lookup_dcookie", 212, 18),
            ("nfsservctl", 180, 42),
            ("putpmsg", 182, NONE),
            ("query_module", 178, NONE),
            ("security", 185, NONE),
            ("sysfs", 139, NONE),
            ("tuxcall", 184, NONE),
            ("uselib", 134, NONE),
            ("ustat", 136, NONE),
            ("vserver", 236, NONE),
        ],
    },
    // New processes, unless they come with namespaces of their own.
    Group { verdict: Verdict::Check(Check::NewProcess), calls: &[("clone", 56, 220)] },
    // Controls of devices, except what puts input into somebody's keyboard or a protocol onto a terminal's line.
    Group { verdict: Verdict::Check(Check::Control), calls: &[("ioctl", 16, 29)] },
    // Sockets of the families and protocols that exist in here.
    Group { verdict: Verdict::Check(Check::Socket), calls: &[("socket", 41, 198), ("socketpair", 53, 199)] },
    // Limits, except those of the hand: it could be starved of descriptors.
    Group { verdict: Verdict::Check(Check::Limits), calls: &[("prlimit64", 302, 261)] },
    // Ways of running a program, except those that make its memory executable or show another system.
    Group { verdict: Verdict::Check(Check::Personality), calls: &[("personality", 135, 92)] },
];
