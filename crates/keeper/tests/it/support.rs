//! Starts the built binary on a temporary state directory.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use audit::verify::{ReadError, ReadFile};
use link::KeeperClient;
use ops::event::{Event, EventKind, Outcome, Phase};
use ops::keeper::Role;

pub(crate) const TIMEOUT: Duration = Duration::from_secs(20);

/// A node's state directory.
pub(crate) struct Node {
    pub(crate) dir: tempfile::TempDir,
}

/// A running keeper; killed on drop.
pub(crate) struct Running {
    pub(crate) child: Child,
    socket: PathBuf,
}

impl Node {
    pub(crate) fn new() -> Self {
        let node = Self { dir: tempfile::tempdir().unwrap() };
        node.configure("dev");
        node
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn configure(&self, mode: &str) {
        let uid = rustix::process::geteuid().as_raw();
        let text = format!(
            "version = 1\nmode = \"{mode}\"\nnode = \"n\"\nstate = \"{}\"\nprograms = \"/p\"\n\
             [users]\nkeeper = {uid}\ncontrol = {uid}\ngateway = {uid}\nrelay = {uid}\noperator = {uid}\n\
             [gateway]\nlisten = \"127.0.0.1:0\"\n[jobs]\n",
            self.path("state").display()
        );
        std::fs::write(self.path("node.toml"), text).unwrap();
    }

    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_strongroom-keeper"));
        command.arg("--config").arg(self.path("node.toml"));
        command
    }

    /// Starts the keeper and waits until it answers.
    pub(crate) fn start(&self) -> Running {
        self.start_with(self.command())
    }

    pub(crate) fn start_with(&self, mut command: Command) -> Running {
        let socket = self.path("state/run/keeper.sock");
        let child = command.stderr(Stdio::inherit()).spawn().unwrap();
        let mut running = Running { child, socket };
        for _ in 0..2000 {
            if link::Conn::connect(&running.socket).is_ok() {
                return running;
            }
            assert!(running.child.try_wait().unwrap().is_none(), "the keeper ended");
            std::thread::sleep(Duration::from_millis(5));
        }
        panic!("the keeper does not listen");
    }

    /// Runs the keeper where it is expected to refuse to start.
    pub(crate) fn refused(&self) -> Output {
        let mut child = self.command().stderr(Stdio::piped()).spawn().unwrap();
        for _ in 0..2000 {
            if child.try_wait().unwrap().is_some() {
                return child.wait_with_output().unwrap();
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        child.kill().unwrap();
        panic!("the keeper started");
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.path("state/log")
    }

    /// Waits until the tiles of `size` entries are published, then verifies the directory.
    pub(crate) fn verified(&self, size: u64) -> audit::verify::Report {
        let mut last = String::new();
        for _ in 0..1000 {
            match audit::verify::verify(&Dir(self.log()), None, None) {
                Ok(report) if report.size.get() >= size && report.is_intact() => return report,
                other => last = format!("{other:?}"),
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("not verified to {size}: {last}");
    }

    /// Every entry in the segments, parsed, in order: what is durable, whatever is published.
    pub(crate) fn entries(&self) -> Vec<serde_json::Value> {
        use audit::frame::{Frame, Next, next};
        let mut names: Vec<_> = std::fs::read_dir(self.log())
            .unwrap()
            .map(|e| e.unwrap().path())
            .filter(|p| p.to_string_lossy().contains("seg-"))
            .collect();
        names.sort();
        let mut entries = Vec::new();
        for name in names {
            let bytes = std::fs::read(name).unwrap();
            let mut at = 0;
            while let Next::Frame(frame, after) = next(&bytes, at) {
                if let Frame::Entry(entry) = frame {
                    entries.push(serde_json::from_slice(entry).unwrap());
                }
                at = after;
            }
        }
        entries
    }
}

impl Running {
    pub(crate) fn client(&self, role: Role) -> KeeperClient {
        KeeperClient::connect(&self.socket, role, TIMEOUT).unwrap()
    }

    pub(crate) fn socket(&self) -> &Path {
        &self.socket
    }

    /// `kill -9`.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.child.kill().unwrap_or_default();
        self.child.wait().ok();
    }
}

/// A directory as the verifier reads it.
pub(crate) struct Dir(pub(crate) PathBuf);

impl ReadFile for Dir {
    fn read(&self, path: &str) -> Result<Option<Vec<u8>>, ReadError> {
        match std::fs::read(self.0.join(path)) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(ReadError { path: path.to_owned(), reason: e.to_string() }),
        }
    }
}

/// An event that can be found again.
pub(crate) fn event(marker: &str) -> Event {
    Event::new(EventKind::DatasetRead, Phase::Observed, Outcome::Success, 1_795_000_000_000, 1)
        .tenant("acme")
        .asset("dataset", marker, None)
}

/// The markers of all entries by index.
pub(crate) fn markers(entries: &[serde_json::Value]) -> Vec<String> {
    entries
        .iter()
        .map(|e| e["unmapped"]["strongroom"]["asset"]["id"].as_str().unwrap_or("").to_owned())
        .collect()
}

/// Names of the events, in order.
pub(crate) fn names(entries: &[serde_json::Value]) -> Vec<String> {
    entries.iter().map(|e| e["unmapped"]["strongroom"]["event"].as_str().unwrap().to_owned()).collect()
}
