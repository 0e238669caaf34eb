//! Classic BPF programs on a socket (`SO_ATTACH_FILTER`, socket(7)).

use std::ffi::c_void;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Instructions a program may have (`BPF_MAXINSNS`).
pub const INSTRUCTIONS_MAX: usize = 4_096;

/// One classic BPF instruction (`struct sock_filter`, linux/filter.h).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct FilterInstruction {
    /// Operation.
    pub code: u16,
    /// Instructions to skip where a comparison holds.
    pub jump_true: u8,
    /// Instructions to skip where it does not.
    pub jump_false: u8,
    /// Operand.
    pub operand: u32,
}

/// Attaches a program to a socket, in place of any other, without a gap in which frames are lost.
///
/// # Errors
///
/// Returns `InvalidInput` for a program that is empty or longer than [`INSTRUCTIONS_MAX`], and what the kernel says
/// of one that it refuses or of a descriptor that is no socket.
pub fn attach_filter(socket: BorrowedFd<'_>, program: &[FilterInstruction]) -> io::Result<()> {
    if program.is_empty() || program.len() > INSTRUCTIONS_MAX {
        let message = format!("a filter has 1 to {INSTRUCTIONS_MAX} instructions, not {}", program.len());
        return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
    }
    let mut instructions: Vec<libc::sock_filter> = program
        .iter()
        .map(|each| libc::sock_filter {
            code: each.code,
            jt: each.jump_true,
            jf: each.jump_false,
            k: each.operand,
        })
        .collect();
    let length = u16::try_from(instructions.len()).map_err(io::Error::other)?;
    let program = libc::sock_fprog { len: length, filter: instructions.as_mut_ptr() };
    let size = libc::socklen_t::try_from(size_of_val(&program)).map_err(io::Error::other)?;
    // SAFETY: the descriptor is open for as long as it is borrowed. The option's value points to a `sock_fprog` of
    // the stated size, whose `filter` points to `len` initialised instructions; both live until the call returns, and
    // the kernel copies them and keeps no pointer.
    let status = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_FILTER,
            (&raw const program).cast::<c_void>(),
            size,
        )
    };
    if status == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::os::fd::AsFd;
    use std::time::Duration;

    use super::*;

    /// Returns so many bytes of every packet.
    fn keep(bytes: u32) -> FilterInstruction {
        FilterInstruction { code: 0x06, jump_true: 0, jump_false: 0, operand: bytes }
    }

    #[test]
    fn a_program_decides_what_a_socket_receives() {
        let receiver = UdpSocket::bind("127.0.0.1:0").unwrap();
        let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = receiver.local_addr().unwrap();
        receiver.set_read_timeout(Some(Duration::from_secs(10))).unwrap();

        attach_filter(receiver.as_fd(), &[keep(0)]).unwrap();
        sender.send_to(b"dropped", address).unwrap();
        attach_filter(receiver.as_fd(), &[keep(u32::MAX)]).unwrap();
        sender.send_to(b"kept", address).unwrap();

        let mut buffer = [0; 16];
        let count = receiver.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..count], b"kept");
    }

    #[test]
    fn a_program_the_kernel_refuses_is_an_error() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let load_only = FilterInstruction { code: 0x20, jump_true: 0, jump_false: 0, operand: 0 };
        let error = attach_filter(socket.as_fd(), &[load_only]).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EINVAL));
        for program in [vec![], vec![keep(0); INSTRUCTIONS_MAX + 1]] {
            assert_eq!(
                attach_filter(socket.as_fd(), &program).unwrap_err().kind(),
                io::ErrorKind::InvalidInput
            );
        }
    }

    #[test]
    fn a_descriptor_that_is_no_socket_is_an_error() {
        let file = std::fs::File::open("/dev/null").unwrap();
        let error = attach_filter(file.as_fd(), &[keep(0)]).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ENOTSOCK));
    }
}
