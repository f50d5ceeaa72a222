//! What a process that has listeners cannot do any more once it gave it up. Each attempt is made by this program in a child
//! of its own; in a child that gave nothing up each succeeds, or its refusal would prove nothing. Needs no root.

#[cfg(test)]
use std::{
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    os::unix::net::UnixStream,
    process::{Command, ExitCode, Stdio},
};

#[cfg(test)]
const LOOPBACK: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// Tries everything, and gives the names of what succeeded.
#[cfg(test)]
fn attempts(sealed: &str, target: SocketAddr) -> Vec<&'static str> {
    // As at the start of such a process: one thread, a listener, later a connection to it.
    let mut enforced = true;
    if sealed == "local" {
        enforced = strongroom_host::seal::connects_nowhere().unwrap();
    }
    let listener = TcpListener::bind(LOOPBACK).unwrap();
    println!("{}", listener.local_addr().unwrap());
    let (accepted, _) = listener.accept().unwrap();
    match sealed {
        "local" => strongroom_host::seal::makes_no_sockets().unwrap(),
        "relay" => enforced = strongroom_host::seal::relays_only().unwrap(),
        _ => {}
    }
    let mut done = Vec::new();
    let mut tried = |name, succeeded: bool| done.extend(succeeded.then_some(name));
    tried("tcp", TcpStream::connect(target).is_ok());
    tried("udp", UdpSocket::bind(LOOPBACK).is_ok());
    tried("listen", TcpListener::bind(LOOPBACK).is_ok());
    tried("in a thread", std::thread::spawn(move || TcpStream::connect(target).is_ok()).join().unwrap());
    let again =
        rustix::net::connect_unspec(&accepted).and_then(|()| rustix::net::connect(&accepted, &target));
    tried("taken apart", again.is_ok());
    tried("execute", Command::new("/bin/true").status().is_ok());
    tried("own program", std::fs::File::open(std::env::current_exe().unwrap()).is_ok());
    tried("names", std::fs::File::open("/etc/hosts").is_ok());
    tried("local", UnixStream::pair().is_ok());
    tried("serve", listener.accept().is_ok_and(|(mut one, _)| one.write_all(b"x").is_ok()));
    if !enforced {
        done.push("without Landlock");
    }
    done
}

#[cfg(test)]
fn child(sealed: &str, target: SocketAddr) -> Vec<String> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([sealed, &target.to_string()])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = std::io::BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    std::io::BufRead::read_line(&mut said, &mut line).unwrap();
    let address: SocketAddr = line.trim().parse().unwrap();
    let (_first, mut second) = (TcpStream::connect(address).unwrap(), TcpStream::connect(address).unwrap());
    let mut rest = String::new();
    said.read_to_string(&mut rest).unwrap();
    assert!(child.wait().unwrap().success(), "{sealed}: {rest}");
    let mut served = Vec::new();
    second.read_to_end(&mut served).unwrap();
    assert_eq!(served, b"x", "{sealed} serves those who come");
    rest.trim().split(", ").map(str::to_owned).collect()
}

#[cfg(test)]
fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().collect();
    if let [_, sealed, target] = args.as_slice()
        && let Ok(target) = target.parse()
    {
        println!("{}", attempts(sealed, target).join(", "));
        return ExitCode::SUCCESS;
    }
    if args.iter().any(|arg| arg == "--list") {
        // A runner also asks for the ignored ones alone: there are none.
        if !args.iter().any(|arg| arg == "--ignored") {
            println!("what is given up stays given up: test");
        }
        return ExitCode::SUCCESS;
    }
    let target = TcpListener::bind(LOOPBACK).unwrap();
    let at = target.local_addr().unwrap();
    let all = [
        "tcp",
        "udp",
        "listen",
        "in a thread",
        "taken apart",
        "execute",
        "own program",
        "names",
        "local",
        "serve",
    ];
    assert_eq!(child("nothing", at), all, "positive control");
    let landlock = !child("local", at).contains(&"without Landlock".to_owned());
    if landlock {
        assert_eq!(child("local", at), ["own program", "names", "local", "serve"]);
        assert_eq!(
            child("relay", at),
            ["tcp", "udp", "in a thread", "taken apart", "names", "local", "serve"]
        );
    } else {
        println!("skipped 2: this kernel has no Landlock for TCP");
    }
    println!("what is given up stays given up: ok");
    ExitCode::SUCCESS
}

#[cfg(not(test))]
fn main() {}
