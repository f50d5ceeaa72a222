//! Bodies as streams: an upload read by a thread, and lines sent to a watcher as they come.

use std::io::{self, Read};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes};
use http_body_util::BodyExt;
use tokio::sync::{mpsc, oneshot};

use crate::auth::{Identity, is_still_known};
use crate::node::Node;

/// Pieces of an upload, or lines of a watch, that wait for the other side.
const WAITING_MAX: usize = 16;
/// An upload that sends nothing for this long is ended.
const UPLOAD_IDLE: Duration = Duration::from_secs(30);
/// How long what still comes of a refused upload is taken, while its sender reads the refusal.
const UPLOAD_LINGER: Duration = Duration::from_secs(2);
/// How often it is looked whether who is being sent to may still call; a revocation is to hold within a second. Each
/// look reads one record, and there are at most as many streams as the gate lets in.
pub(crate) const STILL_EVERY: Duration = Duration::from_millis(500);

/// An upload, for a thread that reads.
#[derive(Debug)]
pub(crate) struct BodyReader {
    pieces: mpsc::Receiver<io::Result<Bytes>>,
    current: Bytes,
    ended: bool,
}

impl BodyReader {
    /// Takes the body piece by piece; memory is bounded by the pieces that wait.
    pub(crate) fn spawn(mut body: Body) -> Self {
        let (sender, pieces) = mpsc::channel(WAITING_MAX);
        tokio::spawn(async move {
            loop {
                let piece = match tokio::time::timeout(UPLOAD_IDLE, body.frame()).await {
                    Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "the upload stopped sending")),
                    Ok(None) => {
                        // An empty piece says that the body ended in order; a dropped connection never does.
                        drop(sender.send(Ok(Bytes::new())).await);
                        return;
                    }
                    Ok(Some(Err(error))) => Err(io::Error::new(io::ErrorKind::ConnectionAborted, error)),
                    Ok(Some(Ok(frame))) => match frame.into_data() {
                        Ok(data) if data.is_empty() => continue,
                        Ok(data) => Ok(data),
                        Err(_) => continue,
                    },
                };
                let failed = piece.is_err();
                let refused = sender.send(piece).await.is_err();
                if refused && !failed {
                    linger(&mut body).await;
                }
                if refused || failed {
                    return;
                }
            }
        });
        Self { pieces, current: Bytes::new(), ended: false }
    }
}

/// Takes what still comes of an upload that is refused half-way, and throws it away: were the connection closed at once,
/// a client that is sending would see that, and not why.
async fn linger(body: &mut Body) {
    let taken = async { while matches!(body.frame().await, Some(Ok(_))) {} };
    // Not all of it came in time: then it is cut.
    tokio::time::timeout(UPLOAD_LINGER, taken).await.unwrap_or_default();
}

impl Read for BodyReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() {
            if self.ended {
                return Ok(0);
            }
            match self.pieces.blocking_recv() {
                Some(Ok(piece)) => {
                    self.ended = piece.is_empty();
                    self.current = piece;
                }
                Some(Err(error)) => return Err(error),
                None => return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the upload broke off")),
            }
        }
        let len = buffer.len().min(self.current.len());
        let piece = self.current.split_to(len);
        if let Some(to) = buffer.get_mut(..len) {
            to.copy_from_slice(&piece);
        }
        Ok(len)
    }
}

/// Sends lines or pieces to a caller; a caller that is gone or too slow ends it.
#[derive(Debug)]
pub(crate) struct LineSender(mpsc::Sender<Bytes>);

impl LineSender {
    /// A sender and the body that it feeds, for as long as the caller may call: within [`STILL_EVERY`] of a revocation,
    /// or of the end of its credential, the body is broken off.
    pub(crate) fn pair(node: &Arc<Node>, caller: &Identity) -> (Self, Body) {
        let (sender, pieces) = mpsc::channel(WAITING_MAX);
        let cut = (!caller.is_operator()).then(|| {
            let (cut, is_cut) = oneshot::channel();
            tokio::spawn(watch_over(Arc::clone(node), caller.clone(), cut));
            is_cut
        });
        (Self(sender), Body::new(Pieces { pieces, cut }))
    }

    /// Sends one piece; false when nobody takes it any more.
    pub(crate) fn send(&self, piece: impl Into<Bytes>) -> bool {
        self.0.blocking_send(piece.into()).is_ok()
    }
}

/// Asks again and again whether the caller may still call, until it may not or the body has ended.
async fn watch_over(node: Arc<Node>, caller: Identity, mut cut: oneshot::Sender<()>) {
    loop {
        tokio::select! {
            () = cut.closed() => return,
            () = tokio::time::sleep(STILL_EVERY) => {}
        }
        let (node, caller) = (Arc::clone(&node), caller.clone());
        let still = tokio::task::spawn_blocking(move || is_still_known(&node, &caller)).await;
        if !still.unwrap_or(false) {
            // Nobody listens any more: the body has ended by itself.
            cut.send(()).unwrap_or_default();
            return;
        }
    }
}

/// The body end of a [`LineSender`].
#[derive(Debug)]
struct Pieces {
    pieces: mpsc::Receiver<Bytes>,
    /// Told when the caller may no longer call; none for the operator, whose right does not end.
    cut: Option<oneshot::Receiver<()>>,
}

impl hyper::body::Body for Pieces {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<hyper::body::Frame<Bytes>, Self::Error>>> {
        let is_cut = self.cut.as_mut().is_some_and(|cut| Pin::new(cut).poll(cx).is_ready());
        if is_cut {
            let reason = "the caller's credential was revoked or has ended";
            return Poll::Ready(Some(Err(io::Error::new(io::ErrorKind::PermissionDenied, reason))));
        }
        self.pieces.poll_recv(cx).map(|piece| piece.map(|bytes| Ok(hyper::body::Frame::data(bytes))))
    }
}
