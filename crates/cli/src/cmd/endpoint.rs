//! `strongroom endpoint`.

use super::dataset::verification;
use crate::args::EndpointCommand;
use crate::clock::Stopwatch;
use crate::error::Failure;
use crate::exit::Exit;
use crate::output::{Answer, Column, Kind};
use crate::session::{Scope, Session};

/// How long a deployment is waited for: loading verifies every byte; then `endpoint show` tells the rest.
const WAIT_SECONDS: u64 = 120;

const LIST: &[Column] = &[
    Column::new("name", "NAME", Kind::Plain),
    Column::new("state", "STATE", Kind::State),
    Column::new("model", "MODEL", Kind::Plain),
    Column::new("model_digest", "MODEL DIGEST", Kind::Digest),
    Column::new("url", "URL", Kind::Plain),
    Column::new("created", "CREATED", Kind::Time),
];

const SHOW: &[Column] = &[
    Column::new("tenant", "TENANT", Kind::Plain),
    Column::new("name", "NAME", Kind::Plain),
    Column::new("id", "ID", Kind::Plain),
    Column::new("state", "STATE", Kind::State),
    Column::new("reason", "REASON", Kind::Plain),
    Column::new("model", "MODEL", Kind::Plain),
    Column::new("model_digest", "MODEL DIGEST", Kind::Digest),
    Column::new("bom_digest", "BOM DIGEST", Kind::Digest),
    Column::new("url", "URL", Kind::Plain),
    Column::new("created", "CREATED", Kind::Time),
    Column::new("isolation", "ISOLATION", Kind::Count),
];

/// Runs it.
pub(crate) fn run(session: &Session, command: EndpointCommand) -> Result<Answer, Failure> {
    match command {
        EndpointCommand::Deploy { name, model, tenant } => {
            let scope = session.scope(&tenant)?;
            let body = api::EndpointDeploy { name: name.to_string(), model: model.to_string() };
            let first: api::Endpoint = scope.client.create(&scope.route(&["endpoints"]), &body)?;
            let endpoint = settled(&scope, first)?;
            let answer = state_answer(&endpoint);
            Ok(if endpoint.state == "serving" {
                let t = &scope.tenant;
                answer.hint(format!(
                    "next: strongroom key create --endpoint {name} --out {name}.key --tenant {t}"
                ))
            } else {
                answer
            })
        }
        EndpointCommand::List { tenant } => {
            let scope = session.scope(&tenant)?;
            let items: Vec<api::Endpoint> = scope.client.list(&scope.route(&["endpoints"]))?;
            let empty = "no endpoint yet; make one with `strongroom endpoint deploy NAME MODEL`";
            Ok(Answer::list("strongroom.endpoint.list/1", &items, LIST, empty))
        }
        EndpointCommand::Show(arg) => {
            let scope = session.scope(&arg.tenant)?;
            let endpoint: api::Endpoint =
                scope.client.get(&scope.route(&["endpoints", arg.name.as_str()]))?;
            Ok(Answer::record(&endpoint, SHOW))
        }
        EndpointCommand::Verify(arg) => {
            let scope = session.scope(&arg.tenant)?;
            let path = scope.route(&["endpoints", arg.name.as_str(), "verify"]);
            Ok(verification(&scope.client.act(&path)?))
        }
        EndpointCommand::Stop(arg) => {
            let scope = session.scope(&arg.tenant)?;
            let path = scope.route(&["endpoints", arg.name.as_str(), "stop"]);
            let endpoint: api::Endpoint = scope.client.act(&path)?;
            Ok(Answer::record(&endpoint, SHOW))
        }
    }
}

/// The endpoint once it is no longer starting.
fn settled(scope: &Scope, first: api::Endpoint) -> Result<api::Endpoint, Failure> {
    let watch = Stopwatch::start();
    let mut endpoint = first;
    while endpoint.state == "starting" && watch.elapsed().as_secs() < WAIT_SECONDS {
        std::thread::sleep(std::time::Duration::from_millis(150));
        endpoint = scope.client.get(&scope.route(&["endpoints", &endpoint.name]))?;
    }
    Ok(endpoint)
}

/// Exit 3 where the node decided not to serve.
fn state_answer(endpoint: &api::Endpoint) -> Answer {
    let answer = Answer::record(endpoint, SHOW);
    match endpoint.state.as_str() {
        "refused" | "failed" => answer.exit(Exit::No).hint(format!(
            "endpoint `{}` is {}: {}; the record: strongroom audit search --asset {} --kind endpoint.",
            endpoint.name,
            endpoint.state,
            endpoint.reason.as_deref().unwrap_or("no reason given"),
            endpoint.name,
        )),
        _ => answer,
    }
}
