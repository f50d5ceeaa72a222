use std::io::Write;
use std::process::ExitCode;

use base::wire::{Writer, lp};
use ops::porter::HashResult;

/// Manifest digest of one file `data` with these bytes.
pub(crate) fn manifest(bytes: &[u8]) -> base::Digest {
    let mut w = Writer::new();
    w.raw(&lp(b"data")).u64(bytes.len() as u64).digest(&base::sha256(bytes));
    base::sha256(&w.finish())
}

/// `run` writes `verified` into a file of each input; `hash` hashes that file.
pub(crate) fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().collect();
    assert_ne!(rustix::process::geteuid().as_raw(), 0);
    if words[1] == "hash" {
        let bytes = std::fs::read("/proc/self/fd/3/data").unwrap();
        assert!(std::fs::write("/proc/self/fd/3/data", "changed").is_err());
        let result = HashResult { manifest: manifest(&bytes), files: 1, bytes: bytes.len() as u64 };
        std::io::stdout().write_all(&ops::to_bytes(&result)).unwrap();
        return ExitCode::SUCCESS;
    }
    let inputs: u8 = words[3].parse().unwrap();
    for input in 0..inputs {
        std::fs::write(format!("/proc/self/fd/{}/data", 6 + input), "verified").unwrap();
    }
    if words.iter().any(|w| w == "--scratch") {
        assert!(std::fs::read_dir("/proc/self/fd/4/checkpoints").is_ok());
    }
    assert!(std::fs::read_dir("/root").is_err() && std::fs::read("/etc/shadow").is_err());
    let control = link::Conn::from_fd(host::take_inherited(3).unwrap()).unwrap();
    control.send(b"filled", &[]).unwrap();
    let output = std::fs::File::from(host::take_inherited(5).unwrap());
    // Beside the wait below: a run that is never started prints nothing and has no end of output.
    let teller = control.try_clone().unwrap();
    std::thread::spawn(move || {
        let printed = std::io::read_to_string(output).unwrap();
        teller.send(format!("printed {printed}").as_bytes(), &[]).unwrap();
    });
    // Until the warden ends it, or control is gone.
    let _end = control.recv(64, 0);
    ExitCode::SUCCESS
}
