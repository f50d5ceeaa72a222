//! Bodies as streams: an upload read by a thread, and lines sent to a watcher as they come.

use std::io::{self, Read};

use axum::body::{Body, Bytes};
use http_body_util::BodyExt;
use tokio::sync::mpsc;

/// Pieces of an upload, or lines of a watch, that wait for the other side.
const WAITING_MAX: usize = 16;
/// An upload that sends nothing for this long is ended.
const UPLOAD_IDLE: std::time::Duration = std::time::Duration::from_secs(30);

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
                if sender.send(piece).await.is_err() || failed {
                    return;
                }
            }
        });
        Self { pieces, current: Bytes::new(), ended: false }
    }
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
    /// A sender and the body that it feeds.
    pub(crate) fn pair() -> (Self, Body) {
        let (sender, receiver) = mpsc::channel(WAITING_MAX);
        (Self(sender), Body::new(Pieces(receiver)))
    }

    /// Sends one piece; false when nobody takes it any more.
    pub(crate) fn send(&self, piece: impl Into<Bytes>) -> bool {
        self.0.blocking_send(piece.into()).is_ok()
    }
}

/// The body end of a [`LineSender`].
#[derive(Debug)]
struct Pieces(mpsc::Receiver<Bytes>);

impl hyper::body::Body for Pieces {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<hyper::body::Frame<Bytes>, Self::Error>>> {
        self.0.poll_recv(cx).map(|piece| piece.map(|bytes| Ok(hyper::body::Frame::data(bytes))))
    }
}
