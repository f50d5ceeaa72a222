//! Where a browser hands over to a program of the same machine (RFC 8252, section 7.3).

/// Longest redirect, in bytes.
pub const REDIRECT_MAX: usize = 128;

/// An address of this machine alone: `http://127.0.0.1:PORT/PATH` or `http://[::1]:PORT/PATH`. Not `localhost`, which a
/// machine may resolve to something else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redirect(String);

impl Redirect {
    /// Reads an address that has one reading: no user, no query, nothing to be decoded.
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() > REDIRECT_MAX {
            return None;
        }
        let rest = text.strip_prefix("http://127.0.0.1:").or_else(|| text.strip_prefix("http://[::1]:"))?;
        let (port, path) = rest.split_once('/')?;
        let number: u16 = port.parse().ok()?;
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '/');
        let fits = number != 0 && number.to_string() == port && path.chars().all(plain);
        fits.then(|| Self(text.to_owned()))
    }

    /// The address with what is handed over. Both must be plain: letters, digits, `-` and `_`.
    pub fn with(&self, code: &str, state: &str) -> String {
        format!("{}?code={code}&state={state}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_an_address_of_this_machine_with_one_reading() {
        for good in ["http://127.0.0.1:1024/callback", "http://[::1]:65535/", "http://127.0.0.1:8080/a-b_c/d"]
        {
            assert_eq!(Redirect::parse(good).unwrap().with("C", "S"), format!("{good}?code=C&state=S"));
        }
        let long = format!("http://127.0.0.1:1024/{}", "a".repeat(REDIRECT_MAX));
        for bad in [
            "",
            "https://127.0.0.1:1024/",
            "http://127.0.0.1/",
            "http://127.0.0.1:0/",
            "http://127.0.0.1:00080/",
            "http://127.0.0.1:+80/",
            "http://127.0.0.1:65536/",
            "http://127.0.0.1:1024",
            "http://localhost:1024/",
            "http://127.0.0.2:1024/",
            "http://127.0.0.1.evil.example:1024/",
            "http://127.0.0.1:1024@evil.example/",
            "http://evil.example:1024/",
            "http://127.0.0.1:1024/?x",
            "http://127.0.0.1:1024/#x",
            "http://127.0.0.1:1024/%61",
            "http://127.0.0.1:1024/..",
            "http://127.0.0.1:1024/\\evil.example",
            "HTTP://127.0.0.1:1024/",
            " http://127.0.0.1:1024/",
            "http://127.0.0.1:1024/\n",
            &long,
        ] {
            assert_eq!(Redirect::parse(bad), None, "{bad}");
        }
    }
}
