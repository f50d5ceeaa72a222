//! What every command works with: the style of its output, and the node and caller that the flags name.

use std::env;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use base::Secret;
use base::names::Name;

use crate::args::{Global, ServerUrl, TenantArg, When};
use crate::client::{Caller, Client, route};
use crate::clock;
use crate::context::{
    STATE_VARIABLE, find_state, read_authority, read_context, read_key, read_login, write_server,
};
use crate::error::{CliError, Failure};
use crate::identity::Identity;
use crate::output::{Format, Style};
use crate::progress::{Mode, say};

/// The resolved options of one run of the program.
#[derive(Debug)]
pub(crate) struct Session {
    /// How results look.
    pub(crate) style: Style,
    /// Colour on standard error.
    pub(crate) color_talk: bool,
    /// How progress is shown.
    pub(crate) progress: Mode,
    state: Option<PathBuf>,
    key_file: Option<PathBuf>,
    server: Option<ServerUrl>,
    ca: Option<PathBuf>,
    identity: Option<PathBuf>,
    no_input: bool,
}

impl Session {
    /// From the flags and the environment.
    pub(crate) fn new(global: &Global) -> Self {
        let color_out = color(global.color, std::io::stdout().is_terminal());
        let color_talk = color(global.color, std::io::stderr().is_terminal());
        Self {
            style: Style {
                format: global.output,
                fields: global.fields.clone(),
                utc: global.utc,
                color: color_out && global.output == Format::Text,
                now: clock::now(),
            },
            color_talk: color_talk && matches!(global.output, Format::Text | Format::Csv),
            progress: global.progress,
            state: global.state.clone(),
            key_file: global.key_file.clone(),
            server: global.server.clone(),
            ca: global.ca.clone(),
            identity: global.identity.clone(),
            no_input: global.no_input,
        }
    }

    /// Whether somebody can be asked.
    pub(crate) fn can_ask(&self) -> bool {
        !self.no_input && std::io::stdin().is_terminal() && std::io::stderr().is_terminal()
    }

    /// The `--state` flag.
    pub(crate) fn state_flag(&self) -> Option<&Path> {
        self.state.as_deref()
    }

    /// The node that is meant.
    ///
    /// # Errors
    /// None is known, or the key file cannot be used.
    pub(crate) fn client(&self) -> Result<Client, Failure> {
        let client = self.client_as_it_is()?;
        let (Some(server), Some(dir)) = (&self.server, &self.identity) else { return Ok(client) };
        let mut identity = Identity::read(dir)?;
        if !identity.validity.is_due(clock::now()) {
            return Ok(client);
        }
        match identity.renew(&self.of_service(server, &identity, None)?) {
            Ok(_) => self.of_service(server, &identity, self.bound_key()?),
            Err(failure) => {
                let until = identity.validity.until;
                say(&format!("the certificate, good until {until}, was not renewed: {}", failure.what));
                Ok(client)
            }
        }
    }

    /// As [`Session::client`], with the certificate of the identity as it is.
    ///
    /// # Errors
    /// As [`Session::client`].
    pub(crate) fn client_as_it_is(&self) -> Result<Client, Failure> {
        let Some(server) = self.server()? else {
            let (state, _) = find_state(self.state.as_deref())?;
            let key = match read_key(self.key_file.as_deref())? {
                Some(key) => Some(key),
                None => read_login(&state.display().to_string())?,
            };
            return Client::new(&state, key);
        };
        if let Some(dir) = &self.identity {
            let identity = Identity::read(dir)?;
            identity.must_be_valid(clock::now())?;
            return self.of_service(&server, &identity, self.bound_key()?);
        }
        let key = match read_key(self.key_file.as_deref())? {
            Some(key) => Some(key),
            None => read_login(&server.to_string())?,
        };
        let Some(key) = key else {
            let what = "over the network nobody is known without a credential: log in with `strongroom login`, or add `--key-file FILE` or `--identity DIR`";
            return Err(CliError::Usage(what.to_owned()).into());
        };
        Client::remote(&server, &self.authority(&server, None)?, Caller::Key(key))
    }

    /// A client with the certificate of a service, and the key that is bound to it.
    fn of_service(
        &self,
        server: &ServerUrl,
        identity: &Identity,
        key: Option<Secret<String>>,
    ) -> Result<Client, Failure> {
        let authority = self.authority(server, Some(identity))?;
        Client::remote(server, &authority, Caller::Service(identity, key))
    }

    /// The key of the flag alone: one of the environment is for callers without an identity.
    fn bound_key(&self) -> Result<Option<Secret<String>>, Failure> {
        match &self.key_file {
            Some(file) => Ok(read_key(Some(file))?),
            None => Ok(None),
        }
    }

    /// A client of who is not known yet.
    ///
    /// # Errors
    /// No node is known.
    pub(crate) fn stranger(&self) -> Result<Client, Failure> {
        match self.server()? {
            Some(server) => Client::remote(&server, &self.authority(&server, None)?, Caller::Stranger),
            None => Client::new(&find_state(self.state.as_deref())?.0, None),
        }
    }

    /// The management plane that is meant, if any: the flag, else the one that somebody logged in to last, unless a
    /// node on this machine is named.
    fn server(&self) -> Result<Option<ServerUrl>, Failure> {
        let named = self.state.is_some() || env::var_os(STATE_VARIABLE).is_some_and(|v| !v.is_empty());
        if self.server.is_some() || named {
            return Ok(self.server.clone());
        }
        let Some(text) = read_context()?.and_then(|context| context.server) else { return Ok(None) };
        let bad = |e: &str| CliError::Usage(format!("the context file names `{text}` as a node: {e}"));
        Ok(Some(text.parse().map_err(bad)?))
    }

    /// Makes the management plane that somebody logged in to the node of the next commands.
    ///
    /// # Errors
    /// It cannot be written down.
    pub(crate) fn remember_server(&self) -> Result<(), Failure> {
        let Some(server) = self.server()? else { return Ok(()) };
        Ok(write_server(&server.to_string(), &self.authority(&server, None)?)?)
    }

    /// The certificate authority to trust, in PEM.
    fn authority(&self, server: &ServerUrl, identity: Option<&Identity>) -> Result<String, Failure> {
        let kept = || read_authority(&server.to_string());
        match (&self.ca, identity) {
            (Some(file), _) => Ok(std::fs::read_to_string(file).map_err(CliError::file("read", file))?),
            (None, Some(identity)) => Ok(identity.authority.clone()),
            (None, None) => {
                if let Some(kept) = kept() {
                    return Ok(kept);
                }
                let what =
                    "say whom to trust with `--ca FILE`: `strongroom status` on the node names the file";
                Err(CliError::Usage(what.to_owned()).into())
            }
        }
    }

    /// The `--identity` flag.
    pub(crate) fn identity_flag(&self) -> Option<&Path> {
        self.identity.as_deref()
    }

    /// Where the node is, and how that is known.
    ///
    /// # Errors
    /// None is known.
    pub(crate) fn place(&self) -> Result<(String, &'static str), Failure> {
        if let Some(server) = self.server()? {
            let origin = if self.server.is_some() { "flag --server" } else { "context file" };
            return Ok((server.to_string(), origin));
        }
        let (state, origin) = find_state(self.state.as_deref())?;
        Ok((state.display().to_string(), origin.as_str()))
    }

    /// Whose thing is meant: the flag, else the key's tenant, else that of the context file, else the only one.
    ///
    /// # Errors
    /// More than one is possible, or none.
    pub(crate) fn tenant(&self, client: &Client, arg: &TenantArg) -> Result<String, Failure> {
        if let Some(name) = &arg.tenant {
            return Ok(name.as_str().to_owned());
        }
        if client.has_credential() {
            let me: api::WhoAmI = client.get("/whoami")?;
            if let Some(tenant) = me.tenant {
                return Ok(tenant);
            }
        }
        if let (None, None, Some(context)) = (&self.state, env::var_os("STRONGROOM_STATE"), read_context()?)
            && let Some(tenant) = context.tenant
        {
            return Ok(tenant);
        }
        let tenants: Vec<api::Tenant> = client.list("/tenants")?;
        match tenants.as_slice() {
            [only] => Ok(only.name.clone()),
            [] => Err(CliError::WhichTenant(
                "there is none yet; make one with `strongroom tenant create`".into(),
            )
            .into()),
            many => {
                let names: Vec<&str> = many.iter().map(|t| t.name.as_str()).collect();
                Err(CliError::WhichTenant(format!("there are {}", names.join(", "))).into())
            }
        }
    }

    /// Client, tenant and the route below it.
    ///
    /// # Errors
    /// As [`Session::client`] and [`Session::tenant`].
    pub(crate) fn scope(&self, arg: &TenantArg) -> Result<Scope, Failure> {
        let client = self.client()?;
        let tenant = self.tenant(&client, arg)?;
        Ok(Scope { client, tenant })
    }
}

/// A client that acts within one tenant.
#[derive(Debug)]
pub(crate) struct Scope {
    /// The client.
    pub(crate) client: Client,
    /// The tenant.
    pub(crate) tenant: String,
}

impl Scope {
    /// A route below the tenant.
    pub(crate) fn route(&self, segments: &[&str]) -> String {
        format!("{}{}", route(&["tenants", &self.tenant]), route(segments))
    }

    /// As [`Scope::route`], for one version of a named thing; without a version the newest.
    pub(crate) fn thing(&self, noun: &str, name: &Name, version: Option<u64>, rest: &[&str]) -> String {
        let version = version.map_or_else(|| "latest".to_owned(), |v| v.to_string());
        let mut segments = vec![noun, name.as_str(), &version];
        segments.extend_from_slice(rest);
        self.route(&segments)
    }
}

/// `NO_COLOR` (no-color.org), `CLICOLOR_FORCE` and `TERM=dumb`, below the flag.
fn color(flag: When, terminal: bool) -> bool {
    let set = |name: &str| env::var_os(name).is_some_and(|v| !v.is_empty());
    match flag {
        When::Always => true,
        When::Never => false,
        When::Auto if set("NO_COLOR") => false,
        When::Auto if env::var_os("CLICOLOR_FORCE").is_some_and(|v| !v.is_empty() && v != "0") => true,
        When::Auto => terminal && env::var_os("TERM").is_none_or(|v| v != "dumb"),
    }
}
