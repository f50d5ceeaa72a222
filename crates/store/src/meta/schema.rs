//! The schema, as migrations that only go forward. `PRAGMA user_version` says how many were applied.
//!
//! Every kind of record has a table of one shape: the owner (a tenant, a person for what is theirs,
//! or '' for the platform), one or two natural
//! key columns, a revision, and the record as JSON. The primary key starts with the owner, so a tenant's list
//! never visits another tenant's rows. Ids that are presented before their tenant is known have an index of their
//! own, which also keeps them unique.

use rusqlite::Connection;

use crate::error::StoreError;

/// Append only; never edit one that was released.
const MIGRATIONS: [&str; 7] = [
    "
    CREATE TABLE generation (
        one INTEGER PRIMARY KEY CHECK (one = 1),
        g INTEGER NOT NULL,
        hash BLOB NOT NULL CHECK (length(hash) = 32),
        log_index INTEGER
    ) STRICT;
    INSERT INTO generation VALUES (1, 0, zeroblob(32), NULL);
    CREATE TABLE tenant (owner TEXT NOT NULL, name TEXT NOT NULL, rev INTEGER NOT NULL, doc TEXT NOT NULL,
        PRIMARY KEY (owner, name)) STRICT, WITHOUT ROWID;
    CREATE TABLE object (owner TEXT NOT NULL, scope TEXT NOT NULL, digest TEXT NOT NULL, rev INTEGER NOT NULL,
        doc TEXT NOT NULL, PRIMARY KEY (owner, scope, digest)) STRICT, WITHOUT ROWID;
    CREATE TABLE dataset (owner TEXT NOT NULL, name TEXT NOT NULL, version INTEGER NOT NULL, rev INTEGER NOT NULL,
        doc TEXT NOT NULL, PRIMARY KEY (owner, name, version)) STRICT, WITHOUT ROWID;
    CREATE TABLE job (owner TEXT NOT NULL, id TEXT NOT NULL, rev INTEGER NOT NULL, doc TEXT NOT NULL,
        PRIMARY KEY (owner, id)) STRICT, WITHOUT ROWID;
    CREATE UNIQUE INDEX job_id ON job (id);
    CREATE TABLE checkpoint (owner TEXT NOT NULL, job TEXT NOT NULL, version INTEGER NOT NULL, rev INTEGER NOT NULL,
        doc TEXT NOT NULL, PRIMARY KEY (owner, job, version)) STRICT, WITHOUT ROWID;
    CREATE TABLE model (owner TEXT NOT NULL, name TEXT NOT NULL, version INTEGER NOT NULL, rev INTEGER NOT NULL,
        doc TEXT NOT NULL, PRIMARY KEY (owner, name, version)) STRICT, WITHOUT ROWID;
    CREATE TABLE endpoint (owner TEXT NOT NULL, id TEXT NOT NULL, rev INTEGER NOT NULL, doc TEXT NOT NULL,
        PRIMARY KEY (owner, id)) STRICT, WITHOUT ROWID;
    CREATE UNIQUE INDEX endpoint_id ON endpoint (id);
    CREATE TABLE api_key (owner TEXT NOT NULL, id TEXT NOT NULL, rev INTEGER NOT NULL, doc TEXT NOT NULL,
        PRIMARY KEY (owner, id)) STRICT, WITHOUT ROWID;
    CREATE UNIQUE INDEX api_key_id ON api_key (id);
    CREATE TABLE receipt (owner TEXT NOT NULL, id TEXT NOT NULL, rev INTEGER NOT NULL, doc TEXT NOT NULL,
        PRIMARY KEY (owner, id)) STRICT, WITHOUT ROWID;
    CREATE UNIQUE INDEX receipt_id ON receipt (id);
",
    "
    CREATE TABLE image (owner TEXT NOT NULL, digest TEXT NOT NULL, rev INTEGER NOT NULL, doc TEXT NOT NULL,
        PRIMARY KEY (owner, digest)) STRICT, WITHOUT ROWID;
    CREATE TABLE image_contents (owner TEXT NOT NULL, digest TEXT NOT NULL, rev INTEGER NOT NULL, doc TEXT NOT NULL,
        PRIMARY KEY (owner, digest)) STRICT, WITHOUT ROWID;
",
    "
    CREATE TABLE egress (owner TEXT NOT NULL, account TEXT NOT NULL, rev INTEGER NOT NULL, doc TEXT NOT NULL,
        PRIMARY KEY (owner, account)) STRICT, WITHOUT ROWID;
    CREATE TABLE service (owner TEXT NOT NULL, name TEXT NOT NULL, rev INTEGER NOT NULL, doc TEXT NOT NULL,
        PRIMARY KEY (owner, name)) STRICT, WITHOUT ROWID;
    CREATE TABLE repeated (owner TEXT NOT NULL, caller TEXT NOT NULL, key TEXT NOT NULL, rev INTEGER NOT NULL,
        doc TEXT NOT NULL, PRIMARY KEY (owner, caller, key)) STRICT, WITHOUT ROWID;
",
    "
    CREATE TABLE user (owner TEXT NOT NULL, name TEXT NOT NULL, rev INTEGER NOT NULL, doc TEXT NOT NULL,
        PRIMARY KEY (owner, name)) STRICT, WITHOUT ROWID;
    CREATE TABLE user_grant (owner TEXT NOT NULL, number INTEGER NOT NULL, rev INTEGER NOT NULL, doc TEXT NOT NULL,
        PRIMARY KEY (owner, number)) STRICT, WITHOUT ROWID;
    CREATE TABLE session (owner TEXT NOT NULL, id TEXT NOT NULL, rev INTEGER NOT NULL, doc TEXT NOT NULL,
        PRIMARY KEY (owner, id)) STRICT, WITHOUT ROWID;
    CREATE UNIQUE INDEX session_id ON session (id);
    CREATE TABLE approval (owner TEXT NOT NULL, id TEXT NOT NULL, rev INTEGER NOT NULL, doc TEXT NOT NULL,
        PRIMARY KEY (owner, id)) STRICT, WITHOUT ROWID;
    CREATE UNIQUE INDEX approval_id ON approval (id);
",
    "
    CREATE TABLE passkey (owner TEXT NOT NULL, id TEXT NOT NULL, rev INTEGER NOT NULL, doc TEXT NOT NULL,
        PRIMARY KEY (owner, id)) STRICT, WITHOUT ROWID;
    CREATE UNIQUE INDEX passkey_id ON passkey (id);
    CREATE TABLE policy (owner TEXT NOT NULL, version INTEGER NOT NULL, rev INTEGER NOT NULL, doc TEXT NOT NULL,
        PRIMARY KEY (owner, version)) STRICT, WITHOUT ROWID;
    CREATE TABLE policy_text (owner TEXT NOT NULL, digest TEXT NOT NULL, rev INTEGER NOT NULL, doc TEXT NOT NULL,
        PRIMARY KEY (owner, digest)) STRICT, WITHOUT ROWID;
",
    "
    CREATE TABLE trust_policy (owner TEXT NOT NULL, version INTEGER NOT NULL, rev INTEGER NOT NULL, doc TEXT NOT NULL,
        PRIMARY KEY (owner, version)) STRICT, WITHOUT ROWID;
    CREATE TABLE revocation (owner TEXT NOT NULL, digest TEXT NOT NULL, rev INTEGER NOT NULL, doc TEXT NOT NULL,
        PRIMARY KEY (owner, digest)) STRICT, WITHOUT ROWID;
    CREATE TABLE intake (owner TEXT NOT NULL, name TEXT NOT NULL, number INTEGER NOT NULL, rev INTEGER NOT NULL,
        doc TEXT NOT NULL, PRIMARY KEY (owner, name, number)) STRICT, WITHOUT ROWID;
",
    "
    CREATE TABLE named_egress (owner TEXT NOT NULL, name TEXT NOT NULL, rev INTEGER NOT NULL, doc TEXT NOT NULL,
        PRIMARY KEY (owner, name)) STRICT, WITHOUT ROWID;
",
];

/// Brings the database to the newest schema, one transaction a step.
pub(super) fn migrate(conn: &mut Connection) -> Result<(), StoreError> {
    let db = || StoreError::db("bring the metadata database to the present schema");
    let found: i64 = conn.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(db())?;
    let known = i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX);
    if !(0..=known).contains(&found) {
        return Err(StoreError::SchemaNewer { found, known });
    }
    for (next, sql) in (1i64..).zip(MIGRATIONS).filter(|(next, _)| *next > found) {
        let tx = conn.transaction().map_err(db())?;
        tx.execute_batch(sql).map_err(db())?;
        tx.pragma_update(None, "user_version", next).map_err(db())?;
        tx.commit().map_err(db())?;
    }
    Ok(())
}
