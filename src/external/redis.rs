//! Redis as a target: packed commands, pipelined over one connection per lane.
//!
//! The pure half packs each command as bytes, so a batch is one write and one read; the connection is a blocking one,
//! served on tokio's blocking pool, because that is the form of the `redis` crate that takes packed bytes as they are.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use redis::{Client, Connection, ConnectionLike as _, ErrorKind, RedisError, ServerError, Value};

use crate::processor::{BoxFuture, Connect, Failure, Reply, Target};

/// Makes a connection fit before its first batch: loads functions, checks what must be there. Runs on each connect.
pub type Prepare = Arc<dyn Fn(&mut Connection) -> Result<(), RedisError> + Send + Sync>;
/// Reads the reply to one command.
pub type ReadReply = Arc<dyn Fn(&Value) -> Reply + Send + Sync>;

/// Where Redis is and how to talk to it.
#[derive(Clone)]
pub struct RedisSettings {
    /// Address and login.
    pub info: redis::ConnectionInfo,
    /// Patience with one read or write.
    pub timeout: Duration,
    /// Makes a new connection fit.
    pub prepare: Prepare,
    /// Reads replies.
    pub read: ReadReply,
    /// Sent at the end of each batch.
    pub epilogue: Option<Epilogue>,
}

/// A command that ends each batch, and what becomes of its reply.
#[derive(Clone)]
pub struct Epilogue {
    /// The packed command.
    pub command: Vec<u8>,
    /// Reads the reply.
    pub read: Arc<dyn Fn(&Value) + Send + Sync>,
}

impl fmt::Debug for RedisSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The login may hold a password.
        f.debug_struct("RedisSettings").field("timeout", &self.timeout).finish_non_exhaustive()
    }
}

/// Opens connections to Redis.
#[derive(Debug)]
pub struct RedisConnect {
    settings: RedisSettings,
}

impl RedisConnect {
    /// Nothing is opened yet.
    pub fn new(settings: RedisSettings) -> Self {
        RedisConnect { settings }
    }
}

impl Connect for RedisConnect {
    fn connect(&self) -> BoxFuture<'_, Result<Box<dyn Target>, Failure>> {
        let settings = self.settings.clone();
        Box::pin(async move {
            let target = blocking(move || RedisTarget::open(settings)).await?;
            Ok(Box::new(target) as Box<dyn Target>)
        })
    }
}

struct RedisTarget {
    /// Taken while a batch is under way; not put back after a failure.
    connection: Option<Connection>,
    read: ReadReply,
    epilogue: Option<Epilogue>,
}

impl RedisTarget {
    fn open(settings: RedisSettings) -> Result<Self, Failure> {
        let client = Client::open(settings.info).map_err(|error| failure(&error))?;
        let mut connection = client.get_connection_with_timeout(settings.timeout).map_err(|error| failure(&error))?;
        let timeouts = connection
            .set_read_timeout(Some(settings.timeout))
            .and_then(|()| connection.set_write_timeout(Some(settings.timeout)));
        timeouts.map_err(|error| failure(&error))?;
        (settings.prepare)(&mut connection).map_err(|error| failure(&error))?;
        Ok(RedisTarget { connection: Some(connection), read: settings.read, epilogue: settings.epilogue })
    }
}

impl Target for RedisTarget {
    fn send<'a>(&'a mut self, bodies: &'a [&'a [u8]]) -> BoxFuture<'a, Result<Vec<Reply>, Failure>> {
        let mut packed = bodies.concat();
        let mut count = bodies.len();
        if let Some(epilogue) = &self.epilogue {
            packed.extend_from_slice(&epilogue.command);
            count += 1;
        }
        Box::pin(async move {
            let mut connection = self.connection.take().ok_or_else(|| Failure::Away("connection lost".into()))?;
            let (connection, values) = blocking(move || {
                let values = connection.req_packed_commands(&packed, 0, count).map_err(|error| failure(&error))?;
                Ok((connection, values))
            })
            .await?;
            let (values, last) = values.split_at(bodies.len().min(values.len()));
            let mut replies = Vec::with_capacity(values.len());
            for value in values {
                if let Value::ServerError(error) = value
                    && is_passing(error)
                {
                    return Err(Failure::Away(format!("{} {}", error.code(), error.details().unwrap_or_default())));
                }
                replies.push((self.read)(value));
            }
            if let (Some(epilogue), Some(value)) = (&self.epilogue, last.first()) {
                (epilogue.read)(value);
            }
            self.connection = Some(connection);
            Ok(replies)
        })
    }
}

/// Errors of a single command that say something about the server, not about the command.
fn is_passing(error: &ServerError) -> bool {
    const CODES: [&str; 11] = [
        "LOADING",
        "BUSY",
        "OOM",
        "READONLY",
        "MASTERDOWN",
        "TRYAGAIN",
        "CLUSTERDOWN",
        "MISCONF",
        "NOREPLICAS",
        "NOAUTH",
        "NOPERM",
    ];
    // An emptied or replaced server has no functions; a new connection loads them.
    CODES.contains(&error.code()) || error.details().is_some_and(|details| details.contains("Function not found"))
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, Failure> + Send + 'static) -> Result<T, Failure> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(Failure::Away(error.to_string())))
}

fn failure(error: &RedisError) -> Failure {
    match error.kind() {
        ErrorKind::AuthenticationFailed | ErrorKind::InvalidClientConfig => Failure::Unfit(error.to_string()),
        // The system's own words for it are "Resource temporarily unavailable".
        _ if error.is_timeout() => Failure::Away("no reply within redis.timeout".to_owned()),
        _ => Failure::Away(error.to_string()),
    }
}
