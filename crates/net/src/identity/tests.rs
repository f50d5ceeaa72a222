use super::*;

const NOW: Timestamp = Timestamp::from_millis(1_795_408_496_999);
const HOUR: u64 = 3_600_000;

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn services(dir: &Path, node: &str) -> Services {
    Services::open(dir, &name(node), Mode::Dev, NOW).unwrap()
}

fn key() -> ProvenKey {
    ProvenKey::from_request(&new_key().unwrap().1).unwrap()
}

fn leaf(pem: &str) -> CertificateDer<'static> {
    certificates(pem).unwrap().remove(0)
}

fn der(pem: &str) -> Vec<u8> {
    CertificateSigningRequestDer::from_pem_slice(pem.as_bytes()).unwrap().to_vec()
}

/// A certificate of this authority with whatever a test changes.
fn forged(services: &Services, change: impl FnOnce(&mut CertificateParams)) -> CertificateDer<'static> {
    let mut params = CertificateParams::default();
    params.subject_alt_names = vec![SanType::URI("spiffe://n/tenant/acme/service/ci".try_into().unwrap())];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    validity(&mut params, NOW, SERVICE_LIFE);
    change(&mut params);
    params.signed_by(&key(), services.ca.issuer()).unwrap().der().clone()
}

#[test]
fn a_certificate_names_its_service_for_an_hour() {
    let dir = tempfile::tempdir().unwrap();
    let services = services(dir.path(), "n");
    let id = services.id(&name("acme"), &name("ci"));
    assert_eq!(id.to_string(), "spiffe://n/tenant/acme/service/ci");
    let (pem, until) = services.issue(&key(), &id, NOW, NOW.plus_millis(9 * HOUR)).unwrap();
    let leaf = leaf(&pem);
    assert_eq!(services.identify(&leaf, NOW).unwrap(), id);
    assert_eq!(services.identify(&leaf, NOW.plus_millis(HOUR - 1000)).unwrap(), id);
    for time in [NOW.plus_millis(HOUR + 1000), Timestamp::from_millis(NOW.as_millis() - 600_000)] {
        let refused = services.identify(&leaf, time).unwrap_err();
        assert!(matches!(refused, IdentityError::Certificate(_)), "{refused:?}");
    }
    let validity = Validity::of(&pem).unwrap();
    assert_eq!(validity.until, until);
    assert_eq!(until.as_millis(), NOW.as_millis() / 1000 * 1000 + HOUR);
    assert!(!validity.is_due(NOW) && validity.is_due(NOW.plus_millis(HOUR / 2)));
}

#[test]
fn no_certificate_outlives_its_grant() {
    let dir = tempfile::tempdir().unwrap();
    let services = services(dir.path(), "n");
    let id = services.id(&name("acme"), &name("ci"));
    let end = NOW.plus_millis(600_000);
    let (pem, until) = services.issue(&key(), &id, NOW, end).unwrap();
    assert!(until <= end && Validity::of(&pem).unwrap().until == until);
    for late in [end, NOW, Timestamp::from_millis(0)] {
        let refused = services.issue(&key(), &id, end, late).unwrap_err();
        assert!(matches!(refused, IdentityError::Ended), "{refused:?}");
    }
}

#[test]
fn certificates_that_are_not_exactly_of_a_service_are_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let services = services(dir.path(), "n");
    let uri = |text: &str| SanType::URI(text.try_into().unwrap());
    assert!(services.identify(&forged(&services, |_| {}), NOW).is_ok());
    let bad: [&dyn Fn(&mut CertificateParams); 9] = [
        &|p| p.subject_alt_names.push(uri("spiffe://n/tenant/acme/service/other")),
        &|p| p.subject_alt_names.clear(),
        &|p| p.subject_alt_names = vec![SanType::DnsName("acme".try_into().unwrap())],
        &|p| p.subject_alt_names = vec![uri("spiffe://other/tenant/acme/service/ci")],
        &|p| p.subject_alt_names = vec![uri("https://n/tenant/acme/service/ci")],
        &|p| p.subject_alt_names = vec![uri("spiffe://n/tenant/acme/service/ci/")],
        &|p| p.subject_alt_names = vec![uri("spiffe://n/tenant/../service/ci")],
        &|p| p.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth],
        &|p| p.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained),
    ];
    for (at, change) in bad.iter().enumerate() {
        assert!(services.identify(&forged(&services, change), NOW).is_err(), "change {at}");
    }
}

#[test]
fn certificates_of_other_authorities_are_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let own = services(&dir.path().join("own"), "n");
    // The same name, even the same node: another key.
    let twin = services(&dir.path().join("twin"), "n");
    let id = twin.id(&name("acme"), &name("ci"));
    let (pem, _) = twin.issue(&key(), &id, NOW, NOW.plus_millis(HOUR)).unwrap();
    assert!(twin.identify(&leaf(&pem), NOW).is_ok());
    assert!(matches!(own.identify(&leaf(&pem), NOW), Err(IdentityError::Certificate(_))));
    let listener = NodeCa::open(Purpose::Management, &dir.path().join("m"), "n", Mode::Dev, NOW).unwrap();
    let server = listener.issue(&["localhost".to_owned()], NOW).unwrap();
    assert!(matches!(own.identify(server.cert.first().unwrap(), NOW), Err(IdentityError::Certificate(_))));
}

#[test]
fn a_request_proves_its_key_and_nothing_of_it_can_be_changed() {
    let pem = new_key().unwrap().1;
    assert!(ProvenKey::from_request(&pem).is_ok());
    let good = der(&pem);
    for at in 0..good.len() {
        for bit in 0..8 {
            let mut bad = good.clone();
            bad[at] ^= 1 << bit;
            assert_eq!(ProvenKey::proven(&bad), None, "bit {bit} of byte {at}");
        }
        assert_eq!(ProvenKey::proven(&good[..at]), None, "{at} bytes of it");
    }
    let mut longer = good;
    longer.push(0);
    assert_eq!(ProvenKey::proven(&longer), None);
}

#[test]
fn only_requests_of_p256_are_taken() {
    for kind in [&rcgen::PKCS_ECDSA_P384_SHA384, &rcgen::PKCS_ED25519] {
        let key = KeyPair::generate_for(kind).unwrap();
        let refused = ProvenKey::from_request(&asked(&key).unwrap());
        assert!(matches!(refused, Err(IdentityError::Request)), "{kind:?}");
    }
    let long = format!("{}\n{}", "x".repeat(REQUEST_PEM_MAX), new_key().unwrap().1);
    for text in ["", "-----BEGIN CERTIFICATE REQUEST-----", &long] {
        assert!(ProvenKey::from_request(text).is_err());
    }
}

#[test]
fn a_key_asks_again_with_the_same_key() {
    let (secret, pem) = new_key().unwrap();
    let again = secret.expose(|key| request(key)).unwrap();
    assert_eq!(ProvenKey::from_request(&pem).unwrap(), ProvenKey::from_request(&again).unwrap());
    assert!(request("no key").is_err());
}

#[test]
fn ids_have_one_text() {
    let good = "spiffe://dev/tenant/acme/service/ci-1";
    assert_eq!(good.parse::<SpiffeId>().unwrap().to_string(), good);
    for bad in [
        "",
        "spiffe://",
        "spiffe://dev/tenant/acme",
        "SPIFFE://dev/tenant/acme/service/ci",
        "spiffe://dev/tenant/acme/service/ci/",
        "spiffe://dev/tenant/acme/service/CI",
        "spiffe://dev/tenant/acme/service/ci?x",
        "spiffe://dev/tenant/acme/service/c%69",
        "spiffe://dev:443/tenant/acme/service/ci",
        "spiffe://dev//tenant/acme/service/ci",
        "spiffe://dev/service/acme/tenant/ci",
    ] {
        assert!(bad.parse::<SpiffeId>().is_err(), "{bad}");
    }
}

#[test]
fn times_of_certificates_are_read() {
    let read = |tag: u8, text: &str| {
        let bytes = [&[tag, u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
        time(&mut Der(&bytes)).map(|t| t.to_string())
    };
    assert_eq!(read(UTC_TIME, "000229000000Z").unwrap(), "2000-02-29T00:00:00.000Z");
    assert_eq!(read(UTC_TIME, "261123043456Z").unwrap(), "2026-11-23T04:34:56.000Z");
    assert_eq!(read(TIME, "20500101000000Z").unwrap(), "2050-01-01T00:00:00.000Z");
    for bad in ["261123043456", "261323043456Z", "26112304345xZ", "260023043456Z", ""] {
        assert_eq!(read(UTC_TIME, bad), None, "{bad}");
    }
}

#[test]
fn who_knows_the_authority_alone_knows_its_services() {
    let dir = tempfile::tempdir().unwrap();
    let (own, twin) = (services(&dir.path().join("own"), "n"), services(&dir.path().join("twin"), "n"));
    let id = own.id(&name("acme"), &name("ci"));
    let issued =
        |services: &Services| leaf(&services.issue(&key(), &id, NOW, NOW.plus_millis(HOUR)).unwrap().0);
    let (good, other) = (issued(&own), issued(&twin));
    let later = LaterKnown::default();
    assert_eq!(later.identify(&good, NOW), None, "nobody is known before it is told");
    later.set(Some(Known::new(own.pem(), &name("n")).unwrap()));
    assert_eq!(later.identify(&good, NOW), Some(id));
    assert_eq!(later.identify(&good, NOW.plus_millis(HOUR + 1000)), None);
    assert_eq!(later.identify(&other, NOW), None);
    later.set(Some(Known::new(own.pem(), &name("m")).unwrap()));
    assert_eq!(later.identify(&good, NOW), None, "a service of another node");
    later.set(None);
    assert_eq!(later.identify(&good, NOW), None);
    assert!(Known::new("no certificate", &name("n")).is_err());
}
