//! Which system calls a sandbox may make. One table, to be reviewed as a whole.
//!
//! Three kinds of refusal, because programs read the error:
//! - `EPERM` for what needs a privilege that nothing in here has: mounts, namespaces, kernel state, keys, clocks;
//! - `ENOSYS` for what the kernel might as well be too old for, so that the C library falls back: `clone3` (its flags lie
//!   in memory, out of a filter's reach), `io_uring` (runs calls past the filter), and every number above
//!   [`LAST_REVIEWED`];
//! - `EAFNOSUPPORT` for socket families. `groupadd` and so most package scripts abort when audit is forbidden but go on
//!   when it looks absent.
//!
//! A call by another architecture's convention kills the process: its numbers mean something else.

use std::collections::BTreeMap;
use std::io;

use libc::c_long;
use seccompiler::BpfProgram;
use seccompiler::SeccompAction;
use seccompiler::SeccompCmpArgLen;
use seccompiler::SeccompCmpOp;
use seccompiler::SeccompCondition;
use seccompiler::SeccompFilter;
use seccompiler::SeccompRule;
use seccompiler::TargetArch;

use super::error::Error;
use super::error::Step;
use super::sys;

/// The newest call that this table has an opinion on (`mseal`). The x32 convention sets a bit far above it.
const LAST_REVIEWED: u32 = 462;

/// Refused with `EPERM`.
const FORBIDDEN: &[c_long] = &[
    // The file system tree.
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
    libc::SYS_quotactl,
    libc::SYS_quotactl_fd,
    libc::SYS_acct,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    // Files by handle: they do not respect the root.
    libc::SYS_open_by_handle_at,
    libc::SYS_name_to_handle_at,
    libc::SYS_fanotify_init,
    // Namespaces, and names that belong to them.
    libc::SYS_setns,
    libc::SYS_unshare,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    // Programs in the kernel, and views into it.
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_kexec_load,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_syslog,
    libc::SYS_lookup_dcookie,
    libc::SYS_nfsservctl,
    libc::SYS_reboot,
    libc::SYS_vhangup,
    // Keyrings are not namespaced.
    libc::SYS_keyctl,
    libc::SYS_add_key,
    libc::SYS_request_key,
    // The clock is everybody's.
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_adjtimex,
    libc::SYS_clock_adjtime,
    // Reaching into other processes beyond what a debugger needs.
    libc::SYS_kcmp,
    libc::SYS_pidfd_getfd,
    libc::SYS_process_madvise,
    libc::SYS_move_pages,
    libc::SYS_migrate_pages,
    libc::SYS_mbind,
];

/// Refused with `EPERM`; these exist on one architecture only.
#[cfg(target_arch = "x86_64")]
const FORBIDDEN_HERE: &[c_long] = &[
    libc::SYS_kexec_file_load,
    libc::SYS_ioperm,
    libc::SYS_iopl,
    libc::SYS_uselib,
    libc::SYS_ustat,
    libc::SYS_sysfs,
    libc::SYS_vserver,
    libc::SYS__sysctl,
];
/// Refused with `EPERM`; these exist on one architecture only.
#[cfg(not(target_arch = "x86_64"))]
const FORBIDDEN_HERE: &[c_long] = &[];

/// Refused with `ENOSYS`.
const ABSENT: &[c_long] = &[
    libc::SYS_clone3,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_memfd_secret,
];

/// `clone` is refused with `EPERM` when it asks for any of these.
const NEW_NAMESPACES: &[libc::c_int] = &[
    libc::CLONE_NEWNS,
    libc::CLONE_NEWCGROUP,
    libc::CLONE_NEWUTS,
    libc::CLONE_NEWIPC,
    libc::CLONE_NEWUSER,
    libc::CLONE_NEWPID,
    libc::CLONE_NEWNET,
];

/// Terminal controls that put input into somebody's keyboard.
const FORBIDDEN_CONTROLS: &[u64] = &[libc::TIOCSTI, libc::TIOCLINUX];

/// Socket families that exist in here, besides the routing part of netlink.
const FAMILIES: &[libc::c_int] = &[libc::AF_UNIX, libc::AF_INET, libc::AF_INET6];

/// Installs all filters; they cannot be taken off again.
pub(crate) fn install() -> Result<(), Error> {
    for program in [absent()?, families()?, forbidden()?] {
        sys::install_filter(&program).step("install a seccomp filter")?;
    }
    sys::install_filter(&unreviewed()).step("install a seccomp filter")
}

type Rules = BTreeMap<c_long, Vec<SeccompRule>>;

fn absent() -> Result<Vec<libc::sock_filter>, Error> {
    let rules = ABSENT.iter().map(|number| (*number, Vec::new())).collect();
    compile(rules, libc::ENOSYS)
}

fn forbidden() -> Result<Vec<libc::sock_filter>, Error> {
    let always = FORBIDDEN.iter().chain(FORBIDDEN_HERE);
    let mut rules: Rules = always.map(|number| (*number, Vec::new())).collect();
    let mut clone = Vec::new();
    for kind in NEW_NAMESPACES {
        let bit = u64::from(kind.cast_unsigned());
        clone.push(rule(vec![condition(0, SeccompCmpOp::MaskedEq(bit), bit)?])?);
    }
    rules.insert(libc::SYS_clone, clone);
    let mut control = Vec::new();
    for number in FORBIDDEN_CONTROLS {
        control.push(rule(vec![condition(1, SeccompCmpOp::Eq, *number)?])?);
    }
    rules.insert(libc::SYS_ioctl, control);
    compile(rules, libc::EPERM)
}

fn families() -> Result<Vec<libc::sock_filter>, Error> {
    let number = |value: libc::c_int| u64::from(value.cast_unsigned());
    let netlink = number(libc::AF_NETLINK);
    let mut unknown = vec![condition(0, SeccompCmpOp::Ne, netlink)?];
    for family in FAMILIES {
        unknown.push(condition(0, SeccompCmpOp::Ne, number(*family))?);
    }
    let other_netlink = vec![
        condition(0, SeccompCmpOp::Eq, netlink)?,
        condition(2, SeccompCmpOp::Ne, number(libc::NETLINK_ROUTE))?,
    ];
    let both = vec![rule(unknown)?, rule(other_netlink)?];
    let rules = [(libc::SYS_socket, both.clone()), (libc::SYS_socketpair, both)].into_iter().collect();
    compile(rules, libc::EAFNOSUPPORT)
}

/// `ENOSYS` for every number above [`LAST_REVIEWED`].
fn unreviewed() -> [libc::sock_filter; 4] {
    const LOAD_WORD: u16 = 0x20;
    const JUMP_IF_GREATER: u16 = 0x25;
    const RETURN: u16 = 0x06;
    const ALLOW: u32 = 0x7fff_0000;
    const ERROR: u32 = 0x0005_0000;
    let step = |code, jt, jf, k| libc::sock_filter { code, jt, jf, k };
    [
        step(LOAD_WORD, 0, 0, 0),
        step(JUMP_IF_GREATER, 0, 1, LAST_REVIEWED),
        step(RETURN, 0, 0, ERROR | libc::ENOSYS.cast_unsigned()),
        step(RETURN, 0, 0, ALLOW),
    ]
}

fn condition(argument: u8, operator: SeccompCmpOp, value: u64) -> Result<SeccompCondition, Error> {
    SeccompCondition::new(argument, SeccompCmpArgLen::Dword, operator, value)
        .map_err(io::Error::other)
        .step("make a seccomp condition")
}

fn rule(conditions: Vec<SeccompCondition>) -> Result<SeccompRule, Error> {
    SeccompRule::new(conditions).map_err(io::Error::other).step("make a seccomp rule")
}

/// A program that answers `errno` to the calls that match and lets all others pass.
fn compile(rules: Rules, errno: libc::c_int) -> Result<Vec<libc::sock_filter>, Error> {
    let arch = TargetArch::try_from(std::env::consts::ARCH)
        .map_err(io::Error::other)
        .step("make seccomp filters for this architecture")?;
    let refuse = SeccompAction::Errno(errno.cast_unsigned());
    let program: BpfProgram = SeccompFilter::new(rules, SeccompAction::Allow, refuse, arch)
        .and_then(TryInto::try_into)
        .map_err(io::Error::other)
        .step("compile a seccomp filter")?;
    Ok(program
        .into_iter()
        .map(|step| libc::sock_filter { code: step.code, jt: step.jt, jf: step.jf, k: step.k })
        .collect())
}
