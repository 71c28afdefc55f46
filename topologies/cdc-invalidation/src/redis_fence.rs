//! The cache: one function call per row, which applies only what is newer (rule C3).
//!
//! [`RedisFence`] packs the call; the functions in `functions.lua` decide in Redis, atomically. Each batch ends with a
//! beat, a counter that this process remembers: if Redis comes back with fewer beats than were acknowledged, it has lost
//! writes, and the floor is raised so that no entry is trusted (rule C11).

use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::sync::{Arc, Mutex, PoisonError};

use headrace::error::{FatalError, RecordError};
use headrace::external::{Epilogue, Prepare, RedisConnect, RedisSettings};
use headrace::processor::{Connect, ExternalSink, Reply, Requests};
use headrace::record::Record;
use redis::{Cmd, IntoConnectionInfo as _, Value};

use crate::config::Redis;
use crate::rows::{Action, Invalidation, RowKey};

/// The functions, loaded on each connect.
pub const FUNCTIONS: &str = include_str!("functions.lua");

/// Applies invalidations to Redis.
#[derive(Debug)]
pub struct RedisFence {
    namespace: String,
    ttl_ms: u64,
    tombstone_ttl_ms: u64,
    connect: Arc<RedisConnect>,
}

/// What this process knows of the data set it last wrote to.
#[derive(Debug, Default)]
struct Memory {
    incarnation: String,
    beats: Option<i64>,
}

impl RedisFence {
    /// From the configuration; opens nothing.
    ///
    /// # Errors
    /// The URL can't be parsed.
    pub fn new(config: &Redis) -> Result<Self, FatalError> {
        let url = config.url.as_str();
        if url.split_once("://").is_some_and(|(_, rest)| rest.split('/').next().is_some_and(|host| host.contains('@')))
        {
            let way_out = "set redis.username, and the password by HEADRACE__REDIS__PASSWORD or redis.password-file";
            return Err(FatalError::Config(format!("redis.url: holds a login, which would be printed; {way_out}")));
        }
        let info = url.into_connection_info();
        let mut info =
            info.map_err(|error| FatalError::Config(format!("redis.url: {error}; write redis://host:port/db")))?;
        let mut login = info.redis_settings().clone();
        if let Some(username) = &config.username {
            login = login.set_username(username);
        }
        if let Some(password) = &config.password {
            login = login.set_password(password.reveal());
        }
        info = info.set_redis_settings(login);
        // The lane of this process; not the instance, since a new process remembers nothing.
        let lane = format!("{:016x}", fastrand::u64(..));
        let memory = Arc::new(Mutex::new(Memory::default()));
        let realm = config.namespace.clone();
        let settings = RedisSettings {
            info,
            timeout: config.timeout.duration(),
            prepare: prepare(realm.clone(), lane.clone(), Arc::clone(&memory)),
            read: Arc::new(read_reply),
            epilogue: Some(epilogue(&realm, &lane, memory)),
        };
        Ok(RedisFence {
            namespace: config.namespace.clone(),
            ttl_ms: config.ttl.millis(),
            tombstone_ttl_ms: config.tombstone_ttl.millis(),
            connect: Arc::new(RedisConnect::new(settings)),
        })
    }
}

impl ExternalSink<RowKey, Invalidation> for RedisFence {
    fn kind(&self) -> &'static str {
        "redis"
    }

    fn requests(&self, record: &Record<RowKey, Invalidation>, requests: &mut Requests<'_>) -> Result<(), RecordError> {
        let (row, change) = (&record.key, &record.value);
        let table = format!("{}:{}", self.namespace, row.table);
        let position = change.version.get(..8).zip(change.version.get(9..41));
        let position = position.map(|(epoch, position)| format!("{epoch}{position}")).unwrap_or_default();
        let mut call = Cmd::new();
        if change.action == Action::Truncate {
            call.arg("FCALL").arg("headrace_truncate").arg(1).arg(&table).arg(&position);
            requests.push(hash(&table), &call.get_packed_command());
            return Ok(());
        }
        call.arg("FCALL").arg("headrace_apply").arg(3).arg(&change.cache_key).arg(&table).arg(&self.namespace);
        call.arg(action_name(change.action)).arg(&change.version).arg(&position);
        call.arg(change.fingerprint.as_deref().unwrap_or_default()).arg(&change.schema_fence);
        call.arg(self.ttl_ms).arg(self.tombstone_ttl_ms).arg(change.image.as_deref().unwrap_or_default());
        requests.push(hash(&change.cache_key), &call.get_packed_command());
        Ok(())
    }

    fn target(&self) -> Arc<dyn Connect> {
        Arc::clone(&self.connect) as Arc<dyn Connect>
    }
}

fn action_name(action: Action) -> &'static str {
    match action {
        Action::Set => "SET",
        Action::Invalidate => "INVALIDATE",
        Action::Delete => "DELETE",
        Action::Truncate => "TRUNCATE",
        Action::Drop => "DROP",
    }
}

/// The lane of a key; the same in every run of the program.
fn hash(key: &str) -> u64 {
    BuildHasherDefault::<DefaultHasher>::default().hash_one(key)
}

fn read_reply(value: &Value) -> Reply {
    let text = match value {
        Value::BulkString(bytes) => std::str::from_utf8(bytes).unwrap_or("unreadable"),
        Value::SimpleString(text) => text.as_str(),
        Value::ServerError(error) => {
            // A WRONGTYPE entry, say: somebody else uses the key. The error's text holds no payload.
            return Reply::Refused(format!("{} {}", error.code(), error.details().unwrap_or_default()));
        }
        _ => "unreadable",
    };
    match text {
        "applied" => Reply::Done("applied"),
        "equal" => Reply::Done("equal"),
        "stale" => Reply::Done("stale"),
        _ => Reply::Refused("the reply is none of headrace_apply's".to_owned()),
    }
}

/// Loads the functions and asks whether the data set is the one that was written to.
fn prepare(realm: String, lane: String, memory: Arc<Mutex<Memory>>) -> Prepare {
    Arc::new(move |connection| {
        redis::cmd("FUNCTION").arg("LOAD").arg("REPLACE").arg(FUNCTIONS).query::<()>(connection)?;
        let server: String = redis::cmd("INFO").arg("server").query(connection)?;
        let run = server.lines().find_map(|line| line.strip_prefix("run_id:")).unwrap_or_default();
        let fresh = format!("{:016x}", fastrand::u64(..));
        // Held over the call: two lanes that reconnect at once must not both find the loss.
        let mut memory = memory.lock().unwrap_or_else(PoisonError::into_inner);
        let beats = memory.beats.map(|beats| beats.to_string()).unwrap_or_default();
        let mut call = redis::cmd("FCALL");
        call.arg("headrace_open").arg(1).arg(&realm).arg(&lane).arg(beats).arg(&memory.incarnation).arg(run).arg(fresh);
        let (incarnation, lost): (String, i64) = call.query(connection)?;
        if lost == 1 {
            tracing::warn!(target: "headrace::cdc", "redis has lost data; every cached entry counts as a miss from now on");
        }
        memory.incarnation = incarnation;
        memory.beats.get_or_insert(0);
        Ok(())
    })
}

/// Counts the batch in Redis, and remembers how far the count has come.
fn epilogue(realm: &str, lane: &str, memory: Arc<Mutex<Memory>>) -> Epilogue {
    let mut call = redis::cmd("FCALL");
    call.arg("headrace_beat").arg(1).arg(realm).arg(lane);
    let read = move |value: &Value| {
        if let Value::Int(beats) = value {
            let mut memory = memory.lock().unwrap_or_else(PoisonError::into_inner);
            memory.beats = memory.beats.max(Some(*beats));
        }
    };
    Epilogue { command: call.get_packed_command(), read: Arc::new(read) }
}
