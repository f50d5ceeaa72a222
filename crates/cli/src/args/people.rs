//! Verbs of people: logins, and below `access` users, grants, sessions and approvals.

use access::Role;
use base::names::Name;
use clap::{Args, Subcommand, ValueEnum};

use super::TenantArg;

/// How to log in, and as what.
#[derive(Debug, Clone, Args)]
pub(crate) struct LoginArgs {
    /// How to prove who you are; default: the first that the node offers
    #[arg(long, value_name = "HOW")]
    pub(crate) by: Option<LoginBy>,
    /// Open the browser, instead of only printing the address
    #[arg(long)]
    pub(crate) browser: bool,
    /// Type in the code that the browser shows: for a browser on another machine
    #[arg(long, conflicts_with = "browser")]
    pub(crate) code: bool,
    /// The role that the session is to be of, where you are granted several
    #[arg(long, value_name = "ROLE", value_parser = persons_role)]
    pub(crate) role: Option<Role>,
    /// The tenant that it is to be of, where you are granted roles in several
    #[command(flatten)]
    pub(crate) tenant: TenantArg,
}

/// How to prove who one is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LoginBy {
    /// By a passkey, in a browser on this machine
    Passkey,
    /// By the OpenID provider, in a browser on this machine
    Oidc,
    /// By the OpenID provider, in a browser anywhere: a code is typed there
    Device,
}

impl LoginBy {
    /// As requests say it.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Passkey => "passkey",
            Self::Oidc => "oidc-code",
            Self::Device => "oidc-device",
        }
    }
}

/// Verbs of `access user`.
#[derive(Debug, Subcommand)]
pub(crate) enum UserCommand {
    /// Make a person known: they enrol a passkey by the link that this prints, or log in by the OpenID provider
    #[command(before_long_help = "Examples:
  strongroom access user create ann --display \"Ann Lee\"
  strongroom access user create ben --issuer https://id.example --subject 248289761001")]
    Create {
        /// Their name here; one that was given is not given again
        name: Name,
        /// What people call them
        #[arg(long, value_name = "TEXT")]
        display: Option<String>,
        /// OpenID provider that proves who they are
        #[arg(long, value_name = "URL", requires = "subject")]
        issuer: Option<String>,
        /// Who they are in its words: the claim `sub`
        #[arg(long, value_name = "TEXT", requires = "issuer")]
        subject: Option<String>,
    },
    /// List people, and what they are granted now
    List,
    /// Show one person, with every grant
    Show {
        /// Who
        name: Name,
    },
    /// Print a new link by which a person enrols a passkey, once; an older link ends
    #[command(before_long_help = "Examples:
  strongroom access user enrol ann")]
    Enrol {
        /// Who
        name: Name,
    },
    /// Take a passkey of a person away, as of a device that is lost; their sessions end
    #[command(before_long_help = "Examples:
  strongroom access user show ann -o json
  strongroom access user revoke-passkey ann ID")]
    RevokePasskey {
        /// Whose
        name: Name,
        /// Its id
        id: String,
    },
    /// End every session of a person, who may not log in any more
    #[command(before_long_help = "Examples:
  strongroom access user disable ann")]
    Disable {
        /// Who
        name: Name,
    },
}

/// A role for a time.
#[derive(Debug, Clone, Args)]
pub(crate) struct GrantArgs {
    /// Who
    pub(crate) name: Name,
    /// The role: security, auditor, tenant-admin, ml-engineer, deployer
    #[arg(value_parser = persons_role)]
    pub(crate) role: Role,
    /// In which tenant; none for security, which is of the whole node
    #[arg(long, value_name = "NAME")]
    pub(crate) tenant: Option<Name>,
    /// How long: hours as in 8h, or days as in 30d; at most 90 days
    #[arg(long = "for", value_name = "TIME", default_value = "8h", value_parser = hours)]
    pub(crate) hours: u32,
    /// Why, for the log
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: String,
}

/// Verbs of `access session`.
#[derive(Debug, Subcommand)]
pub(crate) enum SessionCommand {
    /// List your sessions; the operator and security see all
    List,
    /// End a session now, and what is sent to it within a second
    #[command(before_long_help = "Examples:
  strongroom access session list
  strongroom access session revoke SESSION")]
    Revoke {
        /// Its id
        id: String,
    },
}

/// Verbs of `access approval`.
#[derive(Debug, Subcommand)]
pub(crate) enum ApprovalCommand {
    /// Ask for the approval of another person
    #[command(before_long_help = "Examples:
  strongroom access approval request model.export classifier/1 --tenant acme --reason \"for the evaluation lab\"")]
    Request {
        /// The operation, as in docs/access.md
        operation: String,
        /// The thing: NAME/VERSION
        resource: String,
        /// Why, for who decides and for the log
        #[arg(long, value_name = "TEXT")]
        reason: String,
        /// In which tenant; default: your own
        #[arg(long, value_name = "NAME")]
        tenant: Option<Name>,
    },
    /// List what was asked for, and what was decided
    List,
    /// Approve what another asked for: for an hour they may do just that
    #[command(before_long_help = "Examples:
  strongroom access approval approve APPROVAL --reason \"agreed on in the review\"")]
    Approve {
        /// Its id
        id: String,
        /// What there is to say to it
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
    },
    /// Refuse it
    Refuse {
        /// Its id
        id: String,
        /// What there is to say to it
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
    },
}

fn persons_role(text: &str) -> Result<Role, String> {
    match text.parse::<Role>() {
        Ok(role) if role.is_a_persons() => Ok(role),
        Ok(_) => Err("it is the role of the node's local socket, and nobody is granted it".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

/// Hours or days.
fn hours(text: &str) -> Result<u32, String> {
    let wanted =
        || format!("write hours as in 8h or days as in 30d, at most {}d", api::shape::GRANT_HOURS_MAX / 24);
    let (digits, unit) = text.split_at_checked(text.len().saturating_sub(1)).ok_or_else(wanted)?;
    let number: u32 = digits.parse().map_err(|_| wanted())?;
    let hours = match unit {
        "h" => Some(number),
        "d" => number.checked_mul(24),
        _ => None,
    };
    hours.filter(|hours| (1..=api::shape::GRANT_HOURS_MAX).contains(hours)).ok_or_else(wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grant_is_for_hours_or_days() {
        assert_eq!(hours("8h"), Ok(8));
        assert_eq!(hours("90d"), Ok(2160));
        for bad in ["", "h", "8", "0h", "-1h", "91d", "1w", "8 h", "999999999999h", "\u{661}h"] {
            assert!(hours(bad).is_err(), "{bad}");
        }
    }
}
