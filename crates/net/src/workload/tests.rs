use std::path::Path;

use base::config::Mode;
use base::id::JobId;
use base::names::Name;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::ca::{NodeCa, Purpose};
use crate::identity::{Holder, ProvenKey, Services};
use crate::tls::server_config_renewing;

const MINUTE: u64 = 60_000;

/// Of this machine: certificates of servers are judged by the clock.
#[expect(clippy::disallowed_methods, reason = "a test has a clock of its own")]
fn now() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    Timestamp::from_millis(u64::try_from(since.as_millis()).unwrap())
}

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn services(dir: &Path) -> Services {
    Services::open(dir, &name("n"), Mode::Dev, now()).unwrap()
}

fn certificate(services: &Services, request: &str, at: Timestamp) -> String {
    let job = JobId::new(at, [7; 10]);
    let id = services.id_of(Holder::Job { tenant: name("acme"), job });
    let key = ProvenKey::from_request(request).unwrap();
    services.issue(&key, &id, at, at.plus_millis(MINUTE)).unwrap().0
}

/// A server of this authority, that asks for certificates if it has a verifier. Gives the id that it saw, and what was said.
async fn serve(
    ca: &NodeCa,
    clients: Option<&Services>,
    stream: tokio::io::DuplexStream,
) -> Result<(Option<String>, String), String> {
    let renewing = crate::ca::Renewing::new(ca.issue(&["hub.example".to_owned()], now()).unwrap(), now());
    let config = server_config_renewing(renewing as _, clients.map(Services::verifier)).unwrap();
    let mut stream =
        tokio_rustls::TlsAcceptor::from(config).accept(stream).await.map_err(|e| e.to_string())?;
    let peer = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first()).cloned();
    let id = clients.zip(peer).map(|(services, peer)| services.identify(&peer, now()).unwrap().to_string());
    let mut said = String::new();
    stream.read_to_string(&mut said).await.map_err(|e| e.to_string())?;
    stream.shutdown().await.map_err(|e| e.to_string())?;
    Ok((id, said))
}

/// What the server saw, or why nobody spoke to it.
fn spoken(
    server: &NodeCa,
    clients: Option<&Services>,
    (host, authority): (&str, &str),
    identity: &Identity,
) -> Result<(Option<String>, String), WorkloadError> {
    let presented = identity.presented(now()).expect("a certificate");
    crate::block_on(async {
        let (ours, theirs) = tokio::io::duplex(4096);
        let call = async {
            let mut stream = connect(ours, host, authority, &presented).await?;
            stream.write_all(b"plain words").await.unwrap();
            stream.shutdown().await.unwrap();
            assert_eq!(stream.read(&mut [0]).await.unwrap(), 0);
            Ok(())
        };
        let (called, served) = tokio::join!(call, serve(server, clients, theirs));
        called.map(|()| served.unwrap())
    })
    .unwrap()
}

#[test]
fn the_server_sees_who_calls_and_is_verified_itself() {
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let services = services(&dir.path().join("services"));
    let open = |dir: &Path| NodeCa::open(Purpose::Gateway, dir, "n", Mode::Dev, now()).unwrap();
    let (ca, stranger) = (open(&dir.path().join("ca")), open(other.path()));
    let identity = Identity::default();
    identity.take(&certificate(&services, &identity.ask().unwrap(), now())).unwrap();
    let (id, said) = spoken(&ca, Some(&services), ("hub.example", ca.pem()), &identity).unwrap();
    assert_eq!(
        (id.unwrap().split_once("/job/").unwrap().0, said.as_str()),
        ("spiffe://n/tenant/acme", "plain words")
    );
    let refused = |server, clients, to| spoken(server, clients, to, &identity).unwrap_err();
    // Another authority, another name, and one that does not want to know.
    assert!(matches!(
        refused(&stranger, Some(&services), ("hub.example", ca.pem())),
        WorkloadError::Handshake(_)
    ));
    assert!(matches!(
        refused(&ca, Some(&services), ("other.example", ca.pem())),
        WorkloadError::Handshake(_)
    ));
    assert!(matches!(refused(&ca, None, ("hub.example", ca.pem())), WorkloadError::NotAsked));
}

#[test]
fn a_certificate_is_presented_until_the_next_or_its_end() {
    let dir = tempfile::tempdir().unwrap();
    let services = services(dir.path());
    let (identity, other, at) = (Identity::default(), Identity::default(), now());
    assert!(identity.presented(at).is_none());
    let request = identity.ask().unwrap();
    assert!(identity.presented(at).is_none(), "a request is no certificate");
    let first = certificate(&services, &request, at);
    other.ask().unwrap();
    assert!(other.take(&first).is_err(), "it is of another's key");
    identity.take(&first).unwrap();
    assert!(identity.take(&first).is_err(), "none was asked for");
    let held = identity.presented(at).unwrap();
    let next = identity.ask().unwrap();
    assert_eq!(identity.presented(at).unwrap().digest, held.digest, "presented while the next is asked for");
    assert!(identity.take("no certificate").is_err());
    assert_eq!(identity.presented(at).unwrap().digest, held.digest);
    assert!(identity.presented(at.plus_millis(MINUTE + 1000)).is_none(), "it has ended");
    let later = at.plus_millis(MINUTE / 2);
    identity.take(&certificate(&services, &next, later)).unwrap();
    assert_ne!(identity.presented(later).unwrap().digest, held.digest);
    assert_ne!(request, next, "each certificate has a key of its own");
    assert!(identity.presented(at.plus_millis(MINUTE + 1000)).is_some());
}

#[test]
fn what_cannot_be_verified_is_told_before() {
    let dir = tempfile::tempdir().unwrap();
    let ca = services(dir.path()).pem().to_owned();
    for host in ["hub.example", "127.0.0.1", "2001:db8::1"] {
        check(host, &ca).unwrap();
    }
    assert!(matches!(check("-", &ca), Err(WorkloadError::Host(_))));
    for bad in ["", "text", ca.trim_end_matches("-----END CERTIFICATE-----\n")] {
        assert!(matches!(check("hub.example", bad), Err(WorkloadError::Authority(_))), "{bad:?}");
    }
}
