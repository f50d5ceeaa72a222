//! The one table of endpoints: router, authorisation and command line derive from it.

/// HTTP method.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// Reads.
    Get,
    /// Creates or acts.
    Post,
    /// Uploads.
    Put,
}

/// What a call does to the world.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Nothing.
    Read,
    /// Adds or changes.
    Change,
    /// Ends or removes.
    Destructive,
}

/// One endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Route {
    /// Method.
    pub method: Method,
    /// Path below `/v1`, parameters in braces; `{*path}` takes the rest.
    pub path: &'static str,
    /// Operation id.
    pub operation: &'static str,
    /// Effect.
    pub effect: Effect,
    /// Whose it is. Which roles may call it is decided by `access` alone; this says for whom it exists.
    pub who: Who,
    /// Kind of the audit event that a call leaves, as `ops::event::EventKind` names it; `none` for reads of
    /// metadata.
    pub audit: &'static str,
}

/// For whom an endpoint exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Who {
    /// The operator of the node, on its local socket.
    Operator,
    /// The operator, and keys of the tenant that the path names; for others it does not exist.
    Tenant,
    /// Everybody who is authenticated.
    Any,
}

const fn route(
    method: Method,
    path: &'static str,
    operation: &'static str,
    effect: Effect,
    who: Who,
    audit: &'static str,
) -> Route {
    Route { method, path, operation, effect, who, audit }
}

use Effect::{Change, Destructive, Read};
use Method::{Get, Post, Put};
use Who::{Any, Operator, Tenant};

/// Every endpoint.
pub const TABLE: &[Route] = &[
    route(Get, "/status", "status", Read, Any, "none"),
    route(Get, "/whoami", "whoami", Read, Any, "none"),
    route(Post, "/tenants", "tenant.create", Change, Operator, "tenant.create"),
    route(Get, "/tenants", "tenant.list", Read, Any, "none"),
    route(Get, "/tenants/{tenant}", "tenant.show", Read, Tenant, "none"),
    route(Post, "/tenants/{tenant}/imports", "import.begin", Change, Tenant, "dataset.import"),
    route(
        Put,
        "/tenants/{tenant}/imports/{id}/files/{*path}",
        "import.file",
        Change,
        Tenant,
        "dataset.import",
    ),
    route(Post, "/tenants/{tenant}/imports/{id}/commit", "import.commit", Change, Tenant, "dataset.import"),
    route(Get, "/tenants/{tenant}/datasets", "dataset.list", Read, Tenant, "none"),
    route(Get, "/tenants/{tenant}/datasets/{name}/{version}", "dataset.show", Read, Tenant, "none"),
    route(
        Post,
        "/tenants/{tenant}/datasets/{name}/{version}/verify",
        "dataset.verify",
        Read,
        Tenant,
        "dataset.verify",
    ),
    route(Get, "/tenants/{tenant}/images", "image.list", Read, Tenant, "none"),
    route(Get, "/tenants/{tenant}/images/{digest}", "image.show", Read, Tenant, "none"),
    route(Post, "/tenants/{tenant}/jobs", "job.run", Change, Tenant, "job.submit"),
    route(Get, "/tenants/{tenant}/jobs", "job.list", Read, Tenant, "none"),
    route(Get, "/tenants/{tenant}/jobs/{job}", "job.show", Read, Tenant, "none"),
    route(Get, "/tenants/{tenant}/jobs/{job}/events", "job.watch", Read, Tenant, "none"),
    route(Post, "/tenants/{tenant}/jobs/{job}/stop", "job.stop", Destructive, Tenant, "job.stop"),
    route(Post, "/tenants/{tenant}/jobs/{job}/resume", "job.resume", Change, Tenant, "job.resume"),
    route(Get, "/tenants/{tenant}/jobs/{job}/checkpoints", "job.checkpoint.list", Read, Tenant, "none"),
    route(Get, "/tenants/{tenant}/models", "model.list", Read, Tenant, "none"),
    route(Get, "/tenants/{tenant}/models/{name}/{version}", "model.show", Read, Tenant, "none"),
    route(
        Post,
        "/tenants/{tenant}/models/{name}/{version}/verify",
        "model.verify",
        Read,
        Tenant,
        "model.verify",
    ),
    route(
        Get,
        "/tenants/{tenant}/models/{name}/{version}/signature",
        "model.signature",
        Read,
        Tenant,
        "none",
    ),
    route(
        Get,
        "/tenants/{tenant}/models/{name}/{version}/files/{*path}",
        "model.export",
        Read,
        Tenant,
        "model.export",
    ),
    route(Get, "/tenants/{tenant}/models/{name}/{version}/bom", "bom.export", Read, Tenant, "bom.export"),
    route(Post, "/tenants/{tenant}/endpoints", "endpoint.deploy", Change, Tenant, "endpoint.deploy"),
    route(Get, "/tenants/{tenant}/endpoints", "endpoint.list", Read, Tenant, "none"),
    route(Get, "/tenants/{tenant}/endpoints/{name}", "endpoint.show", Read, Tenant, "none"),
    route(
        Post,
        "/tenants/{tenant}/endpoints/{name}/stop",
        "endpoint.stop",
        Destructive,
        Tenant,
        "endpoint.stop",
    ),
    route(Post, "/tenants/{tenant}/keys", "key.create", Change, Tenant, "api_key.create"),
    route(Get, "/tenants/{tenant}/keys", "key.list", Read, Tenant, "none"),
    route(Post, "/tenants/{tenant}/keys/{id}/revoke", "key.revoke", Destructive, Tenant, "api_key.revoke"),
    route(Post, "/tenants/{tenant}/services", "service.create", Change, Tenant, "service.create"),
    route(Get, "/tenants/{tenant}/services", "service.list", Read, Tenant, "none"),
    route(
        Post,
        "/tenants/{tenant}/services/{name}/revoke",
        "service.revoke",
        Destructive,
        Tenant,
        "service.revoke",
    ),
    // It adds nothing to the world: what it answers with ends within the hour and is not kept.
    route(Post, "/identity/renew", "identity.renew", Read, Any, "service.renew"),
    route(Get, "/audit/entries", "audit.search", Read, Any, "log.read"),
    route(Get, "/audit/files", "audit.files", Read, Operator, "log.export"),
    route(Get, "/audit/files/{*path}", "audit.file", Read, Operator, "none"),
    route(Get, "/egress", "egress.list", Read, Any, "none"),
    route(Get, "/receipts/{id}", "receipt.show", Read, Any, "none"),
    route(Post, "/posture/run", "posture.run", Change, Operator, "posture.run"),
    route(Get, "/posture", "posture.show", Read, Operator, "none"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_are_unique_and_what_changes_the_world_is_audited() {
        let mut seen = std::collections::BTreeSet::new();
        for route in TABLE {
            assert!(seen.insert(route.operation), "{} twice", route.operation);
            assert!(route.effect == Read || route.audit != "none", "{} leaves no event", route.operation);
            assert_eq!(route.who == Tenant, route.path.contains("{tenant}"), "{}", route.operation);
        }
    }
}
