//! Logins by a provider that is not ours (`oidc-provider`), driven as a browser would.

use std::process::Command;

use crate::support::{Net, Script, now, parameter, provider};
use base::{Explain, Timestamp};
use strongroom_login::oidc::{OidcError, Polled, Proven, Provider};

const REDIRECT: &str = "http://127.0.0.1:9/callback";
const ALICE: &str = "login=alice&amr=pwd,mfa";

/// A browser with cookies of its own.
struct Browser(String);

impl Browser {
    fn new(name: &str) -> Self {
        let jar = std::env::temp_dir().join(format!("strongroom-jar-{}-{name}", std::process::id()));
        Self(jar.display().to_string())
    }

    /// Follows redirects as far as there is a server; gives the last URL and its page.
    fn get(&self, url: &str, form: &[&str]) -> (String, String) {
        let mut curl = Command::new("curl");
        curl.args([
            "--silent",
            "--insecure",
            "--location",
            "--max-time",
            "10",
            "--write-out",
            "\n%{url_effective}",
        ]);
        curl.args(["--cookie", &self.0, "--cookie-jar", &self.0]);
        for field in form {
            curl.args(["--data-urlencode", field]);
        }
        let out = String::from_utf8(curl.arg(url).output().unwrap().stdout).unwrap();
        let (page, last) = out.rsplit_once('\n').unwrap();
        (last.to_owned(), page.to_owned())
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        drop(std::fs::remove_file(&self.0));
    }
}

/// A login by code in which the person answers so.
fn by_code(net: &Net, provider: &Provider, browser: &Browser, answer: &str) -> Result<Proven, OidcError> {
    let random = [[1; 32], [2; 32], [3; 32]];
    let (attempt, url) = provider.begin_code(net, now(), &random, REDIRECT)?;
    let (asks, _) = browser.get(&url, &[]);
    assert!(asks.contains("/interaction/"), "nobody is asked: {asks}");
    let (back, page) = browser.get(&format!("{asks}?{answer}"), &[]);
    assert!(back.starts_with(REDIRECT), "{back}: {page}");
    let state = parameter(&back, "state");
    if back.contains("error=") {
        return Provider::refuse_code(&attempt, &parameter(&back, "error"), &state);
    }
    provider.finish_code(net, now(), attempt, &parameter(&back, "code"), &state)
}

#[test]
fn a_login_by_code_proves_who_somebody_is() {
    let (script, net) = (Script::start("provider.mjs", "{}"), Net::new());
    let browser = Browser::new("code");
    let scopes = "scopes = [\"openid\", \"profile\", \"groups\"]";
    for client in [
        "strongroom",
        "strongroom-RS256",
        "strongroom-PS256",
        "strongroom-ES256",
        "strongroom-ES384",
        "strongroom-EdDSA",
    ] {
        let begun = now();
        let provider = provider(&script.said, client, scopes);
        let proven = by_code(&net, &provider, &browser, ALICE).unwrap_or_else(|e| panic!("{client}: {e}"));
        assert_eq!((proven.issuer.as_str(), proven.subject.as_str()), (script.said.as_str(), "alice"));
        assert_eq!(proven.groups, ["ml-engineers"]);
        assert_eq!(proven.name.as_deref(), Some("alice"));
        assert_eq!(proven.amr, ["pwd", "mfa"]);
        assert!(proven.auth_time.plus_millis(2000) >= begun && proven.auth_time <= now(), "{proven:?}");
    }
}

#[test]
fn a_client_with_a_secret_uses_it() {
    let (script, net) = (Script::start("provider.mjs", "{}"), Net::new());
    let browser = Browser::new("secret");
    let with = provider(&script.said, "with-secret", "client_secret_file = \"/s\"");
    assert_eq!(by_code(&net, &with, &browser, ALICE).unwrap().subject, "alice");
    let without = provider(&script.said, "with-secret", "");
    assert_eq!(by_code(&net, &without, &browser, ALICE).unwrap_err().code(), "SR-OID-0015");
    let wrong = crate::support::config(&script.said, "with-secret", "client_secret_file = \"/s\"");
    let wrong = Provider::new(&wrong, Some("another")).unwrap();
    assert_eq!(by_code(&net, &wrong, &browser, ALICE).unwrap_err().code(), "SR-OID-0015");
}

#[test]
fn a_second_factor_and_consent_are_needed() {
    let (script, net) = (Script::start("provider.mjs", "{}"), Net::new());
    let browser = Browser::new("factor");
    let code = |more: &str, answer: &str| {
        let provider = provider(&script.said, "strongroom", more);
        by_code(&net, &provider, &browser, answer).map_or_else(|e| e.code(), |_| "taken")
    };
    assert_eq!(code("", ALICE), "taken");
    assert_eq!(code("", "login=alice&amr=pwd"), "SR-OID-0012");
    assert_eq!(code("", "login=alice"), "SR-OID-0012");
    assert_eq!(code("", "deny=1"), "SR-OID-0013");
    let gold = "second_factor = { acr = [\"urn:example:gold\"] }";
    assert_eq!(code(gold, "login=alice&acr=urn:example:gold"), "taken");
    assert_eq!(code(gold, "login=alice&acr=urn:example:plain"), "SR-OID-0012");
    assert_eq!(code("second_factor = \"provider\"", "login=alice"), "taken");
}

#[test]
fn a_code_is_good_once_and_for_its_attempt() {
    let (script, net) = (Script::start("provider.mjs", "{}"), Net::new());
    let browser = Browser::new("once");
    let provider = provider(&script.said, "strongroom", "");
    let begin =
        |n: u8| provider.begin_code(&net, now(), &[[n; 32], [n + 1; 32], [n + 2; 32]], REDIRECT).unwrap();
    let ((first, url), (second, other), (third, last)) = (begin(1), begin(11), begin(21));
    let (asks, _) = browser.get(&url, &[]);
    let (back, _) = browser.get(&format!("{asks}?{ALICE}"), &[]);
    let code = parameter(&back, "code");
    // Stolen from the browser, and given to an attempt of the thief: the proof key is another.
    let stolen = provider.finish_code(&net, now(), second, &code, &parameter(&other, "state"));
    assert_eq!(stolen.unwrap_err().code(), "SR-OID-0014");
    assert_eq!(
        provider.finish_code(&net, now(), first, &code, &parameter(&url, "state")).unwrap().subject,
        "alice"
    );
    let again = provider.finish_code(&net, now(), third, &code, &parameter(&last, "state"));
    assert_eq!(again.unwrap_err().code(), "SR-OID-0014");
}

/// The pages of the device flow, as a person goes through them.
fn agree(browser: &Browser, url: &str, user_code: &str, answer: &str) -> String {
    let field = |page: &str, name: &str| {
        let at = page.split(&format!("name=\"{name}\" value=\"")).nth(1).unwrap_or_else(|| panic!("{page}"));
        at.split('"').next().unwrap().to_owned()
    };
    let (_, page) = browser.get(url, &[]);
    let xsrf = format!("xsrf={}", field(&page, "xsrf"));
    let action = url.split('?').next().unwrap();
    let (_, page) = browser.get(action, &[&xsrf, &format!("user_code={user_code}")]);
    let xsrf = format!("xsrf={}", field(&page, "xsrf"));
    let (asks, page) = browser.get(action, &[&xsrf, &format!("user_code={user_code}"), "confirm=yes"]);
    assert!(asks.contains("/interaction/"), "{asks}: {page}");
    browser.get(&format!("{asks}?{answer}"), &[]).1
}

#[test]
fn a_login_by_device_proves_who_somebody_is() {
    let (script, net) = (Script::start("provider.mjs", "{}"), Net::new());
    let provider = provider(&script.said, "strongroom", "");
    // One browser, so that the later logins find a session at the provider; they are asked again all the same.
    let browser = Browser::new("device");
    let log_in = |answer: &str| {
        std::thread::sleep(std::time::Duration::from_millis(2100));
        let (attempt, shown) = provider.begin_device(&net, now()).unwrap();
        let later = |seconds: u64| now().plus_millis(seconds * 1000);
        // The time is ours to tell, so the pause need not be waited for.
        let Ok(Polled::Pending { attempt, .. }) = provider.poll_device(&net, later(6), attempt) else {
            panic!("nobody agreed yet")
        };
        agree(&browser, &shown.url, &shown.user_code, answer);
        provider.poll_device(&net, later(12), attempt)
    };
    let Ok(Polled::Done(proven)) = log_in(ALICE) else { panic!("not done") };
    assert_eq!((proven.subject.as_str(), proven.amr.join(" ").as_str()), ("alice", "pwd mfa"));
    assert!(proven.auth_time > Timestamp::from_millis(0));
    assert_eq!(log_in("login=alice&amr=pwd").unwrap_err().code(), "SR-OID-0012");
    assert_eq!(log_in("deny=1").unwrap_err().code(), "SR-OID-0013");
}

/// A certificate authority and a certificate of it for `localhost`: the paths of both and of the key.
fn certificate(directory: &std::path::Path) -> [String; 3] {
    let openssl = |arguments: &str| {
        let mut command = Command::new("openssl");
        let done = command.current_dir(directory).args(arguments.split(' ')).output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    };
    std::fs::create_dir_all(directory).unwrap();
    let ec = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";
    openssl(&format!("req -x509 {ec} -keyout ca.key -out ca.pem -days 2 -subj /CN=test"));
    let names = "-addext subjectAltName=DNS:localhost -addext basicConstraints=critical,CA:FALSE";
    openssl(&format!(
        "req -x509 {ec} -CA ca.pem -CAkey ca.key -keyout k.pem -out c.pem -days 2 -subj /CN=x {names}"
    ));
    ["ca.pem", "c.pem", "k.pem"].map(|name| directory.join(name).display().to_string())
}

#[test]
fn the_certificate_of_a_provider_is_verified() {
    let directory = std::env::temp_dir().join(format!("strongroom-oidc-{}", std::process::id()));
    let [ca, cert, key] = certificate(&directory);
    let script = Script::start("provider.mjs", &format!(r#"{{"cert":"{cert}","key":"{key}"}}"#));
    let browser = Browser::new("tls");
    let pem = std::fs::read_to_string(&ca).unwrap();
    drop(std::fs::remove_dir_all(&directory));
    let provider = provider(&script.said, "strongroom", "");
    assert!(provider.issuer().starts_with("https://localhost:"));
    let proven = by_code(&Net::trusting(&pem), &provider, &browser, ALICE).unwrap();
    assert_eq!(proven.subject, "alice");
    let random = [[1; 32], [2; 32], [3; 32]];
    let fresh = crate::support::provider(&script.said, "strongroom", "");
    let unknown = fresh.begin_code(&Net::new(), now(), &random, REDIRECT).unwrap_err();
    assert!(unknown.code() == "SR-OID-0002" && unknown.to_string().contains("certificate"), "{unknown}");
    let name = script.said.replace("localhost", "127.0.0.1");
    let other = crate::support::provider(&name, "strongroom", "");
    let other = other.begin_code(&Net::trusting(&pem), now(), &random, REDIRECT).unwrap_err();
    assert!(other.code() == "SR-OID-0002" && other.to_string().contains("certificate"), "{other}");
}

#[test]
fn a_provider_that_is_down_is_said_to_be() {
    let (script, net) = (Script::start("provider.mjs", "{}"), Net::new());
    let provider = provider(&script.said, "strongroom", "");
    let random = [[1; 32], [2; 32], [3; 32]];
    let (attempt, url) = provider.begin_code(&net, now(), &random, REDIRECT).unwrap();
    drop(script);
    let error = provider.finish_code(&net, now(), attempt, "code", &parameter(&url, "state")).unwrap_err();
    assert_eq!(error.code(), "SR-OID-0002");
    let later = now().plus_millis(3_600_000);
    assert_eq!(provider.begin_code(&net, later, &random, REDIRECT).unwrap_err().code(), "SR-OID-0002");
}

#[test]
fn a_provider_signing_with_a_mac_is_refused() {
    let (script, net) = (Script::start("provider.mjs", "{}"), Net::new());
    let browser = Browser::new("mac");
    let config = crate::support::config(&script.said, "mac", "client_secret_file = \"/s\"");
    let provider = Provider::new(&config, Some("a_secret_of_thirty_two_characters")).unwrap();
    assert_eq!(by_code(&net, &provider, &browser, ALICE).unwrap_err().code(), "SR-OID-0006");
}
