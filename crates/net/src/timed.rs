//! A stream whose peer must take what is written to it.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

use crate::limits::{WRITE_MIN, WRITE_TIMEOUT};

/// Cuts a peer that, while there is something to write, takes less than [`WRITE_MIN`] bytes in [`WRITE_TIMEOUT`].
pub(crate) struct Timed<S> {
    stream: S,
    /// Set while the peer does not take everything: the end of the window, and bytes taken in it.
    window: Option<(Pin<Box<Sleep>>, usize)>,
}

impl<S> Timed<S> {
    /// Watches this stream.
    pub(crate) fn new(stream: S) -> Self {
        Self { stream, window: None }
    }

    fn watch(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        match written {
            Poll::Ready(Ok(len)) => {
                if let Some((_, taken)) = &mut self.window {
                    *taken = taken.saturating_add(len);
                }
                Poll::Ready(Ok(len))
            }
            Poll::Ready(error) => Poll::Ready(error),
            Poll::Pending => {
                let (end, taken) =
                    self.window.get_or_insert_with(|| (Box::pin(tokio::time::sleep(WRITE_TIMEOUT)), 0));
                while end.as_mut().poll(cx).is_ready() {
                    if *taken < WRITE_MIN {
                        return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
                    }
                    *taken = 0;
                    *end = Box::pin(tokio::time::sleep(WRITE_TIMEOUT));
                }
                Poll::Pending
            }
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Timed<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Timed<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.watch(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.watch(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        if flushed.is_ready() {
            // Reached only when everything was written: the peer keeps up.
            self.window = None;
        }
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
