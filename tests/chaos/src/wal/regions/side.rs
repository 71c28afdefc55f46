//! One region: its servers, its instances, and the ways to them from the other one.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use testbed::{Cache, Dirs, Kafka, Redis, Registry, free_port};
use write_ahead_log::namespace::{Breaker, Namespace, Retry, TargetKind, TargetSpec};

use crate::Result;
use crate::brokers::share_groups;
use crate::network::Relay;
use crate::queue::ground::Ground;
use crate::queue::member::{Member, PEER, program};
use crate::wal::results::Follower;
use crate::wal::settings::{NAMESPACE, configure, set};

/// The binary.
const BINARY: &str = "write-ahead-log";
/// Its store, as a target.
pub const CACHE: &str = "cache";
/// What keys have before them there.
const PREFIX: &str = "region:";

/// The servers of a region.
pub struct Servers {
    name: &'static str,
    kafka: Kafka,
    registry: Registry,
    redis: Redis,
}

impl Servers {
    /// Starts them.
    ///
    /// # Errors
    /// One does not start.
    pub fn start(cache: &Cache, dirs: &Dirs, name: &'static str) -> Result<Servers> {
        let kafka = share_groups(Kafka::builder()?).start(cache, dirs)?;
        Ok(Servers { name, kafka, registry: Registry::start(cache, dirs)?, redis: Redis::start(cache, dirs)? })
    }
}

/// A region.
pub struct Side<'a> {
    /// Its name.
    pub name: &'static str,
    /// Its brokers, and its topics.
    pub ground: Ground,
    /// Its store.
    pub redis: &'a Redis,
    members: Vec<Member>,
    /// To the first instance, from the other region.
    way: Relay,
    follower: Option<Follower>,
    turn: usize,
}

impl<'a> Side<'a> {
    /// With these instances and its topics, and nothing running.
    ///
    /// # Errors
    /// The binary is missing, or its topics can't be made.
    pub fn new(servers: &'a Servers, directory: &Path, instances: &[&str]) -> Result<Side<'a>> {
        let Servers { name, kafka, registry, redis } = servers;
        let ground = Ground::new(kafka.bootstrap_servers(), registry.url(), name, 1);
        let member = |instance: &str| {
            let http = format!("127.0.0.1:{}", free_port()?);
            let own: PathBuf = directory.join(format!("{name}-{instance}"));
            let config = configure(&ground, &own, instance, &http, &format!("[region]\nname = \"{name}\"\n"))?;
            Member::of(BINARY, &format!("{name}-{instance}"), config, http)
        };
        let members = instances.iter().map(|instance| member(instance)).collect::<Result<Vec<_>>>()?;
        let way = Relay::to(members[0].http())?;
        members[0].apply()?;
        let follower = Some(Follower::start(&ground)?);
        Ok(Side { name, ground, redis, members, way, follower, turn: 0 })
    }

    /// Has a namespace of it write to its store, and to another region, by the way there.
    ///
    /// # Errors
    /// The brokers don't take it.
    pub fn join(&self, namespace: &str, other: (&str, &Relay)) -> Result<()> {
        set(&self.ground, namespace, &replicated(self.redis, other))
    }

    /// The way to it, from the other region.
    pub fn way(&self) -> &Relay {
        &self.way
    }

    /// What its store has under a key.
    ///
    /// # Errors
    /// It is away.
    pub fn value(&self, key: &str) -> Result<Option<String>> {
        value(self.redis, key)
    }

    /// Starts its instances, and waits until they are ready.
    ///
    /// # Errors
    /// They are not, in time.
    pub fn start(&mut self) -> Result<()> {
        self.members.iter_mut().try_for_each(Member::start)?;
        self.members.iter_mut().try_for_each(Member::wait_ready)
    }

    /// `host:port` of each instance.
    pub fn instances(&self) -> Vec<String> {
        self.members.iter().map(|member| member.http().to_owned()).collect()
    }

    /// `kill -9` of an instance, one after the other, or of its store; it is there again at once. Gives who it was.
    pub(super) fn kill(&mut self, store: bool) -> Result<String> {
        if store {
            self.redis.kill();
            self.redis.start()?;
            return Ok(format!("redis of {}", self.name));
        }
        self.turn += 1;
        let turn = self.turn % self.members.len();
        let member = &mut self.members[turn];
        member.kill()?;
        member.start()?;
        Ok(member.name().to_owned())
    }

    /// Starts again whoever has ended by itself, as a supervisor would.
    ///
    /// # Errors
    /// There is no process to be had.
    pub fn supervise(&mut self) -> Result<()> {
        for member in &mut self.members {
            if let Some(status) = member.ended()? {
                println!("{} has ended by itself: {status}", member.name());
                member.start()?;
            }
        }
        Ok(())
    }

    /// How many mutations have ended at each of their targets, by now.
    pub fn ended(&self) -> Arc<AtomicUsize> {
        self.follower.as_ref().map(Follower::ended).unwrap_or_default()
    }

    /// What the binary itself says of both regions.
    pub(super) fn audit(&self, other: &Side<'_>) -> Result<String> {
        let mut command = Command::new(program(BINARY)?);
        command.args(["regions", "audit", NAMESPACE, "--wait", "60s", "--config"]).arg(self.members[0].config());
        for side in [self, other] {
            command.arg("--at").arg(format!("http://{}", side.members[0].http()));
        }
        let said = command.output()?;
        Ok(String::from_utf8_lossy(&[said.stdout, said.stderr].concat()).trim().to_owned())
    }

    /// SIGTERM to its instances, and waits for their end.
    ///
    /// # Errors
    /// They don't end well.
    pub fn end(&mut self) -> Result<()> {
        // One that was killed a moment ago may not hear signals yet.
        self.members.iter_mut().try_for_each(Member::wait_ready)?;
        self.members.iter().try_for_each(Member::tell_to_end)?;
        self.members.iter_mut().try_for_each(Member::wait_end)?;
        self.follower.take().map_or(Ok(()), Follower::finish)
    }
}

/// A namespace of a store and another region: what fails is tried for as long as it takes, and soon again.
pub fn replicated(redis: &Redis, (name, way): (&str, &Relay)) -> Namespace {
    let settings =
        |all: &[(&str, &str)]| all.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let cache = TargetSpec::new(CACHE, TargetKind::Redis, redis.url());
    let there = TargetSpec::new(name, TargetKind::Region, format!("http://{}", way.address()));
    Namespace {
        targets: vec![
            TargetSpec { settings: settings(&[("prefix", PREFIX), ("timeout", "1500ms")]), ..cache },
            TargetSpec { settings: settings(&[("token-env", PEER), ("timeout", "3s")]), ..there },
        ],
        retry: Retry { max_attempts: 10_000, backoff_ms: 50, longest_backoff_ms: 1_000 },
        breaker: Breaker { failures: 20, open_ms: 1_000 },
        ..Namespace::default()
    }
}

/// What a region's store has under a key.
///
/// # Errors
/// It is away.
pub fn value(redis: &Redis, key: &str) -> Result<Option<String>> {
    let answer = redis.command(&["GET", &format!("{PREFIX}{key}")])?;
    Ok(Some(answer).filter(|answer| answer != "$-1"))
}
