//! Values that look like secrets never reach a record.
//!
//! A record is shown to more people than an environment is, and lives longer. A value is withheld if its name
//! says secret or if it has the form of one; a setting such as `max_tokens` or `tokenizer` is kept, because
//! names are compared word by word.

/// What stands in place of a value.
const WITHHELD: &str = "[redacted]";

/// Words of a name that say secret.
const WORDS: [&str; 18] = [
    "apikey",
    "auth",
    "authorization",
    "bearer",
    "cookie",
    "credential",
    "credentials",
    "cred",
    "creds",
    "key",
    "passphrase",
    "passwd",
    "password",
    "pat",
    "pwd",
    "secret",
    "secrets",
    "token",
];

/// Beginnings of well-known credentials, and of private keys.
const PREFIXES: [&str; 12] = [
    "-----BEGIN",
    "AKIA",
    "ASIA",
    "AIza",
    "eyJ",
    "gho_",
    "ghp_",
    "github_pat_",
    "glpat-",
    "hf_",
    "sk-",
    "xox",
];

/// The value of a variable as it may be written.
pub fn environment_value(name: &str, value: &str) -> String {
    if !value.is_empty() && (secret_name(name) || secret_value(value)) {
        WITHHELD.to_owned()
    } else {
        value.to_owned()
    }
}

/// A command line as it may be written: `--token=x`, `--token x` and `TOKEN=x` lose their value.
pub fn command(arguments: &[String]) -> Vec<String> {
    let mut withhold_next = false;
    let mut out = Vec::with_capacity(arguments.len());
    for argument in arguments {
        let option = argument.starts_with('-');
        if withhold_next && !option {
            out.push(WITHHELD.to_owned());
            withhold_next = false;
            continue;
        }
        withhold_next = false;
        match argument.split_once('=') {
            Some((name, value)) => out.push(format!("{name}={}", environment_value(name, value))),
            None if option => {
                withhold_next = secret_name(argument);
                out.push(argument.clone());
            }
            None => out.push(environment_value("", argument)),
        }
    }
    out
}

fn secret_name(name: &str) -> bool {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut before_lower = false;
    for c in name.chars() {
        if !c.is_ascii_alphanumeric() || (c.is_ascii_uppercase() && before_lower) {
            words.push(std::mem::take(&mut word));
        }
        if c.is_ascii_alphanumeric() {
            word.push(c.to_ascii_lowercase());
        }
        before_lower = c.is_ascii_lowercase();
    }
    words.push(word);
    words.iter().any(|w| WORDS.contains(&w.as_str()))
}

fn secret_value(value: &str) -> bool {
    // A URL with a password: scheme://user:password@host.
    let authority = value.split_once("://").and_then(|(_, rest)| rest.split('/').next());
    PREFIXES.iter().any(|prefix| value.starts_with(prefix) && value.len() > prefix.len().saturating_add(8))
        || authority.and_then(|a| a.rsplit_once('@')).is_some_and(|(user, _)| user.contains(':'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_withheld_and_settings_are_kept() {
        for (name, value) in [
            ("AWS_SECRET_ACCESS_KEY", "x"),
            ("apiKey", "x"),
            ("DB_PASSWORD", "x"),
            ("HF_TOKEN", "x"),
            ("proxy", "http://user:pw@host/"),
            ("x", "hf_abcdefghijklmn"),
            ("x", "-----BEGIN PRIVATE KEY-----"),
            ("x", "eyJhbGciOiJIUzI1NiJ9.e30.abc"),
        ] {
            assert_eq!(environment_value(name, value), WITHHELD, "{name}");
        }
        for (name, value) in [
            ("max_tokens", "512"),
            ("TOKENIZER", "bpe"),
            ("MONKEY", "1"),
            ("PATH", "/usr/bin"),
            ("HF_TOKEN", ""),
            ("url", "https://host:8443/a@b"),
            ("OMP_NUM_THREADS", "2"),
        ] {
            assert_eq!(environment_value(name, value), value, "{name}");
        }
    }

    #[test]
    fn arguments_lose_their_secrets_in_each_spelling() {
        let given =
            ["train.py", "--token", "abc", "--api-key=def", "PASSWORD=ghi", "--lr", "0.1", "--token", "--x"];
        let given: Vec<String> = given.iter().map(ToString::to_string).collect();
        let kept = command(&given).join(" ");
        assert_eq!(
            kept,
            "train.py --token [redacted] --api-key=[redacted] PASSWORD=[redacted] --lr 0.1 --token --x"
        );
    }
}
