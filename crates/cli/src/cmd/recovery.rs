//! `strongroom safe-mode` and `strongroom break-glass`. Codes stay here: the node gets signatures by the keys that
//! they are the seeds of.

use std::io::Write;
use std::path::Path;
use std::time::Duration;

use base::Secret;
use base::names::Name;
use ops::recovery::{Act, HOLDERS_MAX, Holder, signed_bytes};
use ops::{List, Text};
use serde_json::json;
use zeroize::Zeroize;

use super::sign::read_bounded;
use crate::args::{BreakGlassCommand, Codes, SafeModeCommand};
use crate::client::{Client, route};
use crate::clock::Stopwatch;
use crate::error::{CliError, Failure};
use crate::output::{Answer, View};
use crate::progress::say;
use crate::recovery_code::Code;
use crate::session::Session;

/// Longest file of codes: 16 lines of a name and a code, with room.
const CODES_MAX: u64 = 4096;
/// How long the node may take to change its mode: the warden asks each quarter of a second, and control has five
/// seconds to leave and as long to come up.
const SETTLES_WITHIN: Duration = Duration::from_secs(30);
/// How often it is asked meanwhile.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// A holder with their code.
struct Signing {
    name: String,
    code: Code,
}

/// Runs a verb of `safe-mode`.
pub(crate) fn safe_mode(session: &Session, command: SafeModeCommand) -> Result<Answer, Failure> {
    let client = session.client()?;
    match command {
        SafeModeCommand::Status => Ok(answer(&look(&client)?)),
        SafeModeCommand::Enter { reason, even_unsealed } => {
            let before = look(&client)?;
            let body = api::SafeModeEnter { reason, even_unsealed };
            let path = route(&["safe-mode", &before.node, "enter"]);
            let _entered: api::SafeMode = client.post(&path, &body)?;
            Ok(answer(&settled(session, true)?).hint(
                "two holders of recovery codes leave it with `strongroom safe-mode leave --reason TEXT`",
            ))
        }
        SafeModeCommand::Leave { reason, codes } => {
            let before = look(&client)?;
            let act = Act::Leave { reason: clipped(&reason)? };
            let proofs = proofs(session, &act, &before, &codes, 2)?;
            let path = route(&["safe-mode", &before.node, "leave"]);
            let _left: api::SafeMode = client.post(&path, &api::SafeModeLeave { reason, proofs })?;
            Ok(answer(&settled(session, false)?)
                .hint("jobs go on and endpoints are served again by themselves"))
        }
    }
}

/// Runs a verb of `break-glass`.
pub(crate) fn break_glass(session: &Session, command: BreakGlassCommand) -> Result<Answer, Failure> {
    let client = session.client()?;
    match command {
        BreakGlassCommand::Seal { holders, codes } => seal(session, &client, &holders, &codes),
        BreakGlassCommand::Open { reason, minutes, codes } => {
            let before = look(&client)?;
            let seconds = minutes.saturating_mul(60);
            let act = Act::Open { reason: clipped(&reason)?, seconds };
            let proofs = proofs(session, &act, &before, &codes, 1)?;
            let body = api::BreakGlassOpen { reason, seconds, proofs };
            let _opened: api::SafeMode = client.post("/break-glass/open", &body)?;
            Ok(answer(&settled(session, true)?).hint("close it with `strongroom break-glass close`"))
        }
        BreakGlassCommand::Close => {
            let closed: api::SafeMode = client.act("/break-glass/close")?;
            Ok(answer(&closed))
        }
    }
}

fn seal(session: &Session, client: &Client, names: &[Name], codes: &Codes) -> Result<Answer, Failure> {
    let before = look(client)?;
    let mut made = Vec::new();
    for name in names {
        let mut bits = [0u8; 16];
        getrandom::fill(&mut bits)
            .map_err(|_| CliError::Usage("the kernel gives no random bytes".to_owned()))?;
        made.push(Signing { name: name.to_string(), code: Code::new(u128::from_le_bytes(bits)) });
        bits.zeroize();
    }
    let holder = |of: &Signing| Ok::<_, Failure>((of.name.clone(), *signer(&of.code)?.verifier().public()));
    let keys = made.iter().map(holder).collect::<Result<Vec<_>, _>>()?;
    let holders = keys.iter().map(|(name, key)| Holder { name: Text::clip(name), key: *key });
    let too_many = |_| CliError::Usage(format!("at most {HOLDERS_MAX} people hold recovery codes"));
    let act = Act::Seal { holders: List::new(holders.collect()).map_err(too_many)? };
    let proofs =
        if before.holders.is_empty() { Vec::new() } else { proofs(session, &act, &before, codes, 2)? };
    let holders =
        keys.iter().map(|(name, key)| api::Holder { name: name.clone(), key: base::digest::hex(key) });
    let body = api::BreakGlassSeal { holders: holders.collect(), proofs };
    let _sealed: api::SafeMode = client.post("/break-glass/seal", &body)?;
    let codes: Vec<_> =
        made.iter().map(|of| json!({ "holder": of.name, "code": of.code.written() })).collect();
    let document = json!({ "schema": "strongroom.recovery-codes/1", "node": before.node, "codes": codes });
    let lines: Vec<String> =
        made.iter().map(|of| format!("{:<20} {}\n", of.name, of.code.written())).collect();
    let text =
        format!("Recovery codes of node `{}`; they are not shown again:\n\n{}", before.node, lines.concat());
    Ok(Answer::text(document, text)
        .hint("give each holder theirs on paper, sealed; one opens break-glass, two leave safe mode"))
}

fn look(client: &Client) -> Result<api::SafeMode, Failure> {
    client.get("/safe-mode")
}

/// Waits until the node runs what runs in this mode. Control starts anew meanwhile, so it does not answer for a moment.
fn settled(session: &Session, safe: bool) -> Result<api::SafeMode, Failure> {
    let began = Stopwatch::start();
    loop {
        let found = session.client().and_then(|client| look(&client));
        match found {
            Ok(found) if found.safe == safe && found.settled => return Ok(found),
            Ok(_) | Err(_) if began.elapsed() < SETTLES_WITHIN => {
                std::thread::sleep(LOOK_EVERY);
            }
            Ok(_) => {
                let what = "the change of mode, which is made and shows in `strongroom safe-mode status`";
                return Err(
                    CliError::TimedOut { what: what.to_owned(), seconds: SETTLES_WITHIN.as_secs() }.into()
                );
            }
            Err(failure) => return Err(failure),
        }
    }
}

/// Signatures of so many holders under the challenge that the node gave.
fn proofs(
    session: &Session,
    act: &Act,
    before: &api::SafeMode,
    codes: &Codes,
    count: usize,
) -> Result<Vec<api::Proof>, Failure> {
    let challenge: Option<[u8; 32]> =
        base::digest::unhex(&before.challenge).and_then(|bytes| bytes.try_into().ok());
    let challenge = challenge.ok_or_else(|| CliError::Answer {
        what: "/safe-mode".to_owned(),
        reason: "its challenge is not 64 hex digits".to_owned(),
    })?;
    let signing = match &codes.codes {
        Some(path) => from_file(path)?,
        None => asked(session, before, count)?,
    };
    let signed = signed_bytes(act, &challenge);
    let sign = |of: &Signing| {
        let signature = base::digest::hex(&signer(&of.code)?.sign_raw(&signed));
        Ok(api::Proof { holder: of.name.clone(), signature })
    };
    signing.iter().take(count).map(sign).collect()
}

fn signer(code: &Code) -> Result<audit::Signer, Failure> {
    code.signer().map_err(|e| CliError::Usage(e.to_string()).into())
}

/// What is signed is what is sent, so it may not be cut on its way.
fn clipped(reason: &str) -> Result<Text<1024>, Failure> {
    Text::new(reason).map_err(|e| CliError::Usage(format!("--reason: {e}")).into())
}

fn from_file(path: &Path) -> Result<Vec<Signing>, Failure> {
    let refuse = |line: usize, reason: String| CliError::Content {
        path: path.to_owned(),
        reason: format!("line {line}: {reason}"),
    };
    let text = Secret::new(read_bounded(path, CODES_MAX)?);
    text.expose(|bytes| {
        let text = std::str::from_utf8(bytes).map_err(|_| refuse(1, "not UTF-8".to_owned()))?;
        let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
        let of = |(number, line): (usize, &str)| {
            let number = number.saturating_add(1);
            let (name, code) = line.trim().split_once(char::is_whitespace).unwrap_or((line.trim(), ""));
            let code = Code::parse(code).map_err(|e| refuse(number, e.to_string()))?;
            Ok(Signing { name: name.to_owned(), code })
        };
        lines.map(of).collect()
    })
}

/// Asks at the terminal.
fn asked(session: &Session, before: &api::SafeMode, count: usize) -> Result<Vec<Signing>, Failure> {
    if !session.can_ask() {
        return Err(CliError::Usage(
            "give the recovery codes with `--codes FILE`: there is nobody to ask".to_owned(),
        )
        .into());
    }
    say(&format!("recovery codes are held by {}", before.holders.join(", ")));
    let mut signing = Vec::new();
    while signing.len() < count {
        let name = prompt("holder: ", true)?;
        let code = Secret::new(prompt("recovery code (not shown): ", false)?);
        match code.expose(|text| Code::parse(text.trim())) {
            Ok(code) => signing.push(Signing { name: name.trim().to_owned(), code }),
            Err(error) => say(&error.to_string()),
        }
    }
    Ok(signing)
}

/// One line from the terminal.
fn prompt(words: &str, shown: bool) -> Result<String, Failure> {
    use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
    let terminal = |source: std::io::Error| CliError::File { act: "ask at", path: "/dev/tty".into(), source };
    let stdin = std::io::stdin();
    let before = tcgetattr(&stdin).map_err(|e| terminal(e.into()))?;
    if !shown {
        let mut silent = before.clone();
        silent.local_modes.remove(LocalModes::ECHO);
        tcsetattr(&stdin, OptionalActions::Flush, &silent).map_err(|e| terminal(e.into()))?;
    }
    let mut line = String::new();
    let mut ask = || {
        std::io::stderr().write_all(words.as_bytes())?;
        stdin.read_line(&mut line)
    };
    let read = ask();
    if !shown {
        tcsetattr(&stdin, OptionalActions::Flush, &before).map_err(|e| terminal(e.into()))?;
        say("");
    }
    match read.map_err(terminal)? {
        0 => Err(CliError::Usage("nothing was typed".to_owned()).into()),
        _ => Ok(line),
    }
}

fn answer(mode: &api::SafeMode) -> Answer {
    let mut text = match (&mode.since, &mode.by, &mode.reason) {
        (Some(since), Some(by), Some(reason)) if mode.safe => {
            format!("! node `{}` is in safe mode since {since}, by {by}: {reason}\n", mode.node)
        }
        _ => format!("✓ node `{}` is not in safe mode\n", mode.node),
    };
    if !mode.settled {
        text.push_str("! it is changing its mode\n");
    }
    if let Some(open) = &mode.break_glass {
        text.push_str(&format!(
            "! break-glass is open until {}, by {}: {}\n",
            open.ends, open.holder, open.reason
        ));
    }
    text.push_str(&match mode.holders.as_slice() {
        [] => "! nobody holds recovery codes: make them with `strongroom break-glass seal`\n".to_owned(),
        holders => format!("  recovery codes are held by {}\n", holders.join(", ")),
    });
    Answer::of(api::to_json(mode), View::Text { text, rows: "", columns: &[] })
}
