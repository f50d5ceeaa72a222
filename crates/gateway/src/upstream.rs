//! Connections to one model's process.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use ops::List;
use ops::inference::{
    ErrorKind, FRAME_HEADER, Metadata, Request, Response, Tensor, frame_len, from_frame, to_frame,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::OnceCell;

use crate::limits::{POOL_MAX, UPSTREAM_TIMEOUT};
use crate::problem::Refusal;

/// A pool of connections. One that saw an error is never used again.
#[derive(Debug)]
pub(crate) struct Upstream {
    path: PathBuf,
    idle: Mutex<Vec<UnixStream>>,
    /// What the model takes and gives; a loaded model never changes, so it is asked once.
    described: OnceCell<Metadata>,
}

impl Upstream {
    /// Connections to the socket at this path, made when needed.
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path, idle: Mutex::new(Vec::new()), described: OnceCell::new() }
    }

    /// One inference. Cancelled with its request: the connection is then dropped, not pooled.
    pub(crate) async fn infer(&self, tensors: Vec<Tensor>) -> Result<Vec<Tensor>, Refusal> {
        let tensors = List::new(tensors).map_err(|e| Refusal::Invalid(e.to_string()))?;
        let frame = to_frame(&Request::Infer { tensors }).map_err(|e| Refusal::Invalid(e.to_string()))?;
        let answer = tokio::time::timeout(UPSTREAM_TIMEOUT, self.exchange(&frame))
            .await
            .map_err(|_| Refusal::UpstreamTimeout)?
            .map_err(|_| Refusal::Upstream)?;
        match answer {
            Response::Outputs { tensors } => Ok(tensors.into_inner()),
            Response::Described { .. } => Err(Refusal::Upstream),
            Response::Error { kind: ErrorKind::Busy, .. } => Err(Refusal::Overload),
            Response::Error { kind: ErrorKind::Invalid, detail } => Err(Refusal::Invalid(detail.to_string())),
            Response::Error { kind: ErrorKind::Failed | ErrorKind::TooLong, detail } => {
                Err(Refusal::Model(detail.to_string()))
            }
        }
    }

    /// What the model takes and gives, as its process says.
    pub(crate) async fn described(&self) -> Result<&Metadata, Refusal> {
        self.described.get_or_try_init(|| self.describe()).await
    }

    /// Whether its process answers.
    pub(crate) async fn is_ready(&self) -> bool {
        self.describe().await.is_ok()
    }

    async fn describe(&self) -> Result<Metadata, Refusal> {
        let frame = to_frame(&Request::Describe {}).map_err(|_| Refusal::Upstream)?;
        let answer = tokio::time::timeout(UPSTREAM_TIMEOUT, self.exchange(&frame))
            .await
            .map_err(|_| Refusal::UpstreamTimeout)?
            .map_err(|_| Refusal::Upstream)?;
        match answer {
            Response::Described { metadata } => Ok(metadata),
            _ => Err(Refusal::Upstream),
        }
    }

    /// Sends a frame and takes the answer. An idle connection may have ended since: then once more on a new one,
    /// which is safe because an inference changes nothing.
    async fn exchange(&self, frame: &[u8]) -> std::io::Result<Response> {
        let pooled = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        if let Some(stream) = pooled
            && let Ok(answer) = self.converse(stream, frame).await
        {
            return Ok(answer);
        }
        let stream = UnixStream::connect(&self.path).await?;
        self.converse(stream, frame).await
    }

    async fn converse(&self, mut stream: UnixStream, frame: &[u8]) -> std::io::Result<Response> {
        stream.write_all(frame).await?;
        let mut header = [0; FRAME_HEADER];
        stream.read_exact(&mut header).await?;
        let len = frame_len(header).map_err(std::io::Error::other)?;
        let mut body = Vec::new();
        let limit = u64::try_from(len).unwrap_or(u64::MAX);
        if (&mut stream).take(limit).read_to_end(&mut body).await? < len {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        let answer = from_frame::<Response>(&body).map_err(std::io::Error::other)?;
        if !matches!(answer, Response::Error { kind: ErrorKind::Busy, .. }) {
            let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
            if idle.len() < POOL_MAX {
                idle.push(stream);
            }
        }
        Ok(answer)
    }
}
