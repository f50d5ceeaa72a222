//! The service: one thread per connection, a bounded number of them.

use std::io::{self, ErrorKind as IoKind, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use ops::inference::{ErrorKind, FRAME_HEADER, Request, Response, frame_len, from_frame, to_frame};
use ops::{List, Text};

use crate::engine::Engine;
use crate::limits::{CONNECTIONS_MAX, IDLE_TIMEOUT, IO_TIMEOUT, STACK};

/// Serves until the socket fails; the sandbox's end is this process's end.
pub(crate) fn run(listener: &UnixListener, engine: Engine) -> io::Result<()> {
    let engine = Arc::new(engine);
    let open = Arc::new(AtomicUsize::new(0));
    loop {
        let stream = match listener.accept() {
            Ok((stream, _)) => stream,
            Err(error) if matches!(error.kind(), IoKind::Interrupted | IoKind::ConnectionAborted) => continue,
            Err(error) => return Err(error),
        };
        let slot = Slot::take(&open);
        let Some(slot) = slot else {
            refuse(stream);
            continue;
        };
        let engine = Arc::clone(&engine);
        let worker = std::thread::Builder::new().stack_size(STACK).spawn(move || {
            // A connection that fails ends; its peer sees that, and nobody else is concerned.
            drop(converse(stream, &engine));
            drop(slot);
        });
        // No thread to be had: the connection was dropped with the closure, the peer tries again.
        drop(worker);
    }
}

/// One of [`CONNECTIONS_MAX`] places.
struct Slot(Arc<AtomicUsize>);

impl Slot {
    fn take(open: &Arc<AtomicUsize>) -> Option<Self> {
        open.fetch_update(Ordering::AcqRel, Ordering::Acquire, |n| {
            (n < CONNECTIONS_MAX).then_some(n.saturating_add(1))
        })
        .ok()
        .map(|_| Self(Arc::clone(open)))
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

fn refuse(mut stream: UnixStream) {
    let busy = error(ErrorKind::Busy, "too many connections");
    if stream.set_write_timeout(Some(IO_TIMEOUT)).is_ok()
        && let Ok(frame) = to_frame(&busy)
    {
        // The peer may be gone already.
        drop(stream.write_all(&frame));
    }
}

fn converse(mut stream: UnixStream, engine: &Engine) -> io::Result<()> {
    stream.set_write_timeout(Some(IO_TIMEOUT))?;
    loop {
        stream.set_read_timeout(Some(IDLE_TIMEOUT))?;
        let mut header = [0; FRAME_HEADER];
        let (first, rest) = header.split_at_mut(1);
        if stream.read(first)? == 0 {
            return Ok(());
        }
        stream.set_read_timeout(Some(IO_TIMEOUT))?;
        stream.read_exact(rest)?;
        let len = frame_len(header).map_err(io::Error::other)?;
        let mut body = Vec::new();
        // Grows with what arrives, not with what was announced.
        let limit = u64::try_from(len).unwrap_or(u64::MAX);
        if (&mut stream).take(limit).read_to_end(&mut body)? < len {
            return Ok(());
        }
        let request = from_frame::<Request>(&body);
        drop(body);
        // After an unreadable message nothing on this connection can be trusted to be in step.
        let Ok(request) = request else {
            return stream.write_all(&encode(&error(ErrorKind::Invalid, "the message cannot be read")));
        };
        stream.write_all(&encode(&answer(engine, &request)))?;
    }
}

fn answer(engine: &Engine, request: &Request) -> Response {
    match request {
        Request::Describe {} => Response::Described { metadata: engine.metadata().clone() },
        Request::Infer { tensors } => match engine.infer(tensors) {
            Ok(outputs) => match List::new(outputs) {
                Ok(tensors) => Response::Outputs { tensors },
                Err(_) => error(ErrorKind::TooLong, "too many outputs"),
            },
            Err(failure) => error(failure.kind, &failure.detail),
        },
    }
}

fn encode(response: &Response) -> Vec<u8> {
    to_frame(response)
        .or_else(|_| to_frame(&error(ErrorKind::TooLong, "the answer is longer than a message may be")))
        .unwrap_or_default()
}

fn error(kind: ErrorKind, detail: &str) -> Response {
    Response::Error { kind, detail: Text::clip(detail) }
}
