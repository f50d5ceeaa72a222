//! The address on this machine to which the browser hands over the code (RFC 8252 section 7.3).

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::time::Duration;

use crate::clock::Stopwatch;
use crate::error::{CliError, Failure};

/// Where it is handed over.
const PATH: &str = "/callback";
/// Longest head of a request that is read: addresses of browsers are shorter.
const HEAD_MAX: usize = 16 * 1024;
/// How long one connection may take to send it.
const HEAD_WAIT: Duration = Duration::from_secs(5);
/// Between two looks whether somebody connects.
const LOOK: Duration = Duration::from_millis(50);
/// What the browser shows then. Nothing of the request is in it.
const DONE: &str = "<!doctype html><meta charset=utf-8><title>Strongroom</title><p>You can close this window and go \
                    back to the terminal.";

/// What the browser handed over.
#[derive(Debug)]
pub(super) struct Callback {
    pub(super) code: String,
    pub(super) state: Option<String>,
}

/// A listener for one callback.
#[derive(Debug)]
pub(super) struct Loopback {
    listener: TcpListener,
    port: u16,
}

impl Loopback {
    pub(super) fn bind() -> Result<Self, Failure> {
        let at = || CliError::file("listen on", std::path::Path::new("127.0.0.1"));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(at())?;
        listener.set_nonblocking(true).map_err(at())?;
        let port = listener.local_addr().map_err(at())?.port();
        Ok(Self { listener, port })
    }

    pub(super) fn address(&self) -> String {
        format!("http://127.0.0.1:{}{PATH}", self.port)
    }

    /// Waits for the browser. What asks for something else, or comes with another state, is answered that there is nothing,
    /// and waited on: other users of this machine can connect as well, and would end the login by a made-up code.
    pub(super) fn wait(&self, limit: Duration, state: Option<&str>) -> Result<Callback, Failure> {
        let watch = Stopwatch::start();
        while watch.elapsed() < limit {
            match self.listener.accept() {
                Ok((stream, _)) => match answer(stream, state) {
                    Some(Ok(callback)) => return Ok(callback),
                    Some(Err(reason)) => return Err(CliError::LoginRefused(reason).into()),
                    None => {}
                },
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => std::thread::sleep(LOOK),
                Err(error) => {
                    return Err(CliError::file("listen on", std::path::Path::new("127.0.0.1"))(error).into());
                }
            }
        }
        Err(CliError::LoginLate.into())
    }
}

/// What one connection hands over, if anything; a connection that breaks hands over nothing.
fn answer(mut stream: TcpStream, state: Option<&str>) -> Option<Result<Callback, String>> {
    stream.set_nonblocking(false).ok()?;
    stream.set_read_timeout(Some(HEAD_WAIT)).ok()?;
    stream.set_write_timeout(Some(HEAD_WAIT)).ok()?;
    let head = head(&mut stream)?;
    let found = callback(&head, state);
    let (status, body) = if found.is_some() { ("200 OK", DONE) } else { ("404 Not Found", "") };
    let reply = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: {}\r\nCache-Control: no-store\r\n\
         Content-Security-Policy: default-src 'none'\r\nReferrer-Policy: no-referrer\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    // The browser may have gone; what it handed over counts all the same.
    drop(stream.write_all(reply.as_bytes()));
    found
}

fn head(stream: &mut TcpStream) -> Option<String> {
    let watch = Stopwatch::start();
    let mut bytes = Vec::new();
    let mut buffer = [0u8; 2048];
    while !bytes.windows(4).any(|end| end == b"\r\n\r\n") {
        let len = stream.read(&mut buffer).ok().filter(|len| *len > 0)?;
        bytes.extend_from_slice(buffer.get(..len)?);
        if bytes.len() > HEAD_MAX || watch.elapsed() > HEAD_WAIT {
            return None;
        }
    }
    String::from_utf8(bytes).ok()
}

/// The code in the address of a request, or why the provider gave none.
fn callback(head: &str, state: Option<&str>) -> Option<Result<Callback, String>> {
    let target = head.strip_prefix("GET ")?.split(' ').next()?;
    let (path, query) = target.split_once('?')?;
    if path != PATH {
        return None;
    }
    let value = |name: &str| {
        let mut found =
            query.split('&').filter_map(|pair| pair.split_once('=')).filter(|(key, _)| *key == name);
        match (found.next(), found.next()) {
            (Some((_, text)), None) => decoded(text),
            _ => None,
        }
    };
    let came = value("state");
    if state.is_some() && came.as_deref() != state {
        return None;
    }
    if let Some(error) = value("error") {
        let told = value("error_description").map(|text| format!("{error}: {text}")).unwrap_or(error);
        return Some(Err(told.chars().take(300).flat_map(char::escape_debug).collect()));
    }
    Some(Ok(Callback { code: value("code")?, state: came }))
}

/// The state in the address that the person opens, which comes back with the code.
pub(super) fn state_of(url: &str) -> Option<String> {
    let (_, query) = url.split('#').next()?.split_once('?')?;
    query.split('&').find_map(|pair| pair.strip_prefix("state=")).and_then(decoded)
}

/// Percent-decoding (RFC 3986 section 2.1), with `+` for a space.
fn decoded(text: &str) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'%' => {
                let high = char::from(bytes.next()?).to_digit(16)?;
                let low = char::from(bytes.next()?).to_digit(16)?;
                u8::try_from(high * 16 + low).ok()?
            }
            b'+' => b' ',
            other => other,
        });
    }
    String::from_utf8(out).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(target: &str) -> Option<Result<(String, Option<String>), String>> {
        callback(&format!("GET {target} HTTP/1.1\r\n\r\n"), None)
            .map(|found| found.map(|c| (c.code, c.state)))
    }

    #[test]
    fn the_code_is_read_from_the_address() {
        assert_eq!(
            read("/callback?code=a%2Fb%3D&state=s&iss=x"),
            Some(Ok(("a/b=".to_owned(), Some("s".to_owned()))))
        );
        assert_eq!(read("/callback?code=a"), Some(Ok(("a".to_owned(), None))));
        assert_eq!(
            read("/callback?error=access_denied&error_description=no%0Athanks"),
            Some(Err("access_denied: no\\nthanks".to_owned()))
        );
        for nothing in [
            "/favicon.ico",
            "/callback",
            "/callback?x=1",
            "/callback?code=a&code=b",
            "/callback?code=%zz",
            "/other?code=a",
        ] {
            assert_eq!(read(nothing), None, "{nothing}");
        }
        assert!(callback("POST /callback?code=a HTTP/1.1", None).is_none());
    }

    #[test]
    fn what_comes_with_another_state_is_of_somebody_else() {
        let came = |target: &str| callback(&format!("GET {target} HTTP/1.1\r\n\r\n"), Some("s p")).is_some();
        assert!(came("/callback?code=a&state=s%20p") && came("/callback?error=x&state=s+p"));
        for other in [
            "/callback?code=a",
            "/callback?code=a&state=sp",
            "/callback?error=x",
            "/callback?code=a&state=s+p&state=s+p",
        ] {
            assert!(!came(other), "{other}");
        }
        assert_eq!(state_of("https://id.example/auth?scope=openid&state=s%20p&x=1").as_deref(), Some("s p"));
        assert_eq!(state_of("https://node.example:9443/login#state=x"), None);
        assert_eq!(state_of("https://node.example:9443/login?a=b#?state=x"), None);
    }

    #[test]
    fn a_browser_hands_it_over_after_others_asked_for_something_else() {
        let loopback = Loopback::bind().unwrap();
        let address = loopback.address();
        let port: u16 = address.split([':', '/']).nth(4).unwrap().parse().unwrap();
        let other = std::thread::spawn(move || {
            for target in ["/favicon.ico", "/callback?code=made-up&state=t", "/callback?code=c&state=s"] {
                let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
                stream.write_all(format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).unwrap();
                let mut reply = String::new();
                stream.read_to_string(&mut reply).unwrap();
                assert!(reply.contains("default-src 'none'"));
            }
        });
        let found = loopback.wait(Duration::from_secs(10), Some("s")).unwrap();
        other.join().unwrap();
        assert_eq!((found.code.as_str(), found.state.as_deref()), ("c", Some("s")));
    }
}
