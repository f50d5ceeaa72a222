//! Why a request was not done: what the caller is told, and what stays in the node's own log.

use api::shape::REASON_MAX;
use base::Explain;

/// A failure with its place in the API: status, stable code, message, cause and next step.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{title}")]
pub struct Fail {
    /// HTTP status, 4xx or 5xx.
    pub status: u16,
    /// Stable code.
    pub code: String,
    /// What went wrong.
    pub title: String,
    /// Why.
    pub detail: Option<String>,
    /// The next step.
    pub help: Option<String>,
    /// A header that belongs to the status: `Allow` with 405, `Retry-After` with 429.
    pub header: Option<Box<(&'static str, String)>>,
}

impl Fail {
    fn make(status: u16, code: &str, title: impl Into<String>, help: Option<&str>) -> Self {
        let help = help.map(str::to_owned);
        Self { status, code: code.to_owned(), title: title.into(), detail: None, help, header: None }
    }

    /// Adds why.
    #[must_use]
    pub fn because(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// Replaces the next step.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// What the caller named does not exist, or is not for the caller to know.
    pub fn not_found(what: &str, name: &str) -> Self {
        Self::make(
            404,
            "SR-CTL-0001",
            format!("there is no {what} `{}`", printable(name)),
            Some(
                "list what there is with `strongroom tenant list`, `strongroom dataset list` or `strongroom model list`",
            ),
        )
    }

    /// The request cannot be.
    pub fn invalid(reason: impl Into<String>) -> Self {
        Self::make(400, "SR-CTL-0002", reason, Some("see `strongroom --help`"))
    }

    /// It is there already, or the state does not allow it.
    pub fn conflict(reason: impl Into<String>) -> Self {
        Self::make(409, "SR-CTL-0003", reason, Some("see the present state with `strongroom status`"))
    }

    /// Nobody that the node knows.
    pub fn unauthenticated(reason: impl Into<String>) -> Self {
        Self::make(
            401,
            "SR-CTL-0004",
            reason,
            Some("give a key with `--key-file FILE`; the operator makes one with `strongroom key create`"),
        )
    }

    /// Known, but not allowed. Only where the thing's existence is no secret.
    pub fn forbidden(reason: impl Into<String>) -> Self {
        Self::make(403, "SR-CTL-0005", reason, Some("see who you are with `strongroom whoami`"))
    }

    /// A session proves that somebody logged in some time ago, and this asks for a proof of now (RFC 9470).
    pub fn needs_fresh_proof(operation: &str) -> Self {
        let title = format!("`{operation}` needs a proof of who you are that is a few minutes old at most");
        let help = "prove it again with `strongroom login`, then repeat the command";
        let mut fail = Self::make(401, "SR-ACC-0001", title, Some(help));
        let challenge = "Bearer error=\"insufficient_user_authentication\", error_description=\"a fresh proof is needed\", max_age=0";
        fail.header = Some(Box::new(("www-authenticate", challenge.to_owned())));
        fail
    }

    /// What one person does not do alone.
    pub fn needs_approval(operation: &str, tenant: Option<&str>, thing: &str) -> Self {
        let title = format!("`{operation}` needs the approval of another person");
        let mut parts = thing.splitn(3, '/');
        let thing: Vec<&str> = parts.by_ref().take(2).collect();
        let tenant = tenant.map(|name| format!(" --tenant {}", printable(name))).unwrap_or_default();
        let help = format!(
            "ask for it with `strongroom access approval request {operation} {}{tenant} --reason TEXT`",
            printable(&thing.join("/"))
        );
        Self::make(403, "SR-ACC-0002", title, Some(&help))
    }

    /// What is not done in safe mode.
    pub fn in_safe_mode(operation: &str) -> Self {
        let title = format!("the node is in safe mode, in which `{operation}` is not done");
        Self::make(
            503,
            "SR-RES-0001",
            title,
            Some("see why, and who can lift it, with `strongroom safe-mode status`"),
        )
    }

    /// Who made it does not release it.
    pub fn made_by_the_same(thing: &str, who: &str) -> Self {
        let title = format!("`{thing}` was made by `{who}`, who does not release it: that takes another");
        Self::make(
            403,
            "SR-ACC-0003",
            title,
            Some("let another deploy it; see who you are with `strongroom whoami`"),
        )
    }

    /// Somebody failed too often in a row to prove that they are this person (NIST SP 800-63B-4 section 3.2.2).
    pub fn locked_out(user: &str, wait_ms: u64) -> Self {
        let seconds = wait_ms.div_ceil(1000).max(1);
        let title = format!("too many attempts in a row to log in as `{}` failed", printable(user));
        let help = format!("try again in {seconds} s; see who tried with `strongroom audit search`");
        let mut fail = Self::make(429, "SR-ACC-0010", title, Some(&help));
        fail.header = Some(Box::new(("retry-after", seconds.to_string())));
        fail
    }

    /// A link that was good for one thing, once, and is not any more.
    pub fn link_over(reason: &str) -> Self {
        Self::make(404, "SR-ACC-0011", reason, None)
    }

    /// More would leave than a cap allows.
    pub fn over_cap(reason: impl Into<String>) -> Self {
        Self::make(403, "SR-EGR-0001", reason, Some("see what left with `strongroom access egress`"))
    }

    /// The answer is no: what was asked for does not verify or may not be used.
    pub fn refused(code: &str, reason: impl Into<String>) -> Self {
        Self::make(422, code, reason, Some("see why with `strongroom audit search`"))
    }

    /// Not now: too much of the same caller is under way.
    pub fn busy(reason: impl Into<String>) -> Self {
        Self::make(
            429,
            "SR-CTL-0015",
            reason,
            Some("try again when one of your requests or watches has ended"),
        )
    }

    /// The path is one of the table, and has no such method.
    pub fn no_such_method(method: &str, allow: String) -> Self {
        let title = format!("there is no `{}` here, only {allow}", printable(method));
        let mut fail =
            Self::make(405, "SR-API-0001", title, Some("see every endpoint with `strongroom api openapi`"));
        fail.header = Some(Box::new(("allow", allow)));
        fail
    }

    /// The body is of another type than the endpoint reads.
    pub fn unsupported_type(wanted: &str) -> Self {
        let title = format!("the request body is not `{wanted}`, as its `Content-Type` must say");
        Self::make(
            415,
            "SR-API-0002",
            title,
            Some("see what each endpoint takes with `strongroom api openapi`"),
        )
    }

    /// Too many requests in a short time.
    pub fn too_many(reason: &str, wait_ms: u64) -> Self {
        let seconds = wait_ms.div_ceil(1000).max(1);
        let help = format!("try again in {seconds} s, and ask less often");
        let mut fail = Self::make(429, "SR-API-0003", reason, Some(&help));
        fail.header = Some(Box::new(("retry-after", seconds.to_string())));
        fail
    }

    /// A cursor that this list did not give out.
    pub fn not_a_cursor() -> Self {
        Self::make(
            400,
            "SR-API-0004",
            "`after` is not a cursor of this list",
            Some("begin at the first page, and pass on `next` of each as it came"),
        )
    }

    /// An idempotency key that cannot be one.
    pub fn not_an_idempotency_key(reason: impl Into<String>) -> Self {
        Self::make(
            400,
            "SR-API-0005",
            reason,
            Some(
                "write 1 to 64 printable characters in double quotes, new ones for each thing that is to be made",
            ),
        )
    }

    /// The first request with this idempotency key is still under way.
    pub fn still_under_way() -> Self {
        Self::make(
            409,
            "SR-API-0006",
            "a request with this idempotency key is still under way",
            Some("try again when it has ended"),
        )
    }

    /// The idempotency key stands for another request.
    pub fn key_of_another_request() -> Self {
        Self::make(
            422,
            "SR-API-0007",
            "this idempotency key stands for another request",
            Some("take a new key for each thing that is to be made"),
        )
    }

    /// A limit.
    pub fn too_large(reason: impl Into<String>) -> Self {
        Self::make(413, "SR-CTL-0006", reason, Some("see the limits with `strongroom doctor`"))
    }

    /// Something that the node needs is not there now.
    pub fn unavailable(reason: impl Into<String>, error: impl std::fmt::Display) -> Self {
        Self::make(503, "SR-CTL-0007", reason, Some("see which process is down with `strongroom status`"))
            .because(error.to_string())
    }

    /// The disk is full or failing.
    pub fn storage(reason: impl Into<String>, error: impl std::fmt::Display) -> Self {
        Self::make(
            507,
            "SR-CTL-0008",
            reason,
            Some("free space below the state directory, then try again; see `strongroom doctor`"),
        )
        .because(error.to_string())
    }

    /// A defect of the platform or the machine.
    pub fn internal(reason: impl Into<String>, error: impl std::fmt::Display) -> Self {
        Self::make(
            500,
            "SR-CTL-0009",
            reason,
            Some("see the node's own log named by `strongroom status`, and report it"),
        )
        .because(error.to_string())
    }

    /// A failure that carries its own code and next step.
    pub fn explained(status: u16, error: &(impl Explain + 'static)) -> Self {
        let mut fail = Self::make(status, error.code(), error.to_string(), error.help());
        if let Some(source) = error.source() {
            fail.detail = Some(base::error::chain(source));
        }
        fail
    }

    /// Whether this says that stored bytes or their key are not what was recorded. Only that is a reason to set
    /// something aside for ever: a full disk, a used-up budget or a busy node says nothing about the bytes.
    pub(crate) fn is_about_bytes(&self) -> bool {
        matches!(
            self.code.as_str(),
            // vault::SefError: format, size, key, header, content, chunk.
            "SR-SEF-0001" | "SR-SEF-0002" | "SR-SEF-0003" | "SR-SEF-0004" | "SR-SEF-0005" | "SR-SEF-0006"
                | "SR-SEF-0007" | "SR-SEF-0008"
                // The wrapped key does not open; the object is gone, or in quarantine already.
                | "SR-KEY-0001" | "SR-STO-0005" | "SR-CTL-0010"
                // The porter could not open it; the warden found another digest in the mount.
                | "SR-PRT-0006" | "SR-PRT-0007" | "SR-WRD-0004"
        )
    }

    /// Title and cause in one line, for events and the node's log.
    pub fn line(&self) -> String {
        match &self.detail {
            Some(detail) => format!("{}: {detail}", self.title),
            None => self.title.clone(),
        }
    }
}

/// Why something is done, as whoever does it says for the log: one line.
pub(crate) fn reason(text: &str) -> Result<&str, Fail> {
    let text = text.trim();
    if text.is_empty() || text.chars().count() > REASON_MAX || text.chars().any(char::is_control) {
        let wanted = format!("say why, in one line of at most {REASON_MAX} characters: `--reason TEXT`");
        return Err(Fail::invalid(wanted));
    }
    Ok(text)
}

/// Text from outside, made safe for a terminal and short.
pub(crate) fn printable(text: &str) -> String {
    text.chars().take(80).flat_map(char::escape_debug).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_evidence_about_the_bytes_sets_something_aside() {
        let with = |code: &str| Fail { code: code.to_owned(), ..Fail::refused("", "x") };
        let sealed = |e: vault::SefError| Fail::explained(422, &e);
        for about in
            [sealed(vault::SefError::WrongKey), sealed(vault::SefError::HeaderForged), with("SR-WRD-0004")]
        {
            assert!(about.is_about_bytes(), "{about:?}");
        }
        // The budget, a full disk, a busy warden, a cipher that failed, a lack of space in the mount.
        for other in
            ["SR-KPR-0021", "SR-KPR-0012", "SR-WRD-0002", "SR-WRD-0003", "SR-PRT-0009", "SR-HST-0001"]
        {
            assert!(!with(other).is_about_bytes(), "{other}");
        }
        assert!(!sealed(vault::SefError::Cipher).is_about_bytes());
    }
}
