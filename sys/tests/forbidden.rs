//! A process within the sandbox tries what it must not be able to do; then the same without it, as a control: there
//! no call may fail for want of a right. Arguments are chosen so that nothing happens where a call is allowed.

use std::collections::BTreeMap;
use std::ffi::{CString, c_long, c_void};
use std::fs;
use std::io::{self, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd as _, AsRawFd as _, FromRawFd as _, OwnedFd};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc::channel;
use std::time::Duration;

use portolan_sys::sandbox::{self, Calls, Kept, OnDenied, Places};
use portolan_sys::{FilterInstruction, attach_filter};

/// Says to a process of this test what it is to be: see [`Part`].
const PART: &str = "PORTOLAN_TRIAL";
/// The folder it may make files in.
const ROOT: &str = "PORTOLAN_TRIAL_FOLDER";
/// Fewest things that have to be tried.
const TRIALS_MIN: usize = 40;

#[test]
#[ignore = "needs root"]
fn nothing_forbidden_succeeds_and_everything_needed_does() {
    if let Some(part) = std::env::var_os(PART) {
        return play(&part.to_string_lossy());
    }
    let (free, _) = part("free");
    let (sealed, _) = part("sealed");
    let mut wrong = Vec::new();
    let mut denied = 0;
    for (name, answer) in &sealed {
        let control = free[name].as_str();
        println!("{name:<34} {answer:<8} without the sandbox: {control}");
        let is_needed = name.starts_with("needed: ");
        let is_right = match (is_needed, answer.as_str()) {
            (true, answer) => answer == "done",
            (false, "EPERM" | "EACCES") => !matches!(control, "EPERM" | "EACCES"),
            // The C library is to take another way.
            (false, "ENOSYS") => name == "clone3" && control != "ENOSYS",
            (false, _) => false,
        };
        denied += usize::from(!is_needed && is_right);
        if !is_right {
            wrong.push(format!("{name}: {answer}, without the sandbox {control}"));
        }
    }
    let tried = sealed.keys().filter(|name| !name.starts_with("needed: ")).count();
    println!("{tried} forbidden calls: {denied} denied");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(tried >= TRIALS_MIN && free.len() == sealed.len(), "{tried} tried");
}

#[test]
#[ignore = "needs root"]
fn a_strict_sandbox_ends_the_process_at_the_first_forbidden_call() {
    let (answers, signal) = part("strict");
    assert_eq!((answers.len(), signal), (0, Some(libc::SIGSYS)));
}

/// Runs this test again as a process of its own; returns what each trial answered, and the signal that ended it.
fn part(name: &str) -> (BTreeMap<String, String>, Option<i32>) {
    let program = std::env::current_exe().expect("this program");
    // Removed from here: a process within the sandbox cannot.
    let root = tempfile::tempdir().expect("a folder");
    let ended = Command::new(program)
        .args(["--exact", "nothing_forbidden_succeeds_and_everything_needed_does"])
        .args(["--ignored", "--nocapture", "--test-threads", "1"])
        .env(PART, name)
        .env(ROOT, root.path())
        .output()
        .expect("this program starts");
    let said = String::from_utf8_lossy(&ended.stdout);
    let errors = String::from_utf8_lossy(&ended.stderr);
    let signal = ended.status.signal();
    assert!(signal.is_some() || ended.status.success(), "{name}: {said}{errors}");
    let rows = said.lines().filter_map(|line| line.strip_prefix("trial\t")?.split_once('\t'));
    (rows.map(|(name, answer)| (name.to_owned(), answer.to_owned())).collect(), signal)
}

/// What is open before the sandbox closes.
struct Open {
    tap: OwnedFd,
    listener: TcpListener,
    accepted: TcpStream,
    folder: PathBuf,
    other: PathBuf,
}

impl Open {
    fn new(root: &Path) -> Self {
        // SAFETY: no memory is passed.
        let tap = unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
        assert!(tap >= 0, "a packet socket: {}", io::Error::last_os_error());
        // SAFETY: the descriptor was made above and belongs to nobody else.
        let tap = unsafe { OwnedFd::from_raw_fd(tap) };
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let caller = std::thread::spawn(move || TcpStream::connect(address).expect("a connection"));
        let (accepted, _) = listener.accept().expect("a caller");
        // Kept open for as long as the process lives.
        std::mem::forget(caller.join().expect("the caller"));
        let place = |name: &str| {
            let path = root.join(name);
            fs::create_dir(&path).expect("a folder");
            fs::write(path.join("old"), "old").expect("a file");
            path
        };
        Self { tap, listener, accepted, folder: place("own"), other: place("other") }
    }
}

fn play(part: &str) {
    let root = std::env::var_os(ROOT).expect("a folder of its own");
    let open = Open::new(Path::new(&root));
    let (ask, asked) = channel::<()>();
    let (answer, answered) = channel();
    // It runs before the sandbox closes and is within it all the same.
    std::thread::spawn(move || {
        while asked.recv().is_ok() {
            let _ = answer.send(outcome(call(libc::SYS_socket, [libc::AF_INET.into(), 1, 0, 0, 0, 0])));
        }
    });
    if part != "free" {
        let places = Places { write: vec![open.folder.clone()], ..Places::default() };
        sandbox::harden().expect("hardened");
        sandbox::shed(Kept::default()).expect("no capability");
        assert!(sandbox::enclose(&places).expect("Landlock").abi > 0, "a kernel with Landlock");
        let on_denied = if part == "strict" { OnDenied::Kill } else { OnDenied::Fail };
        sandbox::seal(Calls::Tap(open.tap.as_raw_fd()), on_denied).expect("seccomp");
    }
    let mut out = io::stdout();
    let mut say = |name: &str, answer: &str| {
        // A test harness may not have ended its line.
        writeln!(out, "\ntrial\t{name}\t{answer}").and_then(|()| out.flush()).expect("standard output");
    };
    for (name, answer) in needed(&open) {
        if part != "strict" {
            say(name, &answer.map_or_else(|error| error.to_string(), |()| "done".to_owned()));
        }
    }
    for (name, number, arguments) in trials(&open) {
        let answer = outcome(call(number, arguments));
        say(name, &answer);
    }
    ask.send(()).expect("the other thread");
    say(
        "socket of inet, an older thread",
        &answered.recv_timeout(Duration::from_secs(10)).expect("an answer"),
    );
}

/// What has to go on working.
fn needed(open: &Open) -> Vec<(&'static str, io::Result<()>)> {
    let drop_all = [FilterInstruction { code: 0x06, jump_true: 0, jump_false: 0, operand: 0 }];
    let kind = libc::SOCK_STREAM | libc::SOCK_CLOEXEC;
    let opened =
        |family: i32, kind: i32| call(libc::SYS_socket, [family.into(), kind.into(), 0, 0, 0, 0]).map(drop);
    let (new, moved) = (open.folder.join("new"), open.folder.join("moved"));
    let mut accepted = &open.accepted;
    let thread = std::thread::Builder::new()
        .spawn(|| ())
        .and_then(|thread| thread.join().map_err(|_| io::Error::other("it panicked")));
    vec![
        ("needed: a filter on the tap", attach_filter(open.tap.as_fd(), &drop_all)),
        ("needed: a connection to Docker", opened(libc::AF_UNIX, kind)),
        ("needed: a question to netlink", opened(libc::AF_NETLINK, libc::SOCK_RAW)),
        ("needed: an answer to a client", accepted.write_all(b"x")),
        ("needed: a file", fs::write(&new, "new").and_then(|()| fs::rename(&new, &moved))),
        ("needed: to read it", fs::File::open(&moved).and_then(|mut it| it.read(&mut [0; 8])).map(drop)),
        ("needed: to remove it", fs::remove_file(&moved)),
        ("needed: a thread", thread),
        ("needed: time", {
            std::thread::sleep(Duration::from_millis(1));
            Ok(())
        }),
    ]
}

type Trial = (&'static str, c_long, [c_long; 6]);

#[rustfmt::skip]
fn trials(open: &Open) -> Vec<Trial> {
    let tap = c_long::from(open.tap.as_raw_fd());
    let listener = c_long::from(open.listener.as_raw_fd());
    let accepted = c_long::from(open.accepted.as_raw_fd());
    let nowhere = text("/nowhere/at/all");
    let root = text("/");
    let secret = text(&open.other.join("old").to_string_lossy());
    let fresh = text(&open.other.join("fresh").to_string_lossy());
    let own = text(&open.folder.join("old").to_string_lossy());
    let own_folder = text(&open.folder.to_string_lossy());
    let fresh_own = text(&open.folder.join("fresh").to_string_lossy());
    let (at, none) = (c_long::from(libc::AT_FDCWD), -1);
    // A process id nobody has, and one that somebody has.
    let (nobody, parent) = (0x3fff_ffff, c_long::from(std::os::unix::process::parent_id()));
    let page = leak([0_u8; 4096]);
    let to_loopback = leak(link_address());
    let unspecified = leak([0_u16; 8]);
    let anonymous = c_long::from(libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    let [inet, inet6, unix, packet, netlink] =
        [libc::AF_INET, libc::AF_INET6, libc::AF_UNIX, libc::AF_PACKET, libc::AF_NETLINK].map(c_long::from);
    let [stream, datagram, raw] = [libc::SOCK_STREAM, libc::SOCK_DGRAM, libc::SOCK_RAW].map(c_long::from);
    let option = leak(1_u32);
    let mut trials = vec![
        // Other programs, other processes.
        ("execve",                       libc::SYS_execve,            [nowhere, 0, 0, 0, 0, 0]),
        ("execveat",                     libc::SYS_execveat,          [at, nowhere, 0, 0, 0, 0]),
        ("clone of a process",           libc::SYS_clone,             [libc::CLONE_SIGHAND.into(), 0, 0, 0, 0, 0]),
        ("clone3",                       libc::SYS_clone3,            [page, 0, 0, 0, 0, 0]),
        ("ptrace",                       libc::SYS_ptrace,            [libc::PTRACE_ATTACH.into(), nobody, 0, 0, 0, 0]),
        ("process_vm_readv",             libc::SYS_process_vm_readv,  [nobody, page, 1, page, 1, 0]),
        ("process_vm_writev",            libc::SYS_process_vm_writev, [nobody, page, 1, page, 1, 0]),
        ("process_madvise",              libc::SYS_process_madvise,   [none, page, 1, 0, 0, 0]),
        ("pidfd_open",                   libc::SYS_pidfd_open,        [parent, 0, 0, 0, 0, 0]),
        ("pidfd_getfd",                  libc::SYS_pidfd_getfd,       [none, 0, 0, 0, 0, 0]),
        ("pidfd_send_signal",            libc::SYS_pidfd_send_signal, [none, 0, 0, 0, 0, 0]),
        ("kcmp",                         libc::SYS_kcmp,              [nobody, nobody, 0, 0, 0, 0]),
        ("kill",                         libc::SYS_kill,              [parent, 0, 0, 0, 0, 0]),
        ("tgkill of another",            libc::SYS_tgkill,            [parent, parent, 0, 0, 0, 0]),
        ("setns",                        libc::SYS_setns,             [none, 0, 0, 0, 0, 0]),
        ("unshare",                      libc::SYS_unshare,           [0, 0, 0, 0, 0, 0]),
        // The kernel itself.
        ("bpf",                          libc::SYS_bpf,               [9_999, page, 8, 0, 0, 0]),
        ("io_uring_setup",               libc::SYS_io_uring_setup,    [0, page, 0, 0, 0, 0]),
        ("io_uring_enter",               libc::SYS_io_uring_enter,    [none, 0, 0, 0, 0, 0]),
        ("io_uring_register",            libc::SYS_io_uring_register, [none, 0, 0, 0, 0, 0]),
        ("perf_event_open",              libc::SYS_perf_event_open,   [page, 0, none, none, 0, 0]),
        ("userfaultfd",                  libc::SYS_userfaultfd,       [0, 0, 0, 0, 0, 0]),
        ("kexec_load",                   libc::SYS_kexec_load,        [0, 0, 0, 0xfff, 0, 0]),
        ("init_module",                  libc::SYS_init_module,       [page, 0, page, 0, 0, 0]),
        ("finit_module",                 libc::SYS_finit_module,      [none, page, 0, 0, 0, 0]),
        ("delete_module",                libc::SYS_delete_module,     [nowhere, 0, 0, 0, 0, 0]),
        ("reboot",                       libc::SYS_reboot,            [0, 0, 0, 0, 0, 0]),
        ("keyctl",                       libc::SYS_keyctl,            [9_999, 0, 0, 0, 0, 0]),
        ("add_key",                      libc::SYS_add_key,           [0, 0, 0, 0, 0, 0]),
        ("request_key",                  libc::SYS_request_key,       [0, 0, 0, 0, 0, 0]),
        ("syslog",                       libc::SYS_syslog,            [10, 0, 0, 0, 0, 0]),
        ("swapon",                       libc::SYS_swapon,            [nowhere, 0, 0, 0, 0, 0]),
        ("acct",                         libc::SYS_acct,              [nowhere, 0, 0, 0, 0, 0]),
        ("clock_settime",                libc::SYS_clock_settime,     [99, page, 0, 0, 0, 0]),
        ("sethostname",                  libc::SYS_sethostname,       [page, none, 0, 0, 0, 0]),
        ("quotactl",                     libc::SYS_quotactl,          [none, nowhere, 0, 0, 0, 0]),
        // Mounts.
        ("mount",                        libc::SYS_mount,             [nowhere, nowhere, nowhere, 0, 0, 0]),
        ("umount2",                      libc::SYS_umount2,           [nowhere, 0, 0, 0, 0, 0]),
        ("pivot_root",                   libc::SYS_pivot_root,        [nowhere, nowhere, 0, 0, 0, 0]),
        ("chroot",                       libc::SYS_chroot,            [nowhere, 0, 0, 0, 0, 0]),
        ("fsopen",                       libc::SYS_fsopen,            [nowhere, 0, 0, 0, 0, 0]),
        ("open_tree",                    libc::SYS_open_tree,         [none, nowhere, 0, 0, 0, 0]),
        ("move_mount",                   libc::SYS_move_mount,        [none, nowhere, none, nowhere, 0, 0]),
        ("mount_setattr",                libc::SYS_mount_setattr,     [none, nowhere, 0, page, 32, 0]),
        // Rights.
        ("setuid",                       libc::SYS_setuid,            [0, 0, 0, 0, 0, 0]),
        ("setresgid",                    libc::SYS_setresgid,         [0, 0, 0, 0, 0, 0]),
        ("capset",                       libc::SYS_capset,            [page, 0, 0, 0, 0, 0]),
        ("personality",                  libc::SYS_personality,       [0xffff_ffff, 0, 0, 0, 0, 0]),
        ("prctl dumpable",               libc::SYS_prctl,             [libc::PR_SET_DUMPABLE.into(), 1, 0, 0, 0, 0]),
        ("prctl keep capabilities",      libc::SYS_prctl,             [libc::PR_SET_KEEPCAPS.into(), 0, 0, 0, 0, 0]),
        ("seccomp",                      libc::SYS_seccomp,           [9_999, 0, 0, 0, 0, 0]),
        ("prlimit64",                    libc::SYS_prlimit64,         [0, 9_999, page, 0, 0, 0]),
        ("sched_setaffinity",            libc::SYS_sched_setaffinity, [nobody, 8, page, 0, 0, 0]),
        ("setpriority",                  libc::SYS_setpriority,       [0, nobody, 0, 0, 0, 0]),
        // Memory that is run.
        ("mmap to run",                  libc::SYS_mmap,              [0, 4_096, 5, anonymous, none, 0]),
        ("mprotect to run",              libc::SYS_mprotect,          [0, 0, 5, 0, 0, 0]),
        ("memfd_create",                 libc::SYS_memfd_create,      [nowhere, 0, 0, 0, 0, 0]),
        // Sockets.
        ("socket of inet, TCP",          libc::SYS_socket,            [inet, stream, 0, 0, 0, 0]),
        ("socket of inet, UDP",          libc::SYS_socket,            [inet, datagram, 0, 0, 0, 0]),
        ("socket of inet6",              libc::SYS_socket,            [inet6, stream, 0, 0, 0, 0]),
        ("socket of packet",             libc::SYS_socket,            [packet, raw, 0, 0, 0, 0]),
        ("socket of inet, raw",          libc::SYS_socket,            [inet, raw, 1, 0, 0, 0]),
        ("socket of unix, datagrams",    libc::SYS_socket,            [unix, datagram, 0, 0, 0, 0]),
        ("socket of netlink, audit",     libc::SYS_socket,            [netlink, raw, 9, 0, 0, 0]),
        ("socket of netlink, netfilter", libc::SYS_socket,            [netlink, raw, 12, 0, 0, 0]),
        ("socket of alg",                libc::SYS_socket,            [libc::AF_ALG.into(), libc::SOCK_SEQPACKET.into(), 0, 0, 0, 0]),
        ("bind",                         libc::SYS_bind,              [listener, unspecified, 16, 0, 0, 0]),
        ("listen",                       libc::SYS_listen,            [listener, 1, 0, 0, 0, 0]),
        ("sendmsg",                      libc::SYS_sendmsg,           [accepted, 0, 0, 0, 0, 0]),
        ("sendmmsg",                     libc::SYS_sendmmsg,          [accepted, 0, 1, 0, 0, 0]),
        // The tap: it hears, and says nothing.
        ("bind of the tap",              libc::SYS_bind,              [tap, to_loopback, 20, 0, 0, 0]),
        ("listen on the tap",            libc::SYS_listen,            [tap, 1, 0, 0, 0, 0]),
        ("sendto on the tap",            libc::SYS_sendto,            [tap, page, 0, 0, to_loopback, 20]),
        ("write on the tap",             libc::SYS_write,             [tap, page, 0, 0, 0, 0]),
        ("writev on the tap",            libc::SYS_writev,            [tap, page, 0, 0, 0, 0]),
        ("pwrite64 on the tap",          libc::SYS_pwrite64,          [tap, page, 1, 0, 0, 0]),
        ("sendfile to the tap",          libc::SYS_sendfile,          [tap, none, 0, 1, 0, 0]),
        ("splice to the tap",            libc::SYS_splice,            [none, 0, tap, 0, 1, 0]),
        ("dup of the tap",               libc::SYS_dup,               [tap, 0, 0, 0, 0, 0]),
        ("dup3 of the tap",              libc::SYS_dup3,              [tap, 900, 0, 0, 0, 0]),
        ("fcntl dup of the tap",         libc::SYS_fcntl,             [tap, libc::F_DUPFD_CLOEXEC.into(), 0, 0, 0, 0]),
        ("a fanout of the tap",          libc::SYS_setsockopt,        [tap, libc::SOL_PACKET.into(), libc::PACKET_FANOUT.into(), option, 2, 0]),
        ("a sending ring of the tap",    libc::SYS_setsockopt,        [tap, libc::SOL_PACKET.into(), libc::PACKET_TX_RING.into(), option, 2, 0]),
        ("promiscuity of the tap",       libc::SYS_setsockopt,        [tap, libc::SOL_PACKET.into(), libc::PACKET_ADD_MEMBERSHIP.into(), option, 2, 0]),
        ("eBPF on the tap",              libc::SYS_setsockopt,        [tap, libc::SOL_SOCKET.into(), libc::SO_ATTACH_BPF.into(), option, 2, 0]),
        ("a filter on another socket",   libc::SYS_setsockopt,        [accepted, libc::SOL_SOCKET.into(), libc::SO_ATTACH_FILTER.into(), option, 2, 0]),
        ("ioctl of an interface",        libc::SYS_ioctl,             [tap, 0x8914, page, 0, 0, 0]),
        ("ioctl of a terminal",          libc::SYS_ioctl,             [none, libc::TIOCSTI as c_long, page, 0, 0, 0]),
        // Files elsewhere, and what is no file.
        ("read a file elsewhere",        libc::SYS_openat,            [at, secret, libc::O_RDONLY.into(), 0, 0, 0]),
        ("write a file elsewhere",       libc::SYS_openat,            [at, secret, libc::O_WRONLY.into(), 0, 0, 0]),
        ("make a file elsewhere",        libc::SYS_openat,            [at, fresh, (libc::O_WRONLY | libc::O_CREAT).into(), 0o600, 0, 0]),
        ("list the root",                libc::SYS_openat,            [at, root, (libc::O_RDONLY | libc::O_DIRECTORY).into(), 0, 0, 0]),
        ("remove a file elsewhere",      libc::SYS_unlinkat,          [at, secret, 0, 0, 0, 0]),
        ("make a device",                libc::SYS_mknodat,           [at, fresh_own, (libc::S_IFCHR | 0o600).into(), 0x103, 0, 0]),
        ("make a link",                  libc::SYS_linkat,            [at, own, at, own, 0, 0]),
        ("make a symbolic link",         libc::SYS_symlinkat,         [nowhere, at, own, 0, 0, 0]),
        ("make a folder",                libc::SYS_mkdirat,           [at, own_folder, 0o700, 0, 0, 0]),
        ("change a mode",                libc::SYS_fchmodat,          [at, own, 0o4755, 0, 0, 0]),
        ("change an owner",              libc::SYS_fchownat,          [at, own, 0, 0, 0, 0]),
        ("set an attribute",             libc::SYS_setxattr,          [nowhere, nowhere, page, 0, 0, 0]),
        ("open by handle",               libc::SYS_open_by_handle_at, [none, page, 0, 0, 0, 0]),
        ("fanotify",                     libc::SYS_fanotify_init,     [0, 0, 0, 0, 0, 0]),
        // An inet socket that is open, turned into another: given up, then connected elsewhere.
        ("a connection turned elsewhere", libc::SYS_connect,          [accepted, leak(inet_address(9)), 16, 0, 0, 0]),
    ];
    #[cfg(target_arch = "x86_64")]
    trials.extend([
        ("fork",                         libc::SYS_fork,              [0; 6]),
        ("dup2 of the tap",              libc::SYS_dup2,              [tap, 901, 0, 0, 0, 0]),
        ("ioperm",                       libc::SYS_ioperm,            [0, 0, 0, 0, 0, 0]),
        ("iopl",                         libc::SYS_iopl,              [0, 0, 0, 0, 0, 0]),
        ("modify_ldt",                   libc::SYS_modify_ldt,        [99, 0, 0, 0, 0, 0]),
        ("mknod",                        libc::SYS_mknod,             [own, (libc::S_IFCHR | 0o600).into(), 0x103, 0, 0, 0]),
    ]);
    trials
}

/// Makes a call as it is; what lies behind its pointers outlives the process.
fn call(number: c_long, arguments: [c_long; 6]) -> io::Result<c_long> {
    let [a, b, c, d, e, f] = arguments;
    if number == libc::SYS_connect && b != 0 {
        let unspecified = leak([0_u16; 8]);
        // SAFETY: the address is 16 bytes and lives for ever; a failure leaves the socket as it is.
        unsafe { libc::connect(a as i32, unspecified as *const libc::sockaddr, 16) };
    }
    // SAFETY: pointers among the arguments are null, or lead to leaked memory at least as long as the call is told.
    // Where a call is allowed its arguments name nothing that exists, or what the trial made itself; a process that
    // forks ends its child at once, before anything is dropped.
    let answer = unsafe { libc::syscall(number, a, b, c, d, e, f) };
    #[cfg(target_arch = "x86_64")]
    if number == libc::SYS_fork && answer == 0 {
        // SAFETY: ends the child without running anything of the parent's.
        unsafe { libc::_exit(0) };
    }
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(answer) }
}

fn outcome(answer: io::Result<c_long>) -> String {
    match answer.map_err(|error| error.raw_os_error()) {
        Ok(_) => "allowed".to_owned(),
        Err(Some(libc::EPERM)) => "EPERM".to_owned(),
        Err(Some(libc::EACCES)) => "EACCES".to_owned(),
        Err(Some(libc::ENOSYS)) => "ENOSYS".to_owned(),
        Err(number) => format!("error {}", number.unwrap_or_default()),
    }
}

fn text(text: &str) -> c_long {
    CString::new(text).expect("no zero byte").into_raw() as c_long
}

fn leak<T>(value: T) -> c_long {
    (&raw mut *Box::leak(Box::new(value))).cast::<c_void>() as c_long
}

/// All protocols on the loopback interface.
fn link_address() -> libc::sockaddr_ll {
    libc::sockaddr_ll {
        sll_family: libc::AF_PACKET as u16,
        sll_protocol: 0,
        sll_ifindex: 1,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    }
}

fn inet_address(port: u16) -> libc::sockaddr_in {
    libc::sockaddr_in {
        sin_family: libc::AF_INET as u16,
        sin_port: port.to_be(),
        sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes([127, 0, 0, 1]) },
        sin_zero: [0; 8],
    }
}
