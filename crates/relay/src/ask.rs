//! How a run asks for a connection: `CONNECT host:port HTTP/1.1` (RFC 9110 section 9.3.6), as programs do that are told of a
//! proxy by `https_proxy`. Nothing else is understood.

use std::sync::Arc;

use ops::event::{EventKind, Outcome, Phase, Severity};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use crate::error::RelayError;
use crate::limits::{ASK_MAX, ASK_TIMEOUT, ASKING_MAX, ASKS_A_MINUTE};
use crate::record::{correlation, event};
use crate::{Shared, flow};

/// The answer to who may speak now.
pub(crate) const ESTABLISHED: &[u8] = b"HTTP/1.1 200 Connection established\r\n\r\n";

/// Accepts for a run until it is aborted.
pub(crate) async fn accept(shared: Arc<Shared>, run: u128, listener: TcpListener) {
    let asking = Arc::new(Semaphore::new(ASKING_MAX));
    let pause = std::time::Duration::from_secs(60) / ASKS_A_MINUTE;
    loop {
        let Ok(place) = Arc::clone(&asking).acquire_owned().await else { return };
        if let Ok((stream, _)) = listener.accept().await {
            let shared = Arc::clone(&shared);
            tokio::spawn(async move {
                let opened = asked(&shared, run, stream).await;
                drop(place);
                if let Some((opened, stream)) = opened {
                    opened.carry_for_run(&shared, stream).await;
                }
            });
        }
        // So that what a run can make the log grow by is bounded.
        tokio::time::sleep(pause).await;
    }
}

/// Reads what is asked for, opens it and says so; none where it was refused.
async fn asked(shared: &Shared, run: u128, mut stream: TcpStream) -> Option<(flow::Opened, TcpStream)> {
    let read = tokio::time::timeout(ASK_TIMEOUT, head(&mut stream)).await;
    let (status, why) = match read {
        Ok(Ok(asked)) => match open(shared, run, &asked).await {
            // It is answered when the far end is known to be who it should be.
            Ok(opened) if opened.is_secured() => return Some((opened, stream)),
            Ok(opened) => {
                return match stream.write_all(ESTABLISHED).await {
                    Ok(()) => Some((opened, stream)),
                    Err(_) => {
                        // Told as a connection that moved nothing.
                        opened.carry_nothing(shared).await;
                        None
                    }
                };
            }
            Err(error) => (status(&error), base::error::chain(&error)),
        },
        Ok(Err(why)) => ("400 Bad Request", why.to_owned()),
        Err(_) => ("408 Request Timeout", "say where to with `CONNECT host:port HTTP/1.1`".to_owned()),
    };
    refuse(&mut stream, status, &why).await;
    None
}

/// Says why there is no connection. Whoever asked may have gone.
pub(crate) async fn refuse(stream: &mut TcpStream, status: &str, why: &str) {
    let said = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{why}",
        why.len()
    );
    stream.write_all(said.as_bytes()).await.unwrap_or_default();
    stream.shutdown().await.unwrap_or_default();
}

const fn status(error: &RelayError) -> &'static str {
    match error {
        RelayError::NotOpen(_) | RelayError::Reach(_) => "403 Forbidden",
        RelayError::TooMany(_) => "429 Too Many Requests",
        RelayError::Log | RelayError::NoIdentity => "503 Service Unavailable",
        _ => "502 Bad Gateway",
    }
}

async fn open(shared: &Shared, run: u128, asked: &(String, u16)) -> Result<flow::Opened, RelayError> {
    let (host, port) = asked;
    if let Some(who) = shared.table.find(run, host, *port) {
        return flow::open(shared, who).await;
    }
    let error = RelayError::NotOpen(format!("{host}:{port}"));
    let Some((tenant, actor)) = shared.table.named(run) else { return Err(error) };
    let told = event(EventKind::EgressRefuse, Phase::Observed, Outcome::Refused, correlation())
        .tenant(&tenant)
        .actor(&actor)
        .asset("egress", "", None)
        .severity(Severity::Medium)
        .because(&base::error::chain(&error));
    shared.log.tell(told).await;
    Err(error)
}

/// The whole head of a request, and where it wants to.
async fn head(stream: &mut TcpStream) -> Result<(String, u16), &'static str> {
    let mut bytes = Vec::new();
    let mut chunk = [0u8; 512];
    loop {
        let read = stream.read(&mut chunk).await.map_err(|_| "the request was broken off")?;
        let Some(more @ [_, ..]) = chunk.get(..read) else { return Err("the request was broken off") };
        bytes.extend_from_slice(more);
        if bytes.windows(4).any(|end| end == b"\r\n\r\n") {
            return parse(&bytes);
        }
        if bytes.len() > ASK_MAX {
            return Err("the request is too long");
        }
    }
}

/// `CONNECT host:port HTTP/1.1`, fields that are passed over, an empty line, and nothing behind it.
fn parse(head: &[u8]) -> Result<(String, u16), &'static str> {
    const ONLY: &str = "only `CONNECT host:port HTTP/1.1` is understood";
    let text = std::str::from_utf8(head).map_err(|_| ONLY)?;
    let fields = text.strip_suffix("\r\n\r\n").ok_or("bytes follow the request before it was answered")?;
    let mut lines = fields.split("\r\n");
    let mut words = lines.next().unwrap_or("").split(' ');
    let (Some("CONNECT"), Some(to), Some("HTTP/1.1" | "HTTP/1.0"), None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return Err(ONLY);
    };
    if lines.any(|line| line.is_empty() || line.bytes().any(|b| b.is_ascii_control() && b != b'\t')) {
        return Err(ONLY);
    }
    let (host, port) = match to.strip_prefix('[') {
        Some(rest) => rest.split_once("]:").filter(|(host, _)| host.contains(':')),
        None => to.split_once(':'),
    }
    .ok_or(ONLY)?;
    let digits = !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
    let port = port.parse().ok().filter(|port| digits && *port != 0).ok_or(ONLY)?;
    match host.is_empty()
        || host.bytes().any(|b| !b.is_ascii_graphic() || matches!(b, b'[' | b']' | b'@' | b'/'))
    {
        true => Err(ONLY),
        false => Ok((host.to_owned(), port)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_connect_is_understood() {
        let of = |text: &str| parse(text.as_bytes());
        for (text, host, port) in [
            ("CONNECT hub.example:443 HTTP/1.1\r\nHost: hub.example:443\r\n\r\n", "hub.example", 443),
            ("CONNECT hub.example:8080 HTTP/1.0\r\n\r\n", "hub.example", 8080),
            ("CONNECT [2001:db8::1]:443 HTTP/1.1\r\n\r\n", "2001:db8::1", 443),
        ] {
            assert_eq!(of(text), Ok((host.to_owned(), port)), "{text:?}");
        }
        for bad in [
            "GET http://hub.example/ HTTP/1.1\r\n\r\n",
            "connect hub.example:443 HTTP/1.1\r\n\r\n",
            "CONNECT hub.example HTTP/1.1\r\n\r\n",
            "CONNECT hub.example:0 HTTP/1.1\r\n\r\n",
            "CONNECT hub.example:65536 HTTP/1.1\r\n\r\n",
            "CONNECT hub.example:+443 HTTP/1.1\r\n\r\n",
            "CONNECT :443 HTTP/1.1\r\n\r\n",
            "CONNECT a@b:443 HTTP/1.1\r\n\r\n",
            "CONNECT 2001:db8::1:443 HTTP/1.1\r\n\r\n",
            "CONNECT [hub]:443 HTTP/1.1\r\n\r\n",
            "CONNECT  hub.example:443 HTTP/1.1\r\n\r\n",
            "CONNECT hub.example:443 HTTP/2\r\n\r\n",
            "CONNECT hub.example:443 HTTP/1.1 x\r\n\r\n",
            "CONNECT hub.example:443 HTTP/1.1\r\n\r\nGET / HTTP/1.1\r\n",
            "CONNECT hub.example:443 HTTP/1.1\n\n",
            "CONNECT hub.example:443 HTTP/1.1\r\nA: \u{1}\r\n\r\n",
        ] {
            assert!(of(bad).is_err(), "{bad:?}");
        }
        assert!(parse(b"CONNECT \xff:443 HTTP/1.1\r\n\r\n").is_err());
    }
}
