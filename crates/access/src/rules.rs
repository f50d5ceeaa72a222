//! Rules, and decisions by them.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::str::FromStr;

use base::{Digest, sha256};
use cedar_policy as cedar;
use cedar_policy::{
    ActionConstraint, Context, Entities, Entity, EntityId, EntityTypeName, EntityUid, Policy, PolicyId,
    PolicySet, PrincipalConstraint, ResourceConstraint, RestrictedExpression, Schema, ValidationMode,
    Validator,
};
use miette::Diagnostic;

use crate::bounds::{self, ID_MAX, RULES_MAX};
use crate::{Circumstances, Decision, Mode, PolicyError, Principal, Request, Role};

/// The schema.
pub(crate) const SCHEMA: &str = include_str!("../../../policies/schema.cedarschema");
/// The rules that ship.
pub const SHIPPED: &str = include_str!("../../../policies/shipped.cedar");

/// Group of the operations that a person does with a fresh proof only.
const HIGH_RISK: &str = "high-risk";
/// Group of those that need two people.
const TWO_PEOPLE: &str = "two-people";
/// Group of those by which a node is made safe and mended, on which own rules have no say.
const RECOVERY: &str = "recovery";
/// Group of those that break-glass gives back to the operator, whatever own rules say.
const BREAK_GLASS: &str = "break-glass";

/// One operation of the API, as the schema knows it.
#[derive(Debug, Clone)]
pub struct Operation {
    kind: EntityTypeName,
    /// Kinds of those who may ask for it at all, whatever a rule says.
    askers: HashSet<EntityTypeName>,
    /// The action, with its groups as parents.
    action: Entity,
    groups: HashSet<EntityUid>,
    /// Whether what it is about lies in a tenant.
    within_tenants: bool,
}

impl Operation {
    /// Kind of the thing that it is about.
    pub fn kind(&self) -> &str {
        self.kind.basename()
    }

    /// Whether what it is about lies in a tenant; else it is a tenant, or the node's.
    pub const fn is_within_tenants(&self) -> bool {
        self.within_tenants
    }

    /// What it needs beside a role that may do it: of a person a fresh proof, of everybody the approval of another.
    pub fn needs(&self) -> Circumstances {
        let (fresh, approved) = (self.is_in(HIGH_RISK), self.is_in(TWO_PEOPLE));
        Circumstances { fresh, approved, mode: Mode::Normal }
    }

    fn is_in(&self, group: &str) -> bool {
        self.groups.iter().any(|of| id(of) == group)
    }

    /// Whether own rules have no say on this request: nobody can keep the operator from making the node safe, nor break-glass
    /// from what it is for.
    fn is_without_own(&self, request: &Request<'_>) -> bool {
        let open = request.given.mode == Mode::BreakGlass && request.principal == Principal::Operator;
        self.is_in(RECOVERY) || (open && self.is_in(BREAK_GLASS))
    }

    fn is_one_of(&self, scope: &[EntityUid]) -> bool {
        scope.iter().any(|of| self.action.uid() == *of || self.groups.contains(of))
    }
}

/// What the head of a rule says that it can apply to: a necessary condition, so that a rule whose scope does not take a
/// request need not be looked at.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Scope {
    roles: BTreeSet<Role>,
    operations: BTreeSet<String>,
}

/// Rules by scope; outside it, by the tenant that they are confined to, none for rules that are not.
type Buckets = HashMap<Option<String>, BTreeMap<Scope, PolicySet>>;

/// A set of rules that fits the schema.
#[derive(Debug)]
pub struct Policies {
    version: Digest,
    operations: BTreeMap<String, Operation>,
    because: HashMap<PolicyId, String>,
    buckets: Buckets,
    /// Those of the node's own.
    own: Buckets,
    types: Types,
}

/// Names of types, parsed once.
#[derive(Debug)]
struct Types {
    operator: EntityTypeName,
    key: EntityTypeName,
    service: EntityTypeName,
    user: EntityTypeName,
    workload: EntityTypeName,
    node: EntityTypeName,
    role: EntityTypeName,
    tenant: EntityTypeName,
}

impl Types {
    fn new() -> Result<Self, PolicyError> {
        let name = |text| EntityTypeName::from_str(text).map_err(built_in);
        Ok(Self {
            operator: name("Operator")?,
            key: name("Key")?,
            service: name("Service")?,
            user: name("User")?,
            workload: name("Workload")?,
            node: name("Node")?,
            role: name("Role")?,
            tenant: name("Tenant")?,
        })
    }
}

pub(crate) fn built_in(error: impl std::fmt::Display) -> PolicyError {
    PolicyError::BuiltIn(error.to_string())
}

fn uid(kind: &EntityTypeName, id: &str) -> EntityUid {
    EntityUid::from_type_name_and_id(kind.clone(), EntityId::new(id))
}

fn id(of: &EntityUid) -> &str {
    of.id().as_ref()
}

/// The line, from 1, of the first place that a fault points at.
fn line_of(text: &str, fault: &dyn Diagnostic) -> Option<usize> {
    let offset = fault.labels().and_then(|mut labels| labels.next())?.offset();
    text.get(..offset).map(|before| before.matches('\n').count().saturating_add(1))
}

impl Policies {
    /// The rules that ship.
    ///
    /// # Errors
    /// This program was built with rules that do not fit its schema; a test keeps that from happening.
    pub fn shipped() -> Result<Self, PolicyError> {
        Self::parse(SHIPPED)
    }

    /// Reads rules: each has an `@id` of its own, fits the schema strictly and can apply to some request.
    ///
    /// # Errors
    /// The first fault, with its line.
    pub fn parse(text: &str) -> Result<Self, PolicyError> {
        let rules = rules(text)?;
        Self::of(&[SCHEMA, text], rules)
    }

    /// Rules that were read by [`rules`], and the texts whose digests make their version.
    pub(crate) fn of(texts: &[&str], rules: Vec<Policy>) -> Result<Self, PolicyError> {
        let digests: Vec<[u8; 32]> = texts.iter().map(|text| *sha256(text.as_bytes()).as_bytes()).collect();
        let types = Types::new()?;
        let mut policies = Self {
            version: sha256(digests.as_flattened()),
            operations: operations(&schema()?, &types.tenant)?,
            because: HashMap::new(),
            buckets: HashMap::new(),
            own: HashMap::new(),
            types,
        };
        for rule in rules {
            let (tenant, scope) = policies.place(&rule);
            put(&mut policies.buckets, tenant, scope, rule)?;
        }
        Ok(policies)
    }

    /// Adds own rules, read by [`rules`] too.
    pub(crate) fn add_own(&mut self, rules: Vec<Policy>) -> Result<(), PolicyError> {
        for rule in rules {
            let (tenant, scope) = self.place(&rule);
            put(&mut self.own, tenant, scope, rule)?;
        }
        Ok(())
    }

    /// Digest of schema and rules.
    pub const fn version(&self) -> Digest {
        self.version
    }

    /// The schema that rules are checked against.
    pub const fn schema() -> &'static str {
        SCHEMA
    }

    /// Every operation, by name.
    pub const fn operations(&self) -> &BTreeMap<String, Operation> {
        &self.operations
    }

    /// How many rules there are.
    pub fn len(&self) -> usize {
        let all = self.buckets.values().chain(self.own.values());
        all.flat_map(BTreeMap::values).map(PolicySet::num_of_policies).sum()
    }

    /// Whether there is no rule, so that nothing is allowed.
    pub fn is_empty(&self) -> bool {
        self.buckets.is_empty() && self.own.is_empty()
    }

    /// Where a rule belongs: the tenant that it is confined to, and its scope. What it says for people is kept.
    fn place(&mut self, rule: &Policy) -> (Option<String>, Scope) {
        let taken = |scope: &[EntityUid]| {
            let taken = self.operations.iter().filter(|(_, operation)| operation.is_one_of(scope));
            taken.map(|(name, _)| name.clone()).collect()
        };
        let operations = match rule.action_constraint() {
            ActionConstraint::Any => self.operations.keys().cloned().collect(),
            ActionConstraint::In(scope) => taken(&scope),
            ActionConstraint::Eq(action) => taken(&[action]),
        };
        let group = match rule.principal_constraint() {
            PrincipalConstraint::In(group) | PrincipalConstraint::IsIn(_, group) => Some(group),
            _ => None,
        };
        let role = group.filter(|group| *group.type_name() == self.types.role);
        let roles = Role::ALL.into_iter().filter(|r| role.as_ref().is_none_or(|role| id(role) == r.as_str()));
        let scope = Scope { roles: roles.collect(), operations };
        let group = match rule.resource_constraint() {
            ResourceConstraint::In(group) | ResourceConstraint::IsIn(_, group) => Some(group),
            _ => None,
        };
        let tenant = group.filter(|group| *group.type_name() == self.types.tenant);
        let tenant = tenant.map(|tenant| id(&tenant).to_owned());
        if let Some(because) = rule.annotation("because") {
            self.because.insert(rule.id().clone(), because.to_owned());
        }
        (tenant, scope)
    }

    /// Decides one request.
    pub fn decide(&self, request: &Request<'_>) -> Decision {
        let Some(operation) = self.operations.get(request.operation) else {
            return self.denied("there is no such operation".to_owned());
        };
        let role = request.principal.role();
        let Some((asked, entities)) = self.entities(request, role, operation) else {
            return self.denied(
                "the request names what cannot be, or is nothing that such a caller asks for".to_owned(),
            );
        };
        let authorizer = cedar::Authorizer::new();
        let (mut permits, mut forbids) = (Vec::new(), Vec::new());
        let own = (!operation.is_without_own(request)).then_some(&self.own);
        let tenant = request.tenant.map(str::to_owned);
        let rules = [Some(&self.buckets), own].into_iter().flatten();
        let rules = rules.flat_map(|of| [of.get(&None), tenant.as_ref().and_then(|_| of.get(&tenant))]);
        for (scope, rules) in rules.flatten().flatten() {
            if !scope.roles.contains(&role) || !scope.operations.contains(request.operation) {
                continue;
            }
            let response = authorizer.is_authorized(&asked, rules, &entities);
            if let Some(error) = response.diagnostics().errors().next() {
                return self.denied(format!("a rule cannot be evaluated: {error}"));
            }
            let reasons = response.diagnostics().reason().cloned();
            match response.decision() {
                cedar::Decision::Allow => permits.extend(reasons),
                // Without a reason: nothing here permits or forbids.
                cedar::Decision::Deny => forbids.extend(reasons),
            }
        }
        let (allowed, verb, rules) = match (permits.is_empty(), forbids.is_empty()) {
            (_, false) => (false, "forbids", forbids),
            (false, true) => (true, "permits", permits),
            (true, true) => return self.denied("no rule permits it".to_owned()),
        };
        let mut reasons: Vec<String> = rules.iter().map(|id| AsRef::<str>::as_ref(id).to_owned()).collect();
        reasons.sort();
        let because = reasons.first().and_then(|name| self.because.get(&PolicyId::new(name)));
        let because = because.map(|text| format!(": {text}")).unwrap_or_default();
        let why = format!("rule `{}` {verb} it{because}", reasons.join("`, `"));
        Decision { allowed, policy_version: self.version, reasons, why }
    }

    /// Roles that may do this to this thing, with all that the operation needs.
    pub fn roles_that_may(&self, operation: &str, tenant: Option<&str>, resource: &str) -> Vec<Role> {
        let may = |role: &Role| {
            let principal = Principal::example(*role, tenant.unwrap_or(""));
            self.decide(&Request { principal, operation, tenant, resource, given: Circumstances::ALL })
                .allowed
        };
        Role::ALL.into_iter().filter(may).collect()
    }

    /// The table of roles and operations, each asked for within the caller's own tenant, as docs/access.md has it.
    pub fn table(&self) -> String {
        let heads: Vec<&str> = Role::ALL.into_iter().map(Role::as_str).collect();
        let mut out = format!(
            "# Who may do what\n\nGenerated by `strongroom policy show --table`; a test compares it with the rules that \
             ship.\nWho is of a tenant asks within that tenant; of others nothing exists for them, whatever their role.\n\
             What an operation needs beside the role: `fresh proof`, of a person, and `two people`, of everybody.\n\
             In safe mode: what is left, and what break-glass gives back to the operator at the machine.\n\n\
             | operation | of | needs | in safe mode | {} |\n|---|---|---|---|{}\n",
            heads.join(" | "),
            "---|".repeat(heads.len()),
        );
        for (name, operation) in &self.operations {
            let may = self.roles_that_may(name, Some("own"), "");
            let cells = Role::ALL.map(|role| if may.contains(&role) { "yes" } else { "-" });
            let needs = match operation.needs() {
                Circumstances { fresh: true, approved: true, .. } => "fresh proof, two people",
                Circumstances { fresh: true, approved: false, .. } => "fresh proof",
                Circumstances { fresh: false, approved: true, .. } => "two people",
                Circumstances { fresh: false, approved: false, .. } => "-",
            };
            let safe = match self.least_mode(name) {
                Mode::Normal => "-",
                Mode::Safe => "yes",
                Mode::BreakGlass => "break-glass",
            };
            let kind = operation.kind();
            out.push_str(&format!("| {name} | {kind} | {needs} | {safe} | {} |\n", cells.join(" | ")));
        }
        out
    }

    /// In which mode, safe mode first, the operator may do this.
    fn least_mode(&self, operation: &str) -> Mode {
        let may = |mode: &Mode| {
            let given = Circumstances { mode: *mode, ..Circumstances::ALL };
            let principal = Principal::Operator;
            self.decide(&Request { principal, operation, tenant: Some("own"), resource: "", given }).allowed
        };
        [Mode::Safe, Mode::BreakGlass].into_iter().find(may).unwrap_or(Mode::Normal)
    }

    fn denied(&self, why: String) -> Decision {
        Decision { allowed: false, policy_version: self.version, reasons: Vec::new(), why }
    }

    /// The request and what is known of those it names; none where an id is too long.
    fn entities(
        &self,
        request: &Request<'_>,
        role: Role,
        op: &Operation,
    ) -> Option<(cedar::Request, Entities)> {
        let types = &self.types;
        let parents = HashSet::from([uid(&types.role, role.as_str())]);
        let of_tenant = |kind: &EntityTypeName, id: &str, tenant: &str, parents| {
            if id.len().max(tenant.len()) > ID_MAX {
                return None;
            }
            let own = RestrictedExpression::new_entity_uid(uid(&types.tenant, tenant));
            Entity::new(uid(kind, id), HashMap::from([("tenant".to_owned(), own)]), parents).ok()
        };
        let principal = match request.principal {
            Principal::Operator => Entity::new_no_attrs(uid(&types.operator, "operator"), parents),
            Principal::Key { id, tenant, .. } => of_tenant(&types.key, id, tenant, parents)?,
            Principal::Service { id, tenant, .. } => of_tenant(&types.service, id, tenant, parents)?,
            Principal::User { id, tenant: Some(tenant), .. } => of_tenant(&types.user, id, tenant, parents)?,
            Principal::User { id, tenant: None, .. } if id.len() <= ID_MAX => {
                Entity::new_no_attrs(uid(&types.user, id), parents)
            }
            Principal::Workload { id, tenant } => of_tenant(&types.workload, id, tenant, parents)?,
            Principal::Node { id } if id.len() <= ID_MAX => {
                Entity::new_no_attrs(uid(&types.node, id), parents)
            }
            Principal::User { .. } | Principal::Node { .. } => return None,
        };
        // Cedar holds rules against the schema, and requests only where it is told to.
        if !op.askers.contains(principal.uid().type_name()) {
            return None;
        }
        if request.resource.len().max(request.tenant.map_or(0, str::len)) > ID_MAX {
            return None;
        }
        let lies_in: HashSet<EntityUid> = match request.tenant {
            Some(tenant) if op.within_tenants => HashSet::from([uid(&types.tenant, tenant)]),
            _ => HashSet::new(),
        };
        let named = request.tenant.filter(|_| op.kind == types.tenant).unwrap_or(request.resource);
        let resource = Entity::new_no_attrs(uid(&op.kind, named), lies_in);
        let Circumstances { fresh, approved, mode } = request.given;
        let (safe, break_glass) = (mode != Mode::Normal, mode == Mode::BreakGlass);
        let given = [("fresh", fresh), ("approved", approved), ("safe", safe), ("break_glass", break_glass)];
        let given = given.map(|(name, is)| (name.to_owned(), RestrictedExpression::new_bool(is)));
        let given = Context::from_pairs(given).ok()?;
        let asked =
            cedar::Request::new(principal.uid(), op.action.uid(), resource.uid(), given, None).ok()?;
        let entities = Entities::from_entities([principal, op.action.clone(), resource], None).ok()?;
        Some((asked, entities))
    }
}

/// Puts a rule among those of its scope.
fn put(buckets: &mut Buckets, tenant: Option<String>, scope: Scope, rule: Policy) -> Result<(), PolicyError> {
    buckets.entry(tenant).or_default().entry(scope).or_default().add(rule).map_err(built_in)
}

/// The schema, parsed.
pub(crate) fn schema() -> Result<Schema, PolicyError> {
    Schema::from_cedarschema_str(SCHEMA).map(|(schema, _)| schema).map_err(built_in)
}

/// Reads rules as [`Policies::parse`] says; the id of each is its name.
pub(crate) fn rules(text: &str) -> Result<Vec<Policy>, PolicyError> {
    bounds::check(text)?;
    let set = PolicySet::from_str(text)
        .map_err(|e| PolicyError::Syntax { line: line_of(text, &e).unwrap_or(0), reason: e.to_string() })?;
    let names = names(text, &set)?;
    let validator = Validator::new(schema()?);
    let result = validator.validate(&set, ValidationMode::Strict);
    let refuse = |id: &PolicyId, fault: &dyn Diagnostic| {
        let rule = names.get(id).cloned().unwrap_or_default();
        let line = line_of(text, fault).unwrap_or_else(|| place(text, &format!("\"{rule}\"")));
        PolicyError::Schema { line, rule, reason: fault.to_string() }
    };
    // The order of faults is not that of the text.
    let errors = result.validation_errors().map(|e| refuse(e.policy_id(), e));
    let faults = errors.chain(result.validation_warnings().map(|w| refuse(w.policy_id(), w)));
    if let Some(first) = faults.min_by_key(|fault| match fault {
        PolicyError::Schema { line, .. } => *line,
        _ => 0,
    }) {
        return Err(first);
    }
    let named = |rule: &Policy| {
        let name = names.get(rule.id()).map(String::as_str).unwrap_or_default();
        rule.new_id(PolicyId::new(name))
    };
    Ok(set.policies().map(named).collect())
}

/// Names of the rules, by the ids that parsing gave them.
fn names(text: &str, set: &PolicySet) -> Result<HashMap<PolicyId, String>, PolicyError> {
    if set.num_of_policies() > RULES_MAX {
        let reason = format!("{} rules, at most {RULES_MAX}", set.num_of_policies());
        return Err(PolicyError::Limit { line: 0, reason });
    }
    if let Some(template) = set.templates().next() {
        let reason = "a rule with a place to fill in; only whole rules are taken".to_owned();
        let line = template.annotation("id").map_or(0, |name| place(text, name));
        return Err(PolicyError::Name { line, reason });
    }
    let mut seen = HashSet::new();
    let mut names = HashMap::new();
    for rule in set.policies() {
        let Some(name) = rule.annotation("id") else {
            let line = rule.to_cedar().map_or(0, |rule| place(text, &rule));
            return Err(PolicyError::Name { line, reason: "a rule without an `@id`".to_owned() });
        };
        if !plain(name) {
            let reason = "an `@id` is 1 to 64 lower-case letters, digits and hyphens".to_owned();
            return Err(PolicyError::Name { line: place(text, name), reason });
        }
        if rule.annotation("because").is_some_and(|text| !printable(text)) {
            let reason =
                "an `@because` is at most 200 characters, none of them a control character".to_owned();
            return Err(PolicyError::Name { line: place(text, name), reason });
        }
        if !seen.insert(name) {
            let reason = format!("two rules have the `@id` `{name}`");
            return Err(PolicyError::Name { line: place(text, name), reason });
        }
        names.insert(rule.id().clone(), name.to_owned());
    }
    Ok(names)
}

/// Whether a rule's name is safe to print and to log.
fn plain(name: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    (1..=64).contains(&name.len()) && name.bytes().all(allowed)
}

/// Whether a reason is safe to print and to log.
pub(crate) fn printable(text: &str) -> bool {
    text.chars().count() <= 200 && !text.chars().any(char::is_control)
}

/// The line, from 1, where this stands first.
pub(crate) fn place(text: &str, what: &str) -> usize {
    text.find(what).and_then(|at| text.get(..at)).map_or(0, |b| b.matches('\n').count().saturating_add(1))
}

/// The actions of the schema that apply to things, with the groups that they are in.
pub(crate) fn operations(
    schema: &Schema,
    tenant: &EntityTypeName,
) -> Result<BTreeMap<String, Operation>, PolicyError> {
    let entities = schema.action_entities().map_err(built_in)?;
    let mut operations = BTreeMap::new();
    for action in schema.actions() {
        let kind = schema.resources_for_action(action).and_then(|mut kinds| kinds.next());
        // A group applies to nothing itself.
        let Some(kind) = kind else { continue };
        let groups: HashSet<EntityUid> = entities.ancestors(action).into_iter().flatten().cloned().collect();
        let entity = Entity::new_no_attrs(action.clone(), groups.clone());
        let within_tenants = schema.ancestors(kind).is_some_and(|mut all| all.any(|of| of == tenant));
        let askers = schema.principals_for_action(action).into_iter().flatten().cloned().collect();
        let operation = Operation { kind: kind.clone(), askers, action: entity, groups, within_tenants };
        operations.insert(id(action).to_owned(), operation);
    }
    Ok(operations)
}

#[cfg(test)]
mod tests;
