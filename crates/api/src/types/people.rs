//! Wire types of people: who may log in, what they are granted, their sessions, and what they approve.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Document, shape};

wire! {
    /// A person who may log in.
    "strongroom.user/1" pub struct User {
        /// Name.
        #[schemars(with = "shape::Name")]
        name: String,
        /// What people call them.
        #[serde(default)]
        display: Option<String>,
        /// Who they are to an OpenID provider; none for a person with passkeys of their own.
        #[serde(default)]
        subject: Option<Subject>,
        /// When they were made known.
        #[schemars(with = "shape::Time")]
        created: String,
        /// Whether they may not log in any more.
        disabled: bool,
        /// Until when nobody may try to log in as them.
        #[serde(default)]
        locked_until: Option<String>,
        /// What they are granted, what has ended included.
        grants: Vec<Grant>,
        /// Their passkeys, the oldest first.
        passkeys: Vec<Passkey>,
        /// Until when the link is good by which they may enrol a passkey, if one is out.
        #[serde(default)]
        enrolment_ends: Option<String>,
        /// The link, or the secret of it; only in the answer that made it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        enrolment: Option<String>,
    }

    /// A role that a person has for a time.
    "strongroom.grant/1" pub struct Grant {
        /// Whose.
        #[schemars(with = "shape::Name")]
        user: String,
        /// From 1, for each person.
        number: u64,
        /// In which tenant; none for a role of the whole node.
        #[serde(default)]
        #[schemars(with = "Option<shape::Name>")]
        tenant: Option<String>,
        /// The role.
        #[schemars(with = "shape::UserRole")]
        role: String,
        /// Why.
        reason: String,
        /// Who granted it.
        by: String,
        /// When.
        #[schemars(with = "shape::Time")]
        created: String,
        /// When it ends by itself.
        #[schemars(with = "shape::Time")]
        ends: String,
        /// `live`, `ended` or `revoked`.
        state: String,
    }

    /// A session of a person.
    "strongroom.session/1" pub struct Session {
        /// Id.
        #[schemars(with = "shape::SessionId")]
        id: String,
        /// Whose.
        #[schemars(with = "shape::Name")]
        user: String,
        /// The tenant that it is of; none for a role of the whole node.
        #[serde(default)]
        #[schemars(with = "Option<shape::Name>")]
        tenant: Option<String>,
        /// The role that it is of.
        #[schemars(with = "shape::UserRole")]
        role: String,
        /// How the person proved who they are.
        method: String,
        /// From where they logged in: a user of this machine, or an address.
        from: String,
        /// When they proved it.
        #[schemars(with = "shape::Time")]
        proved: String,
        /// When the last request came, to within some minutes.
        #[schemars(with = "shape::Time")]
        seen: String,
        /// When it ends whatever happens.
        #[schemars(with = "shape::Time")]
        ends: String,
        /// `live`, `idle too long`, `ended` or `revoked`.
        state: String,
        /// The token that proves who calls; only in the answer that ends a login.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        token: Option<String>,
    }

    /// A request for the approval of another person.
    "strongroom.approval/1" pub struct Approval {
        /// Id.
        #[schemars(with = "shape::ApprovalId")]
        id: String,
        /// The operation.
        operation: String,
        /// The tenant in which the thing lies; none for what is the node's.
        #[serde(default)]
        #[schemars(with = "Option<shape::Name>")]
        tenant: Option<String>,
        /// The thing, as in a path of the API.
        resource: String,
        /// Who asked.
        by: String,
        /// Why.
        reason: String,
        /// When.
        #[schemars(with = "shape::Time")]
        asked: String,
        /// `waiting`, `lapsed`, `approved`, `over` or `refused`.
        state: String,
        /// Who decided.
        #[serde(default)]
        decided_by: Option<String>,
        /// When.
        #[serde(default)]
        decided: Option<String>,
        /// What they said to it.
        #[serde(default)]
        answer: Option<String>,
        /// Until when it waits, or until when it may be done.
        #[serde(default)]
        until: Option<String>,
    }

    /// How one may log in to this node.
    "strongroom.login.methods/1" pub struct LoginMethods {
        /// Of `passkey`, `oidc-code` and `oidc-device` those that this node offers.
        methods: Vec<String>,
        /// The OpenID provider.
        #[serde(default)]
        issuer: Option<String>,
    }

    /// A login that has begun.
    "strongroom.login/1" pub struct Login {
        /// Proves that who ends the login is who began it.
        login: String,
        /// How the person proves who they are.
        method: String,
        /// Where they do it, in a browser.
        url: String,
        /// What they compare or type there.
        #[serde(default)]
        user_code: Option<String>,
        /// Seconds between two questions whether it is done; absent where a code ends it.
        #[serde(default)]
        interval: Option<u64>,
        /// When it ends undone.
        #[schemars(with = "shape::Time")]
        expires: String,
    }

    /// What a browser asks an authenticator for.
    "strongroom.passkey.request/1" pub struct PasskeyRequest {
        /// Options of `navigator.credentials.get`, as JSON (Web Authentication Level 3, section 5.1.10).
        options: serde_json::Value,
    }

    /// A login in which somebody proved who they are.
    "strongroom.passkey.proof/1" pub struct PasskeyProof {
        /// Who.
        #[schemars(with = "shape::Name")]
        user: String,
        /// What they type into the command line; absent where the browser hands it over.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        code: Option<String>,
        /// Where the browser hands it over.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        redirect: Option<String>,
    }

    /// What a browser asks an authenticator to make.
    "strongroom.passkey.creation/1" pub struct PasskeyCreation {
        /// For whom.
        #[schemars(with = "shape::Name")]
        user: String,
        /// Options of `navigator.credentials.create`, as JSON (Web Authentication Level 3, section 5.1.9).
        options: serde_json::Value,
    }

    /// A passkey of a person.
    "strongroom.passkey/1" pub struct Passkey {
        /// Whose.
        #[schemars(with = "shape::Name")]
        user: String,
        /// SHA-256 of its credential id.
        #[schemars(with = "shape::Sha256")]
        id: String,
        /// What they call it.
        label: String,
        /// When it was registered.
        #[schemars(with = "shape::Time")]
        created: String,
        /// When it last proved them.
        #[serde(default)]
        last_used: Option<String>,
    }

    /// Whether a login is done.
    "strongroom.login.result/1" pub struct LoginResult {
        /// `pending` or `done`.
        state: String,
        /// Seconds until it may be asked again.
        #[serde(default)]
        interval: Option<u64>,
        /// The session, with its token.
        #[serde(default)]
        session: Option<Session>,
    }
}

request! {
    /// Who a person is to an OpenID provider.
    pub struct Subject {
        /// The provider.
        issuer: String,
        /// The person, in its words: the claim `sub`.
        subject: String,
    }

    /// Makes a person known.
    pub struct UserCreate {
        /// Name; one that was given is not given again.
        #[schemars(with = "shape::Name")]
        name: String,
        /// What people call them.
        #[serde(default)]
        #[schemars(with = "Option<shape::Display>")]
        display: Option<String>,
        /// Who they are to an OpenID provider; without it they enrol a passkey.
        #[serde(default)]
        subject: Option<Subject>,
    }

    /// Grants a role for a time.
    pub struct GrantCreate {
        /// The role.
        #[schemars(with = "shape::UserRole")]
        role: String,
        /// In which tenant; none for `security`, which is of the whole node.
        #[serde(default)]
        #[schemars(with = "Option<shape::Name>")]
        tenant: Option<String>,
        /// Hours until it ends by itself; default 8, at most 90 days.
        #[serde(default)]
        #[schemars(with = "Option<shape::GrantHours>")]
        hours: Option<u32>,
        /// The reason, for the log.
        #[schemars(with = "shape::Reason")]
        reason: String,
    }

    /// Asks for the approval of another person.
    pub struct ApprovalRequest {
        /// The operation, as in docs/access.md.
        #[schemars(with = "shape::OperationName")]
        operation: String,
        /// The tenant in which the thing lies; default: the caller's own.
        #[serde(default)]
        #[schemars(with = "Option<shape::Name>")]
        tenant: Option<String>,
        /// The thing, as in a path of the API: `name/version`.
        #[schemars(with = "shape::ResourceName")]
        resource: String,
        /// The reason, for who decides and for the log.
        #[schemars(with = "shape::Reason")]
        reason: String,
    }

    /// Decides on a request for approval.
    pub struct ApprovalDecide {
        /// Whether it may be done.
        approve: bool,
        /// What there is to say to it.
        #[serde(default)]
        #[schemars(with = "Option<shape::Reason>")]
        reason: Option<String>,
    }

    /// Begins a login.
    pub struct LoginBegin {
        /// `passkey`, `oidc-code` or `oidc-device`.
        method: String,
        /// Where the browser hands over the code: `http://127.0.0.1:PORT/PATH`.
        #[serde(default)]
        redirect: Option<String>,
        /// The tenant that the session is to be of, where the person is granted roles in several.
        #[serde(default)]
        #[schemars(with = "Option<shape::Name>")]
        tenant: Option<String>,
        /// The role that the session is to be of, where the person is granted several.
        #[serde(default)]
        #[schemars(with = "Option<shape::UserRole>")]
        role: Option<String>,
    }

    /// What the page of a login asks for.
    pub struct PasskeyTicket {
        /// What stands in the link after the `#`.
        ticket: String,
    }

    /// What the page of a login sends.
    pub struct PasskeyAnswer {
        /// What stands in the link after the `#`.
        ticket: String,
        /// What `navigator.credentials.get` gave, by its `toJSON`.
        credential: serde_json::Value,
    }

    /// What the page of an enrolment asks for.
    pub struct EnrolBegin {
        /// What stands in the link after the `#`.
        secret: String,
    }

    /// What the page of an enrolment sends.
    pub struct EnrolAnswer {
        /// What stands in the link after the `#`.
        secret: String,
        /// What `navigator.credentials.create` gave, by its `toJSON`.
        credential: serde_json::Value,
        /// What to call the passkey.
        #[serde(default)]
        label: Option<String>,
    }

    /// Ends a login, or asks whether it is done.
    pub struct LoginFinish {
        /// The secret of who began it.
        login: String,
        /// The code that the browser handed over.
        #[serde(default)]
        code: Option<String>,
        /// The state that came with it.
        #[serde(default)]
        state: Option<String>,
    }
}
