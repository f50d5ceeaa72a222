//! `strongroom login` and `strongroom logout`.

mod loopback;

use std::io::BufRead;
use std::process::{Command, Stdio};
use std::time::Duration;

use base::names::Name;
use clap::ValueEnum;

use super::people::{role_name, session_columns};
use crate::args::{LoginArgs, LoginBy};
use crate::client::Client;
use crate::clock::Stopwatch;
use crate::context::{forget_login, write_login};
use crate::error::{CliError, Failure};
use crate::output::Answer;
use crate::progress::say;
use crate::session::Session;
use loopback::{Callback, Loopback};

/// How long a login may take; the node gives it as long.
const LASTS: Duration = Duration::from_secs(600);
/// Longest code that is typed in.
const TYPED_MAX: u64 = 1024;

/// Proves who one is, and keeps the session for the commands that follow.
pub(crate) fn login(session: &Session, args: &LoginArgs) -> Result<Answer, Failure> {
    let client = session.stranger()?;
    let method = method(&client, args)?;
    // Listens before anything begins: a port that is not free is known early.
    let listens = method != LoginBy::Device && !args.code;
    let loopback = listens.then(Loopback::bind).transpose()?;
    let begin = api::LoginBegin {
        method: method.as_str().to_owned(),
        redirect: loopback.as_ref().map(Loopback::address),
        tenant: args.tenant.tenant.as_ref().map(Name::to_string),
        role: role_name(args.role),
    };
    let begun: api::Login = client.post("/login", &begin)?;
    announce(&begun, args);
    let done = match (&loopback, begun.interval) {
        (_, Some(interval)) => poll(&client, &begun, interval)?,
        (Some(loopback), None) => {
            let Callback { code, state } = loopback.wait(LASTS, loopback::state_of(&begun.url).as_deref())?;
            finish_by_code(&client, &begun, &code, state.as_deref())?
        }
        (None, None) => finish_by_code(&client, &begun, &typed()?, None)?,
    };
    let mut opened = done.session.ok_or_else(|| CliError::Answer {
        what: "/login/finish".to_owned(),
        reason: "it holds no session".to_owned(),
    })?;
    let token = opened.token.take().unwrap_or_default();
    session.remember_server()?;
    let (place, _) = session.place()?;
    write_login(&place, &token)?;
    Ok(Answer::record(&opened, session_columns()).hint(
        "the commands that follow act as this person at that node; `strongroom logout` ends that".to_owned(),
    ))
}

/// The way that is asked for, or the first that the node offers.
fn method(client: &Client, args: &LoginArgs) -> Result<LoginBy, Failure> {
    let offered: api::LoginMethods = client.get("/login")?;
    let is_offered = |by: &LoginBy| offered.methods.iter().any(|method| method == by.as_str());
    let first = || {
        offered
            .methods
            .iter()
            .find_map(|name| LoginBy::value_variants().iter().find(|by| by.as_str() == name))
    };
    args.by.filter(is_offered).or_else(|| first().copied().filter(|_| args.by.is_none())).ok_or_else(|| {
        let offers = match offered.methods.as_slice() {
            [] => "no logins".to_owned(),
            methods => format!("logins by {}", methods.join(", ")),
        };
        CliError::NoLogin(offers).into()
    })
}

fn announce(begun: &api::Login, args: &LoginArgs) {
    match &begun.user_code {
        Some(code) => say(&format!("open {}\nand type the code {code}", begun.url)),
        None => say(&format!("open this address in your browser:\n{}", begun.url)),
    }
    if args.browser && !open_browser(&begun.url) {
        say("no browser could be opened here");
    }
}

/// Hands an address to the desktop, as an argument and never through a shell.
fn open_browser(url: &str) -> bool {
    let opened = Command::new("xdg-open")
        .arg(url)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    opened.is_ok_and(|status| status.success())
}

fn finish(
    client: &Client,
    begun: &api::Login,
    code: Option<String>,
    state: Option<String>,
) -> Result<api::LoginResult, Failure> {
    client.post("/login/finish", &api::LoginFinish { login: begun.login.clone(), code, state })
}

/// Ends it by a code; the node may be busy for a moment.
fn finish_by_code(
    client: &Client,
    begun: &api::Login,
    code: &str,
    state: Option<&str>,
) -> Result<api::LoginResult, Failure> {
    let watch = Stopwatch::start();
    while watch.elapsed() < LASTS {
        let result = finish(client, begun, Some(code.to_owned()), state.map(str::to_owned))?;
        match (&result.session, result.interval) {
            (None, Some(seconds)) => std::thread::sleep(Duration::from_secs(seconds.clamp(1, 60))),
            _ => return Ok(result),
        }
    }
    Err(CliError::LoginLate.into())
}

/// Asks again and again whether it is done.
fn poll(client: &Client, begun: &api::Login, mut interval: u64) -> Result<api::LoginResult, Failure> {
    let watch = Stopwatch::start();
    while watch.elapsed() < LASTS {
        std::thread::sleep(Duration::from_secs(interval.clamp(1, 60)));
        let result = finish(client, begun, None, None)?;
        if result.session.is_some() {
            return Ok(result);
        }
        interval = result.interval.unwrap_or(interval);
    }
    Err(CliError::LoginLate.into())
}

/// One line of standard input.
fn typed() -> Result<String, Failure> {
    say("type the code that the browser shows, then Enter:");
    let mut line = String::new();
    let mut input = std::io::Read::take(std::io::stdin().lock(), TYPED_MAX);
    input.read_line(&mut line).map_err(CliError::file("read", std::path::Path::new("standard input")))?;
    match line.trim() {
        "" => Err(CliError::Usage("no code was typed".to_owned()).into()),
        code => Ok(code.to_owned()),
    }
}

/// Ends the session on the node, and forgets it here whatever the node says.
pub(crate) fn logout(session: &Session) -> Result<Answer, Failure> {
    let (place, _) = session.place()?;
    let ended: Result<api::Session, Failure> = session.client().and_then(|client| client.act("/logout"));
    let forgotten = forget_login(&place)?;
    match ended {
        Ok(ended) => Ok(Answer::record(&ended, session_columns())),
        Err(failure) if forgotten => {
            say("the session is forgotten here; the node did not end it:");
            Err(failure)
        }
        Err(failure) => Err(failure),
    }
}
