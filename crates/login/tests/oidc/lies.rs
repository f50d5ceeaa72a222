//! What no real provider does: every lie is refused with its own code, and the same provider, honest, is taken.

use crate::support::{Net, Script, now, parameter, provider};
use base::{Explain, Timestamp};
use strongroom_login::oidc::{Answer, Ask, Exchange, NoAnswer, OidcError, Polled, Proven, Provider};

const REDIRECT: &str = "http://127.0.0.1:5555/callback";
const RANDOM: [[u8; 32]; 3] = [[1; 32], [2; 32], [3; 32]];

/// A login whose code tells the provider how to lie.
fn log_in(net: &dyn Exchange, provider: &Provider, lie: &str, at: Timestamp) -> Result<Proven, OidcError> {
    let (attempt, url) = provider.begin_code(net, at, &RANDOM, REDIRECT)?;
    let code = format!("{lie}.{}", parameter(&url, "nonce"));
    provider.finish_code(net, at, attempt, &code, &parameter(&url, "state"))
}

fn code<T>(result: Result<T, OidcError>) -> &'static str {
    result.map_or_else(|error| error.code(), |_| "taken")
}

#[test]
fn lies_of_tokens_are_refused_and_honest_ones_taken() {
    let (script, net) = (Script::start("evil.mjs", ""), Net::new());
    let provider = provider(&script.said, "strongroom", "");
    let mut wrong = Vec::new();
    for (expected, lies) in [
        ("taken", "honest honest-ec no-at-hash azp-ours expired-in-skew no-groups name-bidi name-hidden"),
        // Algorithms and keys.
        (
            "SR-OID-0006",
            "alg-none alg-None no-alg no-signature hs256-public-pem hs256-modulus hs512-client-id hs256-empty",
        ),
        (
            "SR-OID-0006",
            "rs512 foreign-key key-in-header no-kid-foreign changed crit nested typ-at at-hash-other",
        ),
        ("SR-OID-0007", "ec-alg-rsa-key weak-key kid-of-nowhere kid-huge"),
        ("SR-OID-0006", "not-a-token five-parts deep no-id-token"),
        ("SR-OID-0003", "no-access-token"),
        // Whose, and for whom.
        ("SR-OID-0004", "iss-other iss-slash iss-case"),
        ("SR-OID-0006", "no-iss no-exp exp-text exp-huge no-sub amr-text"),
        ("SR-OID-0008", "aud-other aud-two aud-empty no-aud azp-other"),
        // When.
        ("SR-OID-0009", "expired iat-future iat-past iat-negative auth-future"),
        ("SR-OID-0010", "nonce-other nonce-empty no-nonce"),
        ("SR-OID-0011", "auth-old no-auth-time"),
        // Who, and how proved.
        ("SR-OID-0012", "no-amr amr-pwd"),
        ("SR-OID-0016", "amr-many sub-empty sub-long sub-unicode sub-newline sub-space"),
        ("SR-OID-0016", "groups-text groups-many groups-hidden groups-numbers"),
        // What the token endpoint reports.
        ("SR-OID-0013", "error-access_denied"),
        ("SR-OID-0014", "error-invalid_grant error-expired_token a-code-of-nobody"),
        ("SR-OID-0015", "error-invalid_client error-unauthorized_client"),
        ("SR-OID-0018", "error-server_error error-whatever"),
    ] {
        for lie in lies.split(' ') {
            let found = log_in(&net, &provider, lie, now());
            let found = found.map_or_else(|e| (e.code(), e.to_string()), |p| ("taken", format!("{p:?}")));
            if found.0 != expected {
                wrong.push(format!("{lie}: {} and not {expected}: {}", found.0, found.1));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_is_shown_of_a_person_is_harmless() {
    let (script, net) = (Script::start("evil.mjs", ""), Net::new());
    let provider = provider(&script.said, "strongroom", "");
    let name = |lie: &str| log_in(&net, &provider, lie, now()).unwrap().name.unwrap();
    assert_eq!(name("honest"), "mallory");
    assert_eq!(name("name-bidi"), format!("mallory{}", "x".repeat(57)));
    assert_eq!(name("name-hidden"), "Mallory", "a name of nothing is passed over");
    let error = log_in(&net, &provider, "error-whatever", now()).unwrap_err().to_string();
    assert_eq!(error, "the OpenID provider reports `whatever [31mred`");
    let proven = log_in(&net, &provider, "honest", now()).unwrap();
    assert_eq!((proven.issuer.as_str(), proven.subject.as_str()), (script.said.as_str(), "mallory"));
    assert_eq!((proven.groups, proven.amr), (vec!["ml-engineers".to_owned()], vec!["mfa".to_owned()]));
}

/// What is slow, silent or endless never ends by itself: that there is a refusal at all is that it was cut off.
#[test]
fn answers_that_are_none_are_refused_in_time() {
    let (script, net) = (Script::start("evil.mjs", ""), Net::new());
    let mut wrong = Vec::new();
    for (expected, answers) in [
        ("SR-OID-0003", "huge endless redirect redirect-away html empty list deep-json error-404"),
        ("SR-OID-0002", "slow silent endless-head error-500 cut wrong-length"),
    ] {
        for place in ["doc", "jwks", "token"] {
            for answer in answers.split(' ') {
                let lie = format!("{place}-{answer}");
                let provider = provider(&format!("{}/{lie}", script.said), "strongroom", "");
                let found = log_in(&net, &provider, "honest", now());
                let text = format!("{found:?}");
                if code(found) != expected {
                    wrong.push(format!("{lie}: not {expected}: {text}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn documents_and_keys_that_lie_are_refused() {
    let (script, net) = (Script::start("evil.mjs", ""), Net::new());
    for (lie, expected) in [
        ("doc-honest", "taken"),
        ("doc-issuer", "SR-OID-0004"),
        ("doc-issuer-slash", "SR-OID-0004"),
        ("doc-http-token", "SR-OID-0003"),
        ("doc-file-keys", "SR-OID-0003"),
        ("doc-user", "SR-OID-0003"),
        ("doc-script", "SR-OID-0003"),
        ("doc-plain-pkce", "SR-OID-0005"),
        ("doc-no-token", "SR-OID-0003"),
        ("doc-numbers", "SR-OID-0003"),
        ("doc-no-device", "taken"),
        ("jwks-many", "SR-OID-0003"),
        ("jwks-odd", "taken"),
        ("jwks-none", "SR-OID-0007"),
        ("jwks-twice", "SR-OID-0006"),
    ] {
        let provider = provider(&format!("{}/{lie}", script.said), "strongroom", "");
        let found = log_in(&net, &provider, "honest", now());
        let text = format!("{lie}: {found:?}");
        assert_eq!(code(found), expected, "{text}");
    }
}

#[test]
fn a_new_key_is_fetched_once_and_not_on_every_demand() {
    let (script, net) = (Script::start("evil.mjs", ""), Net::new());
    let provider = provider(&script.said, "strongroom", "");
    let begun = now();
    let at = |seconds: u64| begun.plus_millis(seconds * 1000);
    assert_eq!(code(log_in(&net, &provider, "honest", at(0))), "taken");
    assert_eq!(code(log_in(&net, &provider, "rotated", at(29))), "SR-OID-0007", "keys are 29 s old");
    assert_eq!(code(log_in(&net, &provider, "rotated", at(31))), "taken");
    for _ in 0..5 {
        assert_eq!(code(log_in(&net, &provider, "kid-of-nowhere", at(32))), "SR-OID-0007");
    }
    let fetched = fetched(&net, &script.said);
    assert_eq!(fetched, 2, "one at the start, one for the new key, none for keys that nobody has");
}

fn fetched(net: &Net, origin: &str) -> u32 {
    let authority = origin.trim_start_matches("http://").to_owned();
    let port = authority.rsplit(':').next().unwrap().parse().unwrap();
    let ask = Ask {
        tls: false,
        host: "127.0.0.1".to_owned(),
        port,
        authority,
        path: "/fetched".to_owned(),
        authorization: None,
        form: None,
        limit: 100,
    };
    let body = String::from_utf8(net.exchange(&ask).unwrap().body).unwrap();
    body.chars().filter(char::is_ascii_digit).collect::<String>().parse().unwrap()
}

#[test]
fn an_answer_of_another_attempt_is_refused() {
    let (script, net) = (Script::start("evil.mjs", ""), Net::new());
    let provider = provider(&script.said, "strongroom", "");
    let random = |n: u8| [[n; 32], [n + 1; 32], [n + 2; 32]];
    let (first, url) = provider.begin_code(&net, now(), &random(1), REDIRECT).unwrap();
    let (second, other) = provider.begin_code(&net, now(), &random(9), REDIRECT).unwrap();
    let code_of = |url: &str| format!("honest.{}", parameter(url, "nonce"));
    let stolen = provider.finish_code(&net, now(), first, &code_of(&url), &parameter(&other, "state"));
    assert_eq!(code(stolen), "SR-OID-0010", "the state");
    let mixed = provider.finish_code(&net, now(), second, &code_of(&url), &parameter(&other, "state"));
    assert_eq!(code(mixed), "SR-OID-0010", "the nonce");
    for bad in ["", &"c".repeat(4097)] {
        let (attempt, url) = provider.begin_code(&net, now(), &random(1), REDIRECT).unwrap();
        assert_eq!(
            code(provider.finish_code(&net, now(), attempt, bad, &parameter(&url, "state"))),
            "SR-OID-0014"
        );
    }
    let (attempt, url) = provider.begin_code(&net, now(), &random(1), REDIRECT).unwrap();
    assert_eq!(code(Provider::refuse_code(&attempt, "access_denied", "x")), "SR-OID-0010");
    assert_eq!(
        code(Provider::refuse_code(&attempt, "access_denied", &parameter(&url, "state"))),
        "SR-OID-0013"
    );
}

#[test]
fn a_login_comes_back_to_this_machine_alone() {
    let (script, net) = (Script::start("evil.mjs", ""), Net::new());
    let provider = provider(&script.said, "strongroom", "");
    let begin = |redirect: &str| code(provider.begin_code(&net, now(), &RANDOM, redirect));
    for good in ["http://127.0.0.1:1/", "http://127.0.0.1:65535/callback", "http://[::1]:5555/a/b"] {
        assert_eq!(begin(good), "taken", "{good}");
    }
    for bad in [
        "http://localhost:5555/",
        "https://127.0.0.1:5555/",
        "http://127.0.0.1/",
        "http://127.0.0.1:0/",
        "http://127.0.0.2:5555/",
        "http://127.1:5555/",
        "http://0x7f000001:5555/",
        "http://2130706433:5555/",
        "http://127.0.0.1:5555@example.org/",
        "http://a@127.0.0.1:5555/",
        "http://127.0.0.1:5555/?a=b",
        "http://127.0.0.1:5555/#a",
        "http://127.0.0.1:5555",
        "http://127.0.0.1:5555/../a",
        "http://127.0.0.1.example.org:5555/",
        "http://[::ffff:127.0.0.1]:5555/",
        "http:\\\\127.0.0.1:5555/",
        " http://127.0.0.1:5555/",
        "javascript:alert(1)",
        "strongroom://callback",
        "",
        &format!("http://127.0.0.1:5555/{}", "a".repeat(128)),
    ] {
        assert_eq!(begin(bad), "SR-OID-0017", "{bad}");
    }
}

#[test]
fn a_device_login_is_polled_as_the_provider_wants() {
    let (script, net) = (Script::start("evil.mjs", ""), Net::new());
    let begin = |lie: &str| provider(&format!("{}/{lie}", script.said), "strongroom", "");
    for (lie, expected) in [
        ("dev-honest", "taken"),
        ("dev-script", "SR-OID-0003"),
        ("dev-escape", "SR-OID-0003"),
        ("dev-long", "SR-OID-0003"),
        ("dev-empty", "SR-OID-0003"),
        ("doc-no-device", "SR-OID-0005"),
        ("device-huge", "SR-OID-0003"),
        ("device-silent", "SR-OID-0002"),
    ] {
        assert_eq!(code(begin(lie).begin_device(&net, now())), expected, "{lie}");
    }
    let shown = |lie: &str| begin(lie).begin_device(&net, now()).unwrap().1;
    assert_eq!(shown("dev-script-complete").url_with_code, None);
    assert_eq!((shown("dev-forever").expires_s, shown("dev-forever").pause_s), (600, 1));
    assert_eq!(shown("dev-slow").pause_s, 60);

    let start = now();
    let at = |seconds: u64| start.plus_millis(seconds * 1000);
    let provider = begin("poll-slow");
    let (attempt, _) = provider.begin_device(&net, at(0)).unwrap();
    let mut pauses = Vec::new();
    let mut attempt = Some(attempt);
    // Asked every second; the provider is asked only when its pause is over, and each time it wants 5 s more.
    for second in 0..20 {
        match provider.poll_device(&net, at(second), attempt.take().unwrap()).unwrap() {
            Polled::Pending { attempt: same, pause_s } => {
                attempt = Some(same);
                pauses.push(pause_s);
            }
            Polled::Done(_) => panic!("never done"),
        }
    }
    assert_eq!(pauses, [1, 6, 5, 4, 3, 2, 1, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 16, 15]);
    let end = |lie: &str, second: u64| {
        let provider = begin(lie);
        let (attempt, _) = provider.begin_device(&net, at(0)).unwrap();
        code(provider.poll_device(&net, at(second), attempt))
    };
    assert_eq!(end("poll-pending", 5), "taken");
    assert_eq!(end("poll-denied", 5), "SR-OID-0013");
    assert_eq!(end("poll-expired", 5), "SR-OID-0014");
    assert_eq!(end("poll-pending", 600), "SR-OID-0014", "ten minutes are the most");
}

/// The honest provider, with one character of its ID token changed on the way.
struct Changed<'a> {
    net: &'a Net,
    at: usize,
    to: u8,
}

impl Exchange for Changed<'_> {
    fn exchange(&self, ask: &Ask<'_>) -> Result<Answer, NoAnswer> {
        let mut answer = self.net.exchange(ask)?;
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        if let Some((before, token)) = text.split_once("\"id_token\":\"") {
            let start = before.len() + "\"id_token\":\"".len();
            let len = token.find('"').unwrap();
            // The last character of a signature has bits that say nothing.
            let at = start + self.at % (len - 1);
            let byte = answer.body.get_mut(at).unwrap();
            *byte = if *byte == self.to { b'-' } else { self.to };
        }
        Ok(answer)
    }
}

#[test]
fn no_character_of_a_token_can_be_changed() {
    let (script, net) = (Script::start("evil.mjs", ""), Net::new());
    let provider = provider(&script.said, "strongroom", "");
    assert_eq!(code(log_in(&net, &provider, "honest", now())), "taken");
    for (at, to) in (0..1000).step_by(3).zip(b"Aa0_.\" =\\\x00\xff".iter().cycle()) {
        let changed = Changed { net: &net, at, to: *to };
        let found = log_in(&changed, &provider, "honest", now());
        assert!(found.is_err(), "character {at} as {to}: {found:?}");
    }
    assert_eq!(code(log_in(&net, &provider, "honest", now())), "taken");
}
