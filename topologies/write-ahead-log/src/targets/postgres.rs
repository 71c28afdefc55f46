//! PostgreSQL: a row and its fence, changed by one statement, which is a transaction.
//!
//! | setting | says |
//! |---|---|
//! | `table` | the table, as `schema.table` or `table`; capitals count |
//! | `key` | its column of the mutation's key; a unique constraint has to be on it |
//! | `password-env` | the password |
//!
//! A PUT's value is a JSON object of columns. Fences are the table `headrace_wal_fences`, made where it is missing; its rows stay:
//! whoever wants them fewer deletes those whose `applied_at` is older than any retry can be. With `sslmode=require` in the address
//! connections are refused for now: this client brings no TLS.

use std::collections::HashMap;
use std::time::Duration;

use futures::future::join_all;
use headrace::processor::{BoxFuture, Reply};
use tokio::task::AbortHandle;
use tokio::time::{Instant, timeout_at};
use tokio_postgres::config::SslMode;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Config, Error, NoTls};

use super::rows::{FENCE, FENCES, RAISE, Table};
use super::settings::Settings;
use super::{Kind, Link, all_failed, failed};
use crate::call::Call;
use crate::namespace::{Problem, TargetSpec, field};

const SETTINGS: &[&str] = &["table", "key", "password-env"];
/// Statements that are kept prepared, per connection: one by table and set of columns.
const MOST_STATEMENTS: usize = 128;
/// Of namespace, target, ordering, key, number, token, row.
const PARAMETERS: [Type; 7] = [Type::TEXT, Type::TEXT, Type::TEXT, Type::TEXT, Type::INT8, Type::TEXT, Type::TEXT];

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Postgres;

impl Kind for Postgres {
    fn check(&self, target: &TargetSpec, problems: &mut Vec<Problem>) {
        if let Err(reason) = config(target) {
            let way_out = "write it like postgres://user@host:5432/database";
            problems.push(Problem::new(field(target, "address"), reason, way_out));
        }
        let settings = Settings(&target.settings);
        settings.check(target, SETTINGS, problems);
        if let Err(reason) = Table::of(&settings) {
            problems.push(Problem::new(field(target, "settings"), reason, "add it under settings"));
        }
    }

    fn place(&self, target: &TargetSpec) -> String {
        let table = Table::of(&Settings(&target.settings))
            .map_or_else(|_| target.name.clone(), |table| table.name().to_owned());
        format!("postgres {} {table}", target.address)
    }

    fn promise(&self, _: &TargetSpec) -> String {
        "takes effect once and in order: row and fence change in one transaction, and only for a number above the last one of its key"
            .to_owned()
    }

    fn connection_settings(&self) -> &'static [&'static str] {
        &["password-env"]
    }

    fn link(&self, target: &TargetSpec) -> Result<Box<dyn Link>, String> {
        let mut config = config(target)?;
        if let Some(password) = Settings(&target.settings).secret("password-env")? {
            config.password(password.reveal());
        }
        config.application_name("headrace write-ahead-log");
        Ok(Box::new(PostgresLink { config, shown: target.address.to_string(), session: None }))
    }
}

fn config(target: &TargetSpec) -> Result<Config, String> {
    let address = target.address.reveal();
    if !["postgres://", "postgresql://"].iter().any(|scheme| address.starts_with(scheme)) {
        return Err("is no postgres:// URL".to_owned());
    }
    // Its own words may hold the address.
    let config: Config = address.parse().map_err(|_| "can't be understood".to_owned())?;
    if config.get_ssl_mode() == SslMode::Require {
        return Err("wants TLS (sslmode=require), which this client does not have".to_owned());
    }
    if config.get_hosts().is_empty() {
        return Err("has no host".to_owned());
    }
    Ok(config)
}

struct PostgresLink {
    config: Config,
    /// The address without its login.
    shown: String,
    session: Option<Session>,
}

struct Session {
    client: Client,
    statements: HashMap<String, tokio_postgres::Statement>,
    fence: tokio_postgres::Statement,
    raise: tokio_postgres::Statement,
    /// Reads and writes; ended with the session, also where the server says nothing more.
    connection: AbortHandle,
}

impl Drop for Session {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

impl Link for PostgresLink {
    fn send<'a>(&'a mut self, calls: &'a [Call], patience: Duration) -> BoxFuture<'a, Vec<Reply>> {
        Box::pin(async move {
            let end = Instant::now() + patience;
            // Taken, so that one that is cut off in the middle is not used again.
            let mut session = match self.session.take().filter(|session| !session.client.is_closed()) {
                Some(session) => session,
                None => match timeout_at(end, self.open(patience)).await {
                    Ok(Ok(session)) => session,
                    Ok(Err(error)) => return all_failed(calls, &format!("{}: {}", self.shown, told(&error))),
                    Err(_) => return all_failed(calls, &format!("{} does not answer", self.shown)),
                },
            };
            let mut prepared = Vec::with_capacity(calls.len());
            for call in calls {
                prepared.push(match timeout_at(end, session.prepare(call)).await {
                    Ok(Ok(prepared)) => Ok(prepared),
                    Ok(Err(judged)) => Err(judged),
                    Err(_) => Err(late()),
                });
            }
            // Sent one behind the other without waiting; each is a transaction of its own.
            let sent = calls.iter().zip(prepared).map(|(call, prepared)| session.apply(call, prepared, end));
            let judged: Vec<Judged> = join_all(sent).await;
            if judged.iter().all(|judged| judged.healthy) {
                self.session = Some(session);
            }
            judged.into_iter().map(|judged| judged.reply(&self.shown)).collect()
        })
    }
}

impl PostgresLink {
    async fn open(&self, patience: Duration) -> Result<Session, Error> {
        let mut config = self.config.clone();
        config.connect_timeout(patience);
        let (client, connection) = config.connect(NoTls).await?;
        // Its error comes out of the client's next call.
        let connection = tokio::spawn(async move { _ = connection.await }).abort_handle();
        // What nobody waits for any more must not hold locks.
        let limits = format!("set statement_timeout = {}", patience.as_millis().max(1));
        client.batch_execute(&limits).await?;
        // Who may not create tables may use one that is there.
        let found = client.query_one("select to_regclass('headrace_wal_fences') is not null", &[]).await?;
        if !found.try_get::<_, bool>(0)? && client.batch_execute(FENCES).await.is_err() {
            // Two at once are one too many for `if not exists`; by now the other one has made it.
            client.batch_execute(FENCES).await?;
        }
        let fence = client.prepare_typed(FENCE, &PARAMETERS[..4]).await?;
        let raise = client.prepare_typed(RAISE, &PARAMETERS[..6]).await?;
        Ok(Session { client, statements: HashMap::new(), fence, raise, connection })
    }
}

/// What became of a call, and whether the session may be used again.
struct Judged {
    outcome: Outcome,
    healthy: bool,
}

enum Outcome {
    Done(&'static str),
    Refused(String),
    Failed(String),
}

impl Judged {
    fn reply(self, shown: &str) -> Reply {
        match self.outcome {
            Outcome::Done(label) => Reply::Done(label),
            Outcome::Refused(reason) => Reply::Refused(format!("{shown}: {reason}")),
            Outcome::Failed(reason) => failed(format!("{shown}: {reason}")),
        }
    }
}

struct Prepared {
    statement: tokio_postgres::Statement,
    row: String,
}

impl Session {
    async fn prepare(&mut self, call: &Call) -> Result<Prepared, Judged> {
        let refused = |reason| Judged { outcome: Outcome::Refused(reason), healthy: true };
        let table = Table::of(&Settings(&call.target.settings)).map_err(refused)?;
        let super::rows::Statement { text, row } = table.statement(call).map_err(refused)?;
        if let Some(statement) = self.statements.get(&text) {
            return Ok(Prepared { statement: statement.clone(), row });
        }
        let statement = self.client.prepare_typed(&text, &PARAMETERS).await.map_err(|error| judge(&error))?;
        if self.statements.len() >= MOST_STATEMENTS {
            // Dropped statements are closed at the server by the client.
            self.statements.clear();
        }
        self.statements.insert(text, statement.clone());
        Ok(Prepared { statement, row })
    }

    async fn apply(&self, call: &Call, prepared: Result<Prepared, Judged>, end: Instant) -> Judged {
        let prepared = match prepared {
            Ok(prepared) => prepared,
            Err(judged) => return judged,
        };
        match timeout_at(end, self.applied(call, &prepared)).await {
            Ok(Ok(label)) => Judged { outcome: Outcome::Done(label), healthy: true },
            Ok(Err(error)) => judge(&error),
            Err(_) => late(),
        }
    }

    async fn applied(&self, call: &Call, prepared: &Prepared) -> Result<&'static str, Error> {
        let order = call.order.as_deref().unwrap_or_default();
        let Call { namespace, target, key, number, token, .. } = call;
        let all: [&(dyn ToSql + Sync); 7] = [namespace, &target.name, &order, key, number, token, &prepared.row];
        if self.client.query_one(&prepared.statement, &all).await?.try_get::<_, bool>(0)? {
            return Ok("applied");
        }
        // Asked for by a statement of its own: the one before does not see what it has waited for.
        let Some(fence) = self.client.query_opt(&self.fence, &all[..4]).await? else { return Ok("stale") };
        let (last, of): (i64, String) = (fence.try_get(0)?, fence.try_get(1)?);
        if last > *number {
            return Ok("stale");
        }
        if last < *number && of == *token {
            self.client.execute(&self.raise, &all[..6]).await?;
        }
        Ok("equal")
    }
}

fn late() -> Judged {
    Judged { outcome: Outcome::Failed("no answer in time".to_owned()), healthy: false }
}

fn judge(error: &Error) -> Judged {
    let Some(state) = error.code() else {
        // Without one it is not the statement: the connection is lost, or it was never one.
        return Judged { outcome: Outcome::Failed(told(error)), healthy: false };
    };
    match passes(state.code()) {
        Some(healthy) => Judged { outcome: Outcome::Failed(told(error)), healthy },
        None => Judged { outcome: Outcome::Refused(told(error)), healthy: true },
    }
}

/// Whether the same statement may be answered otherwise later, and then whether in this session. By SQLSTATE (appendix A of the
/// manual).
fn passes(state: &str) -> Option<bool> {
    match state {
        // A statement that was prepared before the table was changed, or at another server behind a pooler; a server that has become
        // a replica.
        "0A000" | "26000" | "25006" => Some(false),
        // Somebody else holds it.
        "55006" | "55P03" => Some(true),
        _ => match state.get(..2)? {
            // Serialization and deadlocks; too few resources.
            "40" | "53" => Some(true),
            // Connections; an operator; the system; itself.
            "08" | "57" | "58" | "XX" => Some(false),
            _ => None,
        },
    }
}

/// Without what may be of the value: details always, and what is quoted but where only names are.
fn told(error: &Error) -> String {
    let Some(error) = error.as_db_error() else {
        let cause = std::error::Error::source(error).map(|cause| format!(": {cause}")).unwrap_or_default();
        return format!("{error}{cause}");
    };
    let state = error.code().code();
    let names = ["08", "23", "28", "3D", "42", "53", "57"].iter().any(|class| state.starts_with(class));
    let message = if names { error.message().to_owned() } else { masked(error.message()) };
    let column = error.column().map(|column| format!(" (column {column})")).unwrap_or_default();
    format!("{message}{column} (SQLSTATE {state})")
}

/// What is between quotes becomes dots.
fn masked(message: &str) -> String {
    let parts = message.split('"').enumerate();
    parts.map(|(at, part)| if at % 2 == 0 { part.to_owned() } else { "\"…\"".to_owned() }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn w9_what_may_pass_is_told_from_what_never_does() {
        for state in ["40001", "40P01", "53300", "55P03"] {
            assert_eq!(passes(state), Some(true), "{state}");
        }
        for state in ["08006", "57P01", "57014", "58030", "26000", "25006"] {
            assert_eq!(passes(state), Some(false), "{state}");
        }
        for state in ["23505", "23502", "22P02", "42703", "42P01", "P0001"] {
            assert_eq!(passes(state), None, "{state}");
        }
    }

    #[test]
    fn o5_quoted_values_are_not_repeated() {
        assert_eq!(
            masked("invalid input syntax for type integer: \"canary\""),
            "invalid input syntax for type integer: \"…\""
        );
        assert_eq!(
            masked("value too long for type character varying(3)"),
            "value too long for type character varying(3)"
        );
    }
}
