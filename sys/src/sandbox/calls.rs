//! System calls: a list of those allowed, enforced by seccomp on all threads.
//!
//! The list holds what strace showed of a running daemon, and what the C library and the runtime may do in place of it
//! on another version. Arguments are looked at where a call can do more than is needed. A descriptor is only a number
//! here: the tap's does not change, and no call is allowed that could give it another.

use std::collections::BTreeMap;
use std::io;

use libc::c_long;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    TargetArch, apply_filter_all_threads,
};

/// What becomes of a call that is not on the list.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum OnDenied {
    /// It fails with `EPERM`.
    Fail,
    /// The process is killed.
    Kill,
}

/// What is allowed beyond memory, threads, time and open descriptors.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Calls {
    /// Reading and writing files; no socket of any kind.
    Files,
    /// That, answering on sockets that listen, connecting to socket files, asking netlink, and on the tap of this
    /// number reading, statistics and another filter.
    Tap(i32),
}

/// Why calls cannot be restricted.
#[derive(Debug)]
pub enum SealError {
    /// There is no list for this processor.
    Architecture(&'static str),
    /// What the kernel says.
    Refused(io::Error),
}

impl std::fmt::Display for SealError {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Architecture(name) => write!(out, "there is no list of system calls for {name}"),
            Self::Refused(error) => write!(out, "seccomp: {error}"),
        }
    }
}

impl std::error::Error for SealError {}

/// Returns whether there is a list for this processor and the kernel enforces such lists.
///
/// # Errors
///
/// Returns why the kernel's own word on it cannot be read.
pub fn is_sealable() -> io::Result<bool> {
    match std::fs::read_to_string("/proc/sys/kernel/seccomp/actions_avail") {
        Ok(actions) => {
            Ok(architecture().is_ok() && actions.split_whitespace().any(|action| action == "errno"))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Holds all threads of the process to the list, for ever.
///
/// # Errors
///
/// Returns that there is no list for this processor, or what the kernel refused. Then nothing is restricted.
pub fn seal(calls: Calls, on_denied: OnDenied) -> Result<(), SealError> {
    let architecture = architecture()?;
    let absent = program(absent(), SeccompAction::Allow, SeccompAction::Errno(ENOSYS), architecture)?;
    let denied = match on_denied {
        OnDenied::Fail => SeccompAction::Errno(EPERM),
        OnDenied::Kill => SeccompAction::KillProcess,
    };
    let listed = program(listed(calls), denied, SeccompAction::Allow, architecture)?;
    for each in [&absent, &listed] {
        apply_filter_all_threads(each).map_err(refused)?;
    }
    Ok(())
}

const ENOSYS: u32 = libc::ENOSYS as u32;
const EPERM: u32 = libc::EPERM as u32;

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

fn architecture() -> Result<TargetArch, SealError> {
    let name = std::env::consts::ARCH;
    match name {
        "x86_64" | "aarch64" => name.try_into().map_err(|_| SealError::Architecture(name)),
        other => Err(SealError::Architecture(other)),
    }
}

fn program(
    rules: Rules,
    otherwise: SeccompAction,
    matching: SeccompAction,
    architecture: TargetArch,
) -> Result<BpfProgram, SealError> {
    SeccompFilter::new(rules, otherwise, matching, architecture)
        .and_then(BpfProgram::try_from)
        .map_err(|error| SealError::Refused(io::Error::other(error.to_string())))
}

fn refused(error: seccompiler::Error) -> SealError {
    SealError::Refused(match error {
        seccompiler::Error::Prctl(error) | seccompiler::Error::Seccomp(error) => error,
        other => io::Error::other(other.to_string()),
    })
}

/// Calls a C library tries first and does without where the kernel has none: their arguments lie in memory, where no
/// filter can look.
fn absent() -> Rules {
    [libc::SYS_clone3, libc::SYS_openat2].into_iter().map(|call| (call, Vec::new())).collect()
}

fn listed(calls: Calls) -> Rules {
    let mut rules: Rules = FREE.iter().map(|call| (*call, Vec::new())).collect();
    #[cfg(target_arch = "x86_64")]
    rules.extend(FREE_X86_64.iter().map(|call| (*call, Vec::new())));
    // They end at the filter above; here they are only not to kill.
    rules.extend(absent());

    let namespaces = libc::CLONE_NEWNS
        | libc::CLONE_NEWCGROUP
        | libc::CLONE_NEWUTS
        | libc::CLONE_NEWIPC
        | libc::CLONE_NEWUSER
        | libc::CLONE_NEWPID
        | libc::CLONE_NEWNET;
    let thread = libc::CLONE_THREAD | libc::CLONE_VM;
    rules.insert(libc::SYS_clone, vec![rule(vec![masked(0, thread | namespaces, thread)])]);
    // No memory that is run and was written here.
    for call in [libc::SYS_mmap, libc::SYS_mprotect] {
        rules.insert(call, vec![rule(vec![masked(2, libc::PROT_EXEC, 0)])]);
    }
    let own = i64::from(std::process::id());
    rules.insert(libc::SYS_tgkill, vec![rule(vec![is(0, own)])]);
    rules.insert(libc::SYS_prctl, one_of(0, &[libc::PR_SET_NAME.into(), PR_SET_VMA]));
    // Limits may be asked for; arguments are zero where nothing is set.
    rules.insert(libc::SYS_prlimit64, vec![rule(vec![is_null(2)])]);
    let commands = [libc::F_GETFD, libc::F_SETFD, libc::F_GETFL, libc::F_SETFL].map(i64::from);
    rules.insert(libc::SYS_fcntl, one_of(1, &commands));
    let requests = [libc::FIONBIO, libc::TCGETS, libc::TIOCGWINSZ, SIOCGIFNAME];
    rules.insert(libc::SYS_ioctl, one_of(1, &requests.map(request)));
    for call in [libc::SYS_write, libc::SYS_writev, libc::SYS_pwrite64] {
        rules.insert(call, Vec::new());
    }
    match calls {
        Calls::Files => {
            rules.entry(libc::SYS_fcntl).or_default().push(rule(vec![is(1, libc::F_DUPFD_CLOEXEC.into())]));
        }
        Calls::Tap(tap) => tapping(&mut rules, tap.into()),
    }
    rules
}

fn tapping(rules: &mut Rules, tap: i64) {
    rules.extend(NETWORK.iter().map(|call| (*call, Vec::new())));
    // Whoever could send on the tap, or give it another number to send on, could speak for anybody.
    for call in [libc::SYS_write, libc::SYS_writev, libc::SYS_pwrite64, libc::SYS_sendto] {
        rules.insert(call, vec![rule(vec![is_not(0, tap)])]);
    }
    let duplicate = rule(vec![is_not(0, tap), is(1, libc::F_DUPFD_CLOEXEC.into())]);
    rules.entry(libc::SYS_fcntl).or_default().push(duplicate);
    // Docker again after a restart; interfaces again after an overrun.
    let stream = masked(1, SOCKET_KIND, libc::SOCK_STREAM);
    let unix = rule(vec![is(0, libc::AF_UNIX.into()), stream.clone()]);
    let links = rule(vec![is(0, libc::AF_NETLINK.into()), is(2, libc::NETLINK_ROUTE.into())]);
    rules.insert(libc::SYS_socket, vec![unix.clone(), links]);
    rules.insert(libc::SYS_socketpair, vec![unix]);
    let option = |level: i32, name: i32| vec![is(1, level.into()), is(2, name.into())];
    let on_others = [
        option(libc::IPPROTO_TCP, libc::TCP_NODELAY),
        option(libc::SOL_SOCKET, libc::SO_RCVTIMEO),
        option(libc::SOL_SOCKET, libc::SO_SNDTIMEO),
    ];
    let mut options: Vec<SeccompRule> =
        on_others.into_iter().map(|conditions| rule([vec![is_not(0, tap)], conditions].concat())).collect();
    options.push(rule([vec![is(0, tap)], option(libc::SOL_SOCKET, libc::SO_ATTACH_FILTER)].concat()));
    rules.insert(libc::SYS_setsockopt, options);
}

/// `prctl` of the C library that names memory (linux/prctl.h).
const PR_SET_VMA: i64 = 0x5356_4d41;
/// Index to name of an interface (linux/sockios.h).
const SIOCGIFNAME: libc::Ioctl = 0x8910;
/// The kind of a socket without its flags.
const SOCKET_KIND: i32 = 0xf;

/// Allowed whatever the arguments.
#[rustfmt::skip]
const FREE: &[c_long] = &[
    // Memory and threads.
    libc::SYS_brk, libc::SYS_munmap, libc::SYS_mremap, libc::SYS_madvise, libc::SYS_membarrier,
    libc::SYS_futex, libc::SYS_set_robust_list, libc::SYS_rseq, libc::SYS_sched_yield, libc::SYS_sched_getaffinity,
    libc::SYS_gettid, libc::SYS_getpid, libc::SYS_exit, libc::SYS_exit_group,
    // Signals, to this process.
    libc::SYS_rt_sigaction, libc::SYS_rt_sigprocmask, libc::SYS_rt_sigreturn, libc::SYS_sigaltstack,
    libc::SYS_restart_syscall,
    // Time, chance, what system this is.
    libc::SYS_clock_gettime, libc::SYS_clock_getres, libc::SYS_gettimeofday, libc::SYS_clock_nanosleep,
    libc::SYS_nanosleep, libc::SYS_getrandom, libc::SYS_uname, libc::SYS_sysinfo, libc::SYS_getrusage,
    libc::SYS_getuid, libc::SYS_geteuid, libc::SYS_getgid, libc::SYS_getegid,
    // Descriptors and waiting.
    libc::SYS_read, libc::SYS_readv, libc::SYS_pread64, libc::SYS_lseek, libc::SYS_close,
    libc::SYS_ppoll, libc::SYS_epoll_ctl, libc::SYS_epoll_pwait,
    // Files: which ones, Landlock says.
    libc::SYS_openat, libc::SYS_fstat, libc::SYS_newfstatat, libc::SYS_statx, libc::SYS_getdents64,
    libc::SYS_readlinkat, libc::SYS_faccessat, libc::SYS_faccessat2, libc::SYS_getcwd,
    libc::SYS_ftruncate, libc::SYS_fallocate, libc::SYS_fsync, libc::SYS_fdatasync, libc::SYS_fadvise64,
    libc::SYS_unlinkat, libc::SYS_renameat, libc::SYS_renameat2,
];

/// The older names of the same, which this processor has besides.
#[cfg(target_arch = "x86_64")]
#[rustfmt::skip]
const FREE_X86_64: &[c_long] = &[
    libc::SYS_open, libc::SYS_stat, libc::SYS_lstat, libc::SYS_access, libc::SYS_readlink, libc::SYS_unlink,
    libc::SYS_rename, libc::SYS_poll, libc::SYS_epoll_wait, libc::SYS_time,
];

/// Sockets that are open, or that the rules let be opened.
#[rustfmt::skip]
const NETWORK: &[c_long] = &[
    libc::SYS_accept4, libc::SYS_connect, libc::SYS_recvfrom, libc::SYS_recvmsg, libc::SYS_shutdown,
    libc::SYS_getsockopt, libc::SYS_getsockname, libc::SYS_getpeername,
];

fn rule(conditions: Vec<SeccompCondition>) -> SeccompRule {
    SeccompRule::new(conditions).expect("a rule here has conditions")
}

fn one_of(argument: u8, values: &[i64]) -> Vec<SeccompRule> {
    values.iter().map(|value| rule(vec![is(argument, *value)])).collect()
}

fn is(argument: u8, value: i64) -> SeccompCondition {
    condition(argument, SeccompCmpOp::Eq, value)
}

fn is_not(argument: u8, value: i64) -> SeccompCondition {
    condition(argument, SeccompCmpOp::Ne, value)
}

fn masked(argument: u8, mask: i32, value: i32) -> SeccompCondition {
    condition(argument, SeccompCmpOp::MaskedEq(u64::from(mask.cast_unsigned())), value.into())
}

/// Compares the lower half, which is what the kernel takes of an `int`.
fn condition(argument: u8, operator: SeccompCmpOp, value: i64) -> SeccompCondition {
    SeccompCondition::new(argument, SeccompCmpArgLen::Dword, operator, value.cast_unsigned() & 0xffff_ffff)
        .expect("a call has six arguments")
}

fn is_null(argument: u8) -> SeccompCondition {
    SeccompCondition::new(argument, SeccompCmpArgLen::Qword, SeccompCmpOp::Eq, 0)
        .expect("a call has six arguments")
}

fn request(number: libc::Ioctl) -> i64 {
    // The type of a request differs between C libraries, its lower half does not.
    number as i64
}
