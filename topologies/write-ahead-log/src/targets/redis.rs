//! Redis: a key's value and its fence, changed by one function in Redis itself, so that nobody sees one without the other.
//!
//! | setting | says | default |
//! |---|---|---|
//! | `prefix` | what keys begin with | `<namespace>:` |
//! | `ttl` | how long values live | for ever |
//! | `fence-ttl` | how long a fence is kept after the last mutation of its key | `24h` |
//! | `username`, `password-env` | login | none |
//!
//! What Redis loses (a failover, a restart without a file) takes values and fences with it. Eviction may take a fence alone: then a
//! call that comes again is applied again, which is wrong only if a later one was applied in between.

use std::time::Duration;

use futures::future::join_all;
use headrace::config::Span;
use headrace::processor::{BoxFuture, Reply};
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, Cmd, ConnectionInfo, ErrorKind, IntoConnectionInfo as _, RedisError};
use tokio::time::{Instant, timeout_at};

use super::settings::Settings;
use super::{Kind, Link, all_failed, failed};
use crate::call::Call;
use crate::mutation::Operation;
use crate::namespace::{Problem, TargetSpec, field};

/// The functions, loaded on each connect.
const FUNCTIONS: &str = include_str!("functions.lua");
const FENCE_TTL: Duration = Duration::from_secs(24 * 60 * 60);
/// A fence has to outlive the calls that may still be on their way.
const SHORTEST_FENCE_TTL: Duration = Duration::from_secs(60);
const SETTINGS: &[&str] = &["prefix", "ttl", "fence-ttl", "username", "password-env"];

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Redis;

impl Kind for Redis {
    fn check(&self, target: &TargetSpec, problems: &mut Vec<Problem>) {
        if let Err(reason) = info(target) {
            problems.push(Problem::new(field(target, "address"), reason, "write it like redis://host:6379/0"));
        }
        let settings = Settings(&target.settings);
        settings.check(target, SETTINGS, problems);
        settings.check_span(target, "ttl", Duration::from_millis(1), problems);
        settings.check_span(target, "fence-ttl", SHORTEST_FENCE_TTL, problems);
    }

    fn place(&self, target: &TargetSpec) -> String {
        format!("redis {} {}", target.address, target.settings.get("prefix").map_or("", String::as_str))
    }

    fn promise(&self, target: &TargetSpec) -> String {
        let fence = fence_ttl(target).map_or_else(|reason| reason, |ttl| Span::new(ttl).to_string());
        format!(
            "takes effect once and in order: a function applies a number only above the last one of its key (fence beside it, kept for \
             {fence}). Data that Redis loses is not written again"
        )
    }

    fn fence_life(&self, target: &TargetSpec) -> Option<Duration> {
        fence_ttl(target).ok()
    }

    fn connection_settings(&self) -> &'static [&'static str] {
        &["username", "password-env"]
    }

    fn link(&self, target: &TargetSpec) -> Result<Box<dyn Link>, String> {
        let mut info = info(target)?;
        let settings = Settings(&target.settings);
        let mut login = info.redis_settings().clone();
        if let Some(username) = settings.text("username") {
            login = login.set_username(username);
        }
        if let Some(password) = settings.secret("password-env")? {
            login = login.set_password(password.reveal());
        }
        info = info.set_redis_settings(login);
        let shown = target.address.to_string();
        Ok(Box::new(RedisLink { info, shown, connection: None }))
    }
}

fn info(target: &TargetSpec) -> Result<ConnectionInfo, String> {
    let address = target.address.reveal();
    if !["redis://", "rediss://"].iter().any(|scheme| address.starts_with(scheme)) {
        return Err("is no redis:// URL".to_owned());
    }
    // Its own words may hold the address.
    address.into_connection_info().map_err(|_| "can't be understood".to_owned())
}

fn fence_ttl(target: &TargetSpec) -> Result<Duration, String> {
    Settings(&target.settings).span("fence-ttl", FENCE_TTL)
}

struct RedisLink {
    info: ConnectionInfo,
    /// The address without its login.
    shown: String,
    connection: Option<MultiplexedConnection>,
}

impl Link for RedisLink {
    fn send<'a>(&'a mut self, calls: &'a [Call], patience: Duration) -> BoxFuture<'a, Vec<Reply>> {
        Box::pin(async move {
            let end = Instant::now() + patience;
            // Taken, so that one that is cut off in the middle is not used again.
            let connection = match self.connection.take() {
                Some(connection) => connection,
                None => match timeout_at(end, self.open(patience)).await {
                    Ok(Ok(connection)) => connection,
                    Ok(Err(reason)) => return all_failed(calls, &reason),
                    Err(_) => return all_failed(calls, &format!("{} does not answer", self.shown)),
                },
            };
            // The client puts them into one write.
            let sent = calls.iter().map(|call| self.apply(connection.clone(), call, end));
            let answers: Vec<(Reply, bool)> = join_all(sent).await;
            if answers.iter().all(|(_, healthy)| *healthy) {
                self.connection = Some(connection);
            }
            answers.into_iter().map(|(reply, _)| reply).collect()
        })
    }
}

impl RedisLink {
    async fn open(&self, patience: Duration) -> Result<MultiplexedConnection, String> {
        let said = |error: RedisError| format!("{}: {}", self.shown, told(&error));
        let client = Client::open(self.info.clone()).map_err(said)?;
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(patience))
            // Each call has its own end.
            .set_response_timeout(None);
        let mut connection = client.get_multiplexed_async_connection_with_config(&config).await.map_err(said)?;
        let mut load = redis::cmd("FUNCTION");
        load.arg("LOAD").arg("REPLACE").arg(FUNCTIONS);
        load.query_async::<()>(&mut connection).await.map_err(said)?;
        Ok(connection)
    }

    /// The reply, and whether the connection may be used again.
    async fn apply(&self, mut connection: MultiplexedConnection, call: &Call, end: Instant) -> (Reply, bool) {
        let command = match command(call) {
            Ok(command) => command,
            Err(reason) => return (Reply::Refused(reason), true),
        };
        match timeout_at(end, command.query_async::<String>(&mut connection)).await {
            Err(_) => (failed(format!("{}: no answer in time", self.shown)), false),
            Ok(Ok(label)) => (read(&label), true),
            Ok(Err(error)) => self.judge(&error),
        }
    }

    fn judge(&self, error: &RedisError) -> (Reply, bool) {
        let text = format!("{}: {}", self.shown, told(error));
        // An emptied or replaced server has no functions: a new connection loads them.
        let forgotten = error.detail().is_some_and(|detail| detail.contains("Function not found"));
        match error.code() {
            Some(_) if forgotten => {
                (failed(format!("{}: the functions are gone; they are loaded again", self.shown)), false)
            }
            Some("READONLY" | "MASTERDOWN" | "LOADING" | "NOAUTH") => (failed(text), false),
            Some(
                "BUSY" | "OOM" | "TRYAGAIN" | "CLUSTERDOWN" | "MISCONF" | "NOREPLICAS" | "NOPERM" | "MAXCLIENTS"
                | "UNKILLABLE",
            ) => (failed(text), true),
            Some(_) => (Reply::Refused(text), true),
            None => (failed(text), false),
        }
    }
}

/// Without details where they may hold an argument.
fn told(error: &RedisError) -> String {
    match (error.kind(), error.code()) {
        (ErrorKind::AuthenticationFailed, _) => "refuses the login".to_owned(),
        (_, Some(code)) => match error.detail().filter(|_| code != "ERR") {
            Some(detail) => format!("{code} {detail}"),
            None => format!("{code} (an error of the command)"),
        },
        _ if error.is_timeout() => "no answer in time".to_owned(),
        _ if error.is_connection_refusal() => "connection refused".to_owned(),
        _ if error.is_connection_dropped() => "connection lost".to_owned(),
        _ => format!("{:?}", error.kind()),
    }
}

fn read(label: &str) -> Reply {
    match label {
        "applied" => Reply::Done("applied"),
        "equal" => Reply::Done("equal"),
        "stale" => Reply::Done("stale"),
        _ => Reply::Refused("the reply is none of headrace_wal_apply's; another library has its name".to_owned()),
    }
}

/// KEYS and ARGV of the function.
fn command(call: &Call) -> Result<Cmd, String> {
    let settings = Settings(&call.target.settings);
    let millis = |span: Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
    let value_ttl = settings.span("ttl", Duration::ZERO).map(millis).map_err(|reason| format!("ttl: {reason}"))?;
    let fence_ttl = fence_ttl(&call.target).map(millis).map_err(|reason| format!("fence-ttl: {reason}"))?;
    let key = match settings.text("prefix") {
        Some(prefix) => format!("{prefix}{}", call.key),
        None => format!("{}:{}", call.namespace, call.key),
    };
    let mut command = redis::cmd("FCALL");
    command.arg("headrace_wal_apply").arg(2).arg(&key).arg(fence_key(call, &key));
    command.arg(call.operation.name()).arg(call.fence()).arg(&call.token).arg(value_ttl).arg(fence_ttl);
    if call.operation == Operation::Put {
        command.arg(call.value.as_deref().ok_or("a put without a value")?);
    }
    Ok(command)
}

/// Not within the prefix, where it could be somebody's key. The length keeps order and key apart.
fn fence_key(call: &Call, key: &str) -> String {
    let order = call.order.as_deref().unwrap_or_default();
    format!("headrace-wal:{}:{}:{}:{order}:{key}", call.namespace, call.target.name, order.len())
}
