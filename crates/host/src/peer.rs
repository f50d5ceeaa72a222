//! Which login the process at the other end of a unix socket belongs to: the kernel's login uid, which is set once when
//! somebody logs in (pam_loginuid(8), proc_pid_loginuid(5)) and stays through `su` and `sudo`.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use crate::sys;

/// Longest file of `/proc` that is read here; the longest has a dozen short lines.
const TEXT_MAX: u64 = 4096;
/// What the kernel says where nobody logged in.
const UNSET: u32 = u32::MAX;

/// The login uid of the process that made this connection. None where nobody logged in, the process has ended, or the
/// kernel does not say: it holds the process by a descriptor (`SO_PEERPIDFD`) from Linux 6.5 on, and by a number alone
/// before, which another process may have by now.
pub fn login_uid(socket: BorrowedFd<'_>) -> Option<u32> {
    let process = sys::peer_pidfd(socket).ok()?;
    let pid = number(process.as_fd())?;
    let login = read(&format!("/proc/{pid}/loginuid"))?.trim().parse().ok().filter(|uid| *uid != UNSET);
    // It had not been reaped by now, so the number was its own when it was looked up.
    login.filter(|_| number(process.as_fd()) == Some(pid))
}

/// The number of a process that has not been reaped.
fn number(process: BorrowedFd<'_>) -> Option<u32> {
    let text = read(&format!("/proc/self/fdinfo/{}", process.as_raw_fd()))?;
    // -1 after it was reaped, 0 if it is of another pid namespace.
    let pid = text.lines().find_map(|line| line.strip_prefix("Pid:"))?.trim().parse().ok()?;
    (pid != 0).then_some(pid)
}

fn read(path: &str) -> Option<String> {
    let mut text = String::new();
    File::open(path).ok()?.take(TEXT_MAX).read_to_string(&mut text).ok()?;
    Some(text)
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::net::{UnixListener, UnixStream};
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn the_login_of_this_process_is_what_the_kernel_says() {
        let (one, other) = UnixStream::pair().unwrap();
        let own =
            read("/proc/self/loginuid").and_then(|text| text.trim().parse().ok()).filter(|uid| *uid != UNSET);
        assert_eq!(login_uid(one.as_fd()), own);
        assert_eq!(login_uid(other.as_fd()), own);
    }

    /// A process whose login is set by hand, as root may; it connects, and ends when it is told to.
    #[test]
    fn a_process_with_a_login_is_known_by_it_until_it_ends() {
        let path = std::env::temp_dir().join(format!("strongroom-peer-{}", std::process::id()));
        let listener = UnixListener::bind(&path).unwrap();
        let script = "import socket, sys\n\
                      open('/proc/self/loginuid', 'w').write('4711')\n\
                      s = socket.socket(socket.AF_UNIX)\n\
                      s.connect(sys.argv[1])\n\
                      sys.stdin.read()";
        let mut child = Command::new("python3")
            .args(["-c", script])
            .arg(&path)
            .stdin(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        listener.set_nonblocking(true).unwrap();
        let connection = loop {
            if let Ok((connection, _)) = listener.accept() {
                break connection;
            }
            if child.try_wait().unwrap().is_some() {
                std::fs::remove_file(&path).unwrap();
                // Not root, or a kernel that keeps no logins.
                assert!(!rustix::process::geteuid().is_root() || read("/proc/self/loginuid").is_none());
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(5));
        };
        std::fs::remove_file(&path).unwrap();
        assert_eq!(login_uid(connection.as_fd()), Some(4711));
        child.stdin.take().unwrap().flush().unwrap();
        child.wait().unwrap();
        assert_eq!(login_uid(connection.as_fd()), None, "a process that has ended");
    }
}
