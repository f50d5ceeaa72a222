//! Clients that do not keep to the protocol or to the pace, and processes that end at a bad moment.

#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test ends by panicking")]

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::{INFER, Model, Node, api_key, code, now, stored, until};
use net::block_on;
use ops::event::EventKind;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

const ROW: &str = r#"{"inputs":[{"name":"x","shape":[3],"datatype":"FP32","data":[5.5,1,2]}]}"#;
/// Longer than every limit of the gateway on one wait.
const PATIENCE: Duration = Duration::from_secs(90);

/// A node with a policy: key 1 opens the endpoint `m`.
fn node() -> Node {
    let node = Node::start(&Model::Row, true);
    node.push(1, vec![stored(1, 1_000_000)]).unwrap();
    node.settle();
    assert_answers(&node);
    node
}

fn assert_answers(node: &Node) {
    let (status, text, _) = node.infer(&api_key(1).text(), INFER, ROW);
    assert_eq!(status, 200, "{text}");
    assert!(text.contains("5.5"), "{text}");
}

/// TLS as an application has it, HTTP as the test writes it.
async fn raw(node: &Node, receive_buffer: Option<u32>) -> TlsStream<TcpStream> {
    let socket = TcpSocket::new_v4().unwrap();
    if let Some(size) = receive_buffer {
        socket.set_recv_buffer_size(size).unwrap();
    }
    let stream = socket.connect(node.target.address).await.unwrap();
    let tls = net::tls::client_config(&node.ca).unwrap();
    TlsConnector::from(tls).connect("localhost".try_into().unwrap(), stream).await.unwrap()
}

/// Everything until the gateway closes; a reset ends it as well.
async fn answer(stream: &mut TlsStream<TcpStream>) -> String {
    let mut all = Vec::new();
    // How it ends is not the question here, that it ends is.
    timeout(PATIENCE, stream.read_to_end(&mut all)).await.unwrap().unwrap_or_default();
    String::from_utf8_lossy(&all).into_owned()
}

fn head(extra: &str) -> String {
    format!(
        "POST {INFER} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {}\r\ncontent-type: application/json\r\n{extra}",
        api_key(1).text()
    )
}

#[test]
fn a_client_that_never_reads_is_cut_and_holds_up_nobody() {
    let node = node();
    let requests = format!(
        "GET /v2/models/m HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {}\r\n\r\n",
        api_key(1).text()
    )
    .repeat(64);
    let start = now();
    let sent = block_on(async {
        let mut stream = raw(&node, Some(4096)).await;
        let mut sent = 0usize;
        let cut = timeout(PATIENCE, async {
            while stream.write_all(requests.as_bytes()).await.is_ok() {
                sent += requests.len();
                assert!(sent < 1 << 30, "it takes requests without end though nobody reads its answers");
            }
        });
        assert!(cut.await.is_ok(), "the connection was still held after {PATIENCE:?}");
        sent
    })
    .unwrap();
    assert!(sent > 0);
    let waited = start.elapsed();
    assert!(waited > Duration::from_secs(25), "cut for another reason, after {waited:?}");
    assert_answers(&node);
}

#[test]
fn a_body_that_drips_is_refused_in_seconds() {
    let node = node();
    let start = now();
    let text = block_on(async {
        let mut stream = raw(&node, None).await;
        stream.write_all(head("content-length: 5000\r\n\r\n").as_bytes()).await.unwrap();
        let (mut from, mut to) = tokio::io::split(stream);
        let drip = tokio::spawn(async move {
            // Faster than any idle limit, slower than the least rate.
            while to.write_all(b" ").await.is_ok() && to.flush().await.is_ok() {
                sleep(Duration::from_millis(200)).await;
            }
        });
        let mut all = Vec::new();
        timeout(PATIENCE, from.read_to_end(&mut all)).await.unwrap().unwrap_or_default();
        drip.abort();
        String::from_utf8_lossy(&all).into_owned()
    })
    .unwrap();
    assert!(text.starts_with("HTTP/1.1 408 ") && text.contains("SR-GWY-0107"), "{text}");
    let waited = start.elapsed();
    assert!(waited >= Duration::from_secs(4) && waited < Duration::from_secs(20), "{waited:?}");
    assert_answers(&node);
}

#[test]
fn a_head_that_drips_is_cut() {
    let node = node();
    let start = now();
    let text = block_on(async {
        let mut stream = raw(&node, None).await;
        stream.write_all(b"GET /v2 HTTP/1.1\r\nhost: localhost\r\nx: ").await.unwrap();
        let (mut from, mut to) = tokio::io::split(stream);
        let drip = tokio::spawn(async move {
            while to.write_all(b"x").await.is_ok() && to.flush().await.is_ok() {
                sleep(Duration::from_millis(500)).await;
            }
        });
        let mut all = Vec::new();
        timeout(PATIENCE, from.read_to_end(&mut all)).await.unwrap().unwrap_or_default();
        drip.abort();
        String::from_utf8_lossy(&all).into_owned()
    })
    .unwrap();
    assert!(!text.starts_with("HTTP/1.1 2"), "{text}");
    let waited = start.elapsed();
    assert!(waited >= Duration::from_secs(9) && waited < Duration::from_secs(25), "{waited:?}");
}

#[test]
fn heads_beyond_the_limits_and_doubtful_lengths_are_refused() {
    let node = node();
    let length = ROW.len();
    let many: String = (0..100).map(|i| format!("x-{i}: 1\r\n")).collect();
    let full = |extra: &str| head(&format!("{extra}content-length: {length}\r\n\r\n{ROW}"));
    let cases = [
        ("a long header", full(&format!("x: {}\r\n", "a".repeat(20 * 1024)))),
        ("many headers", full(&many)),
        ("a long path", format!("GET /{} HTTP/1.1\r\nhost: localhost\r\n\r\n", "a".repeat(20 * 1024))),
        ("two lengths", full("content-length: 3\r\n")),
        ("length and chunks", full("transfer-encoding: chunked\r\n")),
        ("chunks", head(&format!("transfer-encoding: chunked\r\n\r\n{length:x}\r\n{ROW}\r\n0\r\n\r\n"))),
        ("a negative length", head(&format!("content-length: -1\r\n\r\n{ROW}"))),
        ("a folded header", full("x: a\r\n b\r\n")),
        ("a bare line feed in a value", full("x: a\nb\r\n")),
        ("two keys", full(&format!("authorization: Bearer {}\r\n", api_key(1).text()))),
        ("another version", full("").replace("HTTP/1.1", "HTTP/3.0")),
    ];
    for (what, request) in cases {
        let text = block_on(async {
            let mut stream = raw(&node, None).await;
            // It may answer and close before it has read everything.
            stream.write_all(request.as_bytes()).await.unwrap_or_default();
            let mut some = vec![0; 4096];
            let len = timeout(PATIENCE, stream.read(&mut some)).await.unwrap().unwrap_or(0);
            some.truncate(len);
            String::from_utf8_lossy(&some).into_owned()
        })
        .unwrap();
        assert!(text.is_empty() || text.starts_with("HTTP/1.1 4"), "{what}: {text}");
    }
    let plain = block_on(async {
        let mut stream = raw(&node, None).await;
        stream.write_all(full("connection: close\r\n").as_bytes()).await.unwrap();
        answer(&mut stream).await
    });
    assert!(plain.unwrap().starts_with("HTTP/1.1 200 "), "the same request without the fault is answered");
}

#[test]
fn garbage_in_and_below_tls_ends_its_connection_and_no_other() {
    let node = node();
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut garbage = |len: usize| -> Vec<u8> {
        let bytes = std::iter::repeat_with(|| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            u8::try_from(state & 0xff).unwrap()
        });
        bytes.take(len).collect()
    };
    for round in 0..40usize {
        let bytes = garbage(round * 37 + 1);
        block_on(async {
            let mut inside = raw(&node, None).await;
            inside.write_all(&bytes).await.unwrap_or_default();
            inside.shutdown().await.unwrap_or_default();
            let text = answer(&mut inside).await;
            assert!(text.is_empty() || text.starts_with("HTTP/1.1 4"), "{text}");

            let mut below = raw(&node, None).await;
            let mut request = head(&format!("content-length: {}\r\n\r\n", ROW.len())).into_bytes();
            request.extend_from_slice(&bytes);
            below.get_mut().0.write_all(&request).await.unwrap_or_default();
            assert_eq!(answer(&mut below).await, "", "what is not a TLS record is never answered");
        })
        .unwrap();
    }
    assert_answers(&node);
}

#[test]
fn sigterm_lets_the_request_under_way_end_and_its_record_too() {
    let mut node = Node::process(&Model::Row);
    node.push(1, vec![stored(1, 1_000_000)]).unwrap();
    assert_answers(&node);
    let keeper = Arc::clone(node.keeper.as_ref().unwrap());
    let text = block_on(async {
        let mut stream = raw(&node, None).await;
        let (first, last) = ROW.split_at(20);
        let start = head(&format!("content-length: {}\r\n\r\n{first}", ROW.len()));
        stream.write_all(start.as_bytes()).await.unwrap();
        stream.flush().await.unwrap();
        // Long enough for the request's head to be read.
        sleep(Duration::from_millis(300)).await;
        let pid = node.gateway.as_ref().unwrap().0.id().to_string();
        assert!(std::process::Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        until("closed listener", || std::net::TcpStream::connect(node.target.address).err());
        stream.write_all(last.as_bytes()).await.unwrap();
        answer(&mut stream).await
    })
    .unwrap();
    assert!(text.starts_with("HTTP/1.1 200 "), "{text}");
    let gateway = &mut node.gateway.as_mut().unwrap().0;
    let status = until("end of the process", || gateway.try_wait().unwrap());
    assert!(status.success(), "{status}");
    assert_eq!(keeper.count(EventKind::Inference), 2, "every answer has its record");
}

#[test]
fn a_keeper_that_dies_stops_the_service_and_what_was_lost_is_told() {
    let node = node();
    let keeper = node.keeper.as_ref().unwrap();
    let socket = node.config.keeper_socket();
    let ask = || {
        let (status, text, _) = node.infer(&api_key(1).text(), INFER, ROW);
        assert!(status == 200 || (status, code(&text).as_str()) == (503, "SR-GWY-0101"), "{status} {text}");
        status == 200
    };
    until("the first record", || (keeper.count(EventKind::Inference) == 1).then_some(()));
    keeper.die(&socket);
    let mut unrecorded = 0usize;
    until("refusal", || {
        let answered = ask();
        unrecorded += usize::from(answered);
        (!answered).then_some(())
    });
    assert!((1..1000).contains(&unrecorded), "{unrecorded}");
    for _ in 0..20 {
        assert!(!ask(), "nothing is answered while the log cannot be written");
    }
    keeper.listen(&socket);
    until("service", || ask().then_some(()));
    let lost = |event: &ops::event::Event| -> usize {
        let lost = event.details.iter().find(|detail| detail.key.as_str() == "lost");
        lost.unwrap().value.as_str().parse().unwrap()
    };
    until("the record after it", || (keeper.count(EventKind::Inference) == 2).then_some(()));
    let events = keeper.events();
    let told: usize = events.iter().filter(|e| e.kind == EventKind::InferenceGap).map(lost).sum();
    assert_eq!(told, unrecorded, "each answer is in the log or in the count of what is missing");
}
