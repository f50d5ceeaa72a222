//! **What.** `strongroom-runtime`: loads one verified ONNX model and answers inference requests on a unix socket
//! that it inherits as descriptor 3.
//!
//! **Why.** A model file is hostile input, so it is parsed here, inside a tenant's sandbox without network, and
//! never in a process that serves several tenants (controls IN-6, IS-4).
//!
//! **Where.** Started by the warden inside a sandbox, with the model's verified bytes mounted read-only. Spoken
//! to by the gateway alone, in the messages of `ops::inference`. It must never open a network socket, write a
//! file or start a process.
//!
//! **Invariants.** Every size is bounded: the model's file, a message, the connections, the prepared plans. No
//! input ends the process; a panic inside the model library fails that one request.

mod engine;
mod limits;
mod serve;

use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::process::ExitCode;

use base::Explain as _;

/// Descriptor of the listening socket.
const LISTENER_FD: u8 = 3;

/// The runtime cannot start.
#[derive(Debug, thiserror::Error)]
enum StartError {
    /// The command line.
    #[error("usage: strongroom-runtime serve --model DIR --name NAME")]
    Usage,
    /// The socket.
    #[error("descriptor {LISTENER_FD} is not a listening unix socket")]
    Listener(#[source] std::io::Error),
    /// The model.
    #[error("the model cannot be served")]
    Model(#[from] engine::LoadError),
    /// The service ended.
    #[error("the socket cannot be served")]
    Serve(#[source] std::io::Error),
}

impl base::Explain for StartError {
    fn code(&self) -> &'static str {
        match self {
            Self::Usage => "SR-RUN-0001",
            Self::Listener(_) => "SR-RUN-0002",
            Self::Model(inner) => inner.code(),
            Self::Serve(_) => "SR-RUN-0003",
        }
    }
    fn fault(&self) -> base::Fault {
        base::Fault::Operator
    }
    fn help(&self) -> Option<base::Help> {
        Some("the warden starts this program; serve a model with `strongroom endpoint deploy`")
    }
}

fn main() -> ExitCode {
    match start(std::env::args().skip(1)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            report(&format!("strongroom-runtime: {}: {}", error.code(), base::error::chain(&error)));
            ExitCode::FAILURE
        }
    }
}

/// One line on standard error, which the warden keeps for the tenant.
#[expect(clippy::print_stderr, reason = "the only way out of the sandbox for a message to people")]
fn report(line: &str) {
    eprintln!("{line}");
}

fn start(mut args: impl Iterator<Item = String>) -> Result<(), StartError> {
    if args.next().as_deref() != Some("serve") {
        return Err(StartError::Usage);
    }
    let (mut model, mut name) = (None, None);
    while let Some(flag) = args.next() {
        let value = args.next().ok_or(StartError::Usage)?;
        match flag.as_str() {
            "--model" if model.is_none() => model = Some(PathBuf::from(value)),
            "--name" if name.is_none() => {
                name = Some(value.parse::<base::names::Name>().map_err(|_| StartError::Usage)?);
            }
            _ => return Err(StartError::Usage),
        }
    }
    let (Some(model), Some(name)) = (model, name) else {
        return Err(StartError::Usage);
    };
    let listener = UnixListener::from(host::take_inherited(LISTENER_FD).map_err(StartError::Listener)?);
    // Not a listening socket: this call says so.
    listener.local_addr().map_err(StartError::Listener)?;
    let engine = engine::Engine::load(&model, &name)?;
    report(&format!("strongroom-runtime: serving {name}: {}", engine.summary()));
    serve::run(&listener, engine).map_err(StartError::Serve)
}
