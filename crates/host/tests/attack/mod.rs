use std::os::fd::{AsFd, AsRawFd};
use std::process::{Command, Stdio};

use strongroom_host as host;

use host::mounts;
use host::sandbox::Ids;

use super::support::{Case, Setting, python, run, start};

/// All attacks, in groups.
pub(crate) const ALL: &[Case] = &[
    ("host files and other runs are out of reach", files),
    ("other processes are out of reach", processes),
    ("namespaces and mounts cannot be changed", namespaces),
    ("the kernel's dangerous doors are shut", kernel),
    ("there is no network", network),
    ("there is no way to gain privilege", privilege),
    ("what is read-only stays so", read_only),
    ("a crash leaves no memory on the disk", core_dump),
    ("a 32-bit system call ends the process", other_abi),
    ("nothing but the declared descriptors is inherited", inherited),
    ("reused scratch holds nothing of the run before", residue),
];

/// In every attack: raw system calls that raise on error.
const PRELUDE: &str = "
import ctypes, os, socket, sys, errno
libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
def call(number, *args):
    made = [ctypes.c_long(a) if isinstance(a, int) else a for a in args]
    result = libc.syscall(ctypes.c_long(number), *made)
    if result < 0: raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result
";

/// The attack as a program: it succeeds (exit 0) or is refused (exit 9).
fn program(attack: &str) -> String {
    let body: String = attack.trim_matches('\n').lines().map(|l| format!("    {l}\n")).collect();
    format!(
        "{PRELUDE}try:\n{body}except (OSError, ValueError) as e:\n    print('refused:', e); sys.exit(9)\nsys.exit(0)\n"
    )
}

/// Runs the attack outside, in a mount namespace of its own so that nothing of it stays, and inside.
fn blocked(name: &str, attack: &str) {
    let text = program(attack);
    let outside = Command::new("timeout")
        .args(["20", "unshare", "--mount", "--uts", "/usr/bin/python3", "-I", "-c", &text])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(
        outside.status.success(),
        "positive control of `{name}` failed outside, so it proves nothing: {}{}",
        String::from_utf8_lossy(&outside.stdout),
        String::from_utf8_lossy(&outside.stderr)
    );
    refused(name, &text);
}

/// Runs the attack inside: anything but a clean refusal is a failure.
fn refused(name: &str, text: &str) {
    let done = python(&Setting::default(), text);
    assert_eq!(done.end.code, Some(9), "`{name}` was not refused: {:?} {}", done.end, done.output);
}

/// A file of the host that only root may read, with a marker.
struct Secret(std::path::PathBuf);

impl Secret {
    fn new() -> Self {
        let path = std::env::temp_dir().join(format!("strongroom-secret-{}", std::process::id()));
        std::fs::write(&path, "marker").unwrap();
        Self(path)
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        std::fs::remove_file(&self.0).unwrap();
    }
}

fn files() {
    let secret = Secret::new();
    blocked("a file by its path", &format!("open({:?}).read()", secret.0));
    blocked("the host's users", "assert_shadow = open('/etc/shadow').read()");
    blocked("root's directory", "os.listdir('/root')");
    blocked("variable state of the host", "os.listdir('/var/lib')");
    blocked("the kernel log", "open('/dev/kmsg').fileno()");
    blocked("kernel symbols", "open('/proc/kallsyms').read(1)");
    blocked("kernel settings", "open('/proc/sys/kernel/core_pattern').read(1)");
    blocked("sysfs", "os.listdir('/sys/class')");
    blocked("control groups", "os.listdir('/sys/fs/cgroup')");
    // Another run's mount, by guessing at descriptors of the node.
    let ids = Ids::slot(65_010).unwrap();
    let other = mounts::input(1 << 20, 4, ids.inner()).unwrap();
    let path = format!("/proc/{}/fd/{}", std::process::id(), other.root.as_raw_fd());
    std::fs::write(format!("{path}/weights"), "marker").unwrap();
    blocked("another run's input", &format!("open('{path}/weights').read()"));
}

fn processes() {
    let own = std::process::id();
    blocked("environment of a process of the host", &format!("open('/proc/{own}/environ', 'rb').read()"));
    blocked("root directory of a process of the host", &format!("os.listdir('/proc/{own}/root')"));
    // A target that may be hurt: the control kills it, the attack meets it alive.
    let mut target = Command::new("sleep").arg("600").spawn().unwrap();
    let pid = target.id();
    blocked("attaching to a process", &format!("call(101, 16, {pid}, 0, 0)"));
    let mut victim = Command::new("sleep").arg("600").spawn().unwrap();
    refused("killing a process of the host", &program(&format!("os.kill({}, 9)", victim.id())));
    assert!(victim.try_wait().unwrap().is_none());
    let outside = program(&format!("os.kill({}, 9)", victim.id()));
    assert!(Command::new("python3").args(["-I", "-c", &outside]).status().unwrap().success());
    victim.wait().unwrap();
    target.kill().unwrap();
    target.wait().unwrap();
    blocked(
        "reading own memory by process_vm_readv",
        "
b = ctypes.create_string_buffer(8)
class Iov(ctypes.Structure): _fields_ = [('p', ctypes.c_void_p), ('n', ctypes.c_size_t)]
a, c = Iov(ctypes.addressof(b), 8), Iov(ctypes.addressof(b), 8)
call(310, os.getpid(), ctypes.byref(a), 1, ctypes.byref(c), 1, 0)",
    );
    blocked("taking a descriptor by pidfd", "call(438, call(434, os.getpid(), 0), 0, 0)");
}

fn namespaces() {
    blocked("mounting a tmpfs", "call(165, b'none', b'/tmp', b'tmpfs', 0, 0)");
    blocked("the new mount interface", "call(430, b'tmpfs', 0)");
    blocked("cloning a mount", "call(428, -100, b'/tmp', 1)");
    blocked("remounting", "call(165, b'none', b'/tmp', b'tmpfs', 0, 0); call(165, 0, b'/tmp', 0, 32, 0)");
    blocked("a user namespace", "call(272, 0x10000000)");
    blocked("a mount namespace", "call(272, 0x20000)");
    blocked(
        "clone into a user namespace",
        "
pid = call(56, 0x10000011, 0, 0, 0, 0)
if pid == 0: os._exit(0)
os.waitpid(pid, 0)",
    );
    blocked("entering a namespace", "call(308, os.open('/proc/self/ns/uts', os.O_RDONLY), 0)");
    blocked("changing the root", "os.chroot('/tmp')");
    blocked("the host name", "socket.sethostname('x')");
}

fn kernel() {
    blocked("bpf", "call(321, 0, (ctypes.c_uint32 * 20)(2, 4, 8, 1), 80)");
    blocked(
        "performance counters",
        "
a = (ctypes.c_uint8 * 128)()
ctypes.memmove(a, (1).to_bytes(4, 'little') + (128).to_bytes(4, 'little'), 8)
call(298, a, 0, -1, -1, 0)",
    );
    blocked("io_uring", "call(425, 4, (ctypes.c_uint8 * 120)())");
    blocked("userfaultfd", "call(323, 0)");
    blocked("keyrings", "call(250, 0, -3, 1)");
    blocked("adding a key", "call(248, b'user', b'x', b'y', 1, -3)");
    blocked(
        "handles of files",
        "
h = (ctypes.c_uint8 * 136)(); h[0] = 128
call(303, -100, b'/usr', h, (ctypes.c_int * 1)(), 0)",
    );
    blocked("fanotify", "call(300, 0, 0)");
    blocked("a filter of one's own", "call(317, 2, 0, (ctypes.c_uint32 * 1)(0x7fff0000))");
    blocked(
        "page residency",
        "
import mmap
m = mmap.mmap(-1, 4096)
p = ctypes.addressof(ctypes.c_char.from_buffer(m))
call(27, p, 4096, ctypes.create_string_buffer(1))",
    );
    blocked(
        "executing memory",
        "
fd = call(319, b'x', 0)
os.write(fd, b'#!/usr/bin/true\\n')",
    );
    blocked("the kernel log by call", "call(103, 10, 0, 0)");
    blocked(
        "the clock",
        "import time; time.clock_settime(time.CLOCK_REALTIME, time.clock_gettime(time.CLOCK_REALTIME))",
    );
}

fn network() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    blocked("TCP to the host", &format!("socket.create_connection(('127.0.0.1', {port}), 2)"));
    // A datagram that is sent is a success; that it arrives is the control.
    let udp = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    udp.set_read_timeout(Some(std::time::Duration::from_millis(300))).unwrap();
    let port = udp.local_addr().unwrap().port();
    let send =
        format!("socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', {port}))");
    blocked("UDP to the host", &send);
    let mut byte = [0; 1];
    udp.recv(&mut byte).expect("the control's datagram");
    assert!(udp.recv(&mut byte).is_err(), "a datagram came out of the sandbox");
    let name = format!("strongroom-attack-{}", std::process::id());
    let address =
        <std::os::unix::net::SocketAddr as std::os::linux::net::SocketAddrExt>::from_abstract_name(&name);
    let _abstract = std::os::unix::net::UnixListener::bind_addr(&address.unwrap()).unwrap();
    blocked("an abstract socket of the host", &format!("socket.socket(socket.AF_UNIX).connect('\\0{name}')"));
    let path = std::env::temp_dir().join(format!("{name}.sock"));
    let _named = std::os::unix::net::UnixListener::bind(&path).unwrap();
    blocked("a socket in the host's files", &format!("socket.socket(socket.AF_UNIX).connect({path:?})"));
    std::fs::remove_file(path).unwrap();
    blocked("a netlink socket", "socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)");
    blocked("a packet socket", "socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)");
    blocked("a raw socket", "socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)");
    blocked("a vsock", "socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)");
}

fn privilege() {
    blocked("becoming root", "os.setresuid(0, 0, 0)");
    blocked(
        "a device node",
        "os.mknod('/tmp/strongroom-node', 0o20600, os.makedev(1, 1)); os.unlink('/tmp/strongroom-node')",
    );
    blocked(
        "a higher limit",
        "
import resource
soft, hard = resource.getrlimit(resource.RLIMIT_CORE)
resource.setrlimit(resource.RLIMIT_MEMLOCK, (resource.getrlimit(resource.RLIMIT_MEMLOCK)[1],) * 2)
if hard == 0 and os.getuid() != 0: resource.setrlimit(resource.RLIMIT_CORE, (1, 1))",
    );
    let done = python(
        &Setting::default(),
        "s = {l.split(':')[0]: l.split()[1] for l in open('/proc/self/status') if ':' in l and len(l.split()) > 1}\n\
         print(sorted((k, s[k]) for k in s if k.startswith('Cap') or k in ('NoNewPrivs', 'Seccomp')))",
    );
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert!(done.output.contains(&format!("('{set}', '0000000000000000')")), "{}", done.output);
    }
    assert!(done.output.contains("('NoNewPrivs', '1')") && done.output.contains("('Seccomp', '2')"));
}

fn read_only() {
    refused("a write to the image", &program("open('/usr/bin/strongroom-x', 'w')"));
    refused("a write to the root", &program("open('/x', 'w')"));
    refused("a write to generated files", &program("open('/proc/cpuinfo', 'w')"));
    refused("a write to the top of the scratch", &program("os.mkdir('/opt/ml/x')"));
    refused(
        "a program in the scratch",
        &program(
            "
open('/opt/ml/model/x', 'w').write('#!/usr/bin/true\\n'); os.chmod('/opt/ml/model/x', 0o755)
os.execv('/opt/ml/model/x', ['x'])",
        ),
    );
    // The control of the last two: the same acts where they are allowed.
    let done = python(
        &Setting::default(),
        "import os; os.mkdir('/opt/ml/model/x'); os.execv('/usr/bin/true', ['true'])",
    );
    assert_eq!(done.end.code, Some(0), "{}", done.output);
}

fn core_dump() {
    let crash = "import os\nos.chdir('/tmp')\nif os.fork() == 0: os.kill(os.getpid(), 11)\npid, status = os.wait()\nprint('core', os.WCOREDUMP(status), os.listdir('/tmp'))";
    let done = python(&Setting::default(), crash);
    assert_eq!(done.output.trim(), "core False []");
}

fn other_abi() {
    // int 0x80 with number 20 (getpid of i386): mov eax, 20; int 0x80; ret.
    let text = "
import mmap, ctypes
m = mmap.mmap(-1, 4096, prot=7)
m.write(bytes([0xb8, 20, 0, 0, 0, 0xcd, 0x80, 0xc3]))
f = ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(m)))
print('alive', f() > 0)";
    let outside = Command::new("/usr/bin/python3").args(["-I", "-c", text]).output().unwrap();
    assert!(String::from_utf8_lossy(&outside.stdout).contains("alive"), "the control must reach the call");
    let done = python(&Setting::default(), text);
    assert_eq!(done.end.signal, Some(31), "SIGSYS: {:?} {}", done.end, done.output);
}

fn inherited() {
    // Leaked on purpose: open here and not close-on-exec.
    let leak = std::fs::File::open("/etc/shadow").unwrap();
    rustix::io::fcntl_setfd(&leak, rustix::io::FdFlags::empty()).unwrap();
    let outside = Command::new("sh").args(["-c", "ls /proc/self/fd | wc -l"]).output().unwrap();
    let count: usize = String::from_utf8_lossy(&outside.stdout).trim().parse().unwrap();
    assert!(count > 4, "the control must see the leak");
    let done = run(&Setting::default(), &["sh", "-c", "ls /proc/self/fd"]);
    assert_eq!(done.output.split_whitespace().collect::<Vec<_>>(), ["0", "1", "2", "3"], "3 is of ls itself");
    drop(leak);
}

fn residue() {
    let setting = Setting { slot: 65_020, ..Setting::default() };
    let plant = "for d in ('/tmp', '/dev/shm', '/opt/ml/model', '/opt/ml/checkpoints'): open(d + '/m', 'w').write('marker')";
    assert_eq!(python(&setting, plant).end.code, Some(0));
    let search = "import os\nprint([os.path.join(d, f) for d in ('/tmp', '/dev/shm', '/opt/ml') for d, _, fs in os.walk(d) for f in fs])";
    assert_eq!(python(&setting, search).output.trim(), "[]");
    let running = start(&setting, &["true"], Vec::new());
    assert!(running.output.as_fd().as_raw_fd() > 2);
    running.finish();
}
