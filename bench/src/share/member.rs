//! A process with one member or several, ours or Kafka's own.

use std::io::{BufRead as _, BufReader, Lines};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::{Value, json};

use super::session::Place;
use crate::Failure;
use crate::counting::{Peer, binary};
use crate::measure::{Run, cpu_seconds, peak_rss_bytes};

/// A way to work on tasks.
#[derive(Debug, Clone)]
pub(crate) struct Arm {
    pub(crate) name: &'static str,
    pub(crate) is_peer: bool,
    pub(crate) members: u32,
    /// Ours: records held at most. The peer's: `max.poll.records`.
    pub(crate) prefetch: u32,
    /// `share.acquire.mode`.
    pub(crate) mode: &'static str,
    /// Tasks at the same time, in all members together; 0: they are trivial.
    pub(crate) concurrency: u32,
}

impl Arm {
    /// Ours, as its users have it by default, with so many tasks at the same time.
    pub(crate) const fn ours(concurrency: u32) -> Self {
        Arm {
            name: "ours: one member, a window of 512",
            is_peer: false,
            members: 1,
            prefetch: 512,
            mode: "record_limit",
            concurrency,
        }
    }

    /// The peer as its users have it by default, with so many tasks at the same time.
    pub(crate) const fn peer(concurrency: u32) -> Self {
        Arm {
            name: "peer: one member, default",
            is_peer: true,
            members: 1,
            prefetch: 500,
            mode: "batch_optimized",
            concurrency,
        }
    }

    /// The process; `counts` are the tasks of the warm-up and those that are measured.
    pub(crate) fn command(
        &self,
        servers: &str,
        peer: &Peer,
        place: &Place,
        counts: (u64, u64),
    ) -> Result<Command, Failure> {
        let mut command = if self.is_peer { peer.java("ShareWorker") } else { Command::new(binary("share-worker")?) };
        command
            .env("SHARE_SERVERS", servers)
            .env("SHARE_GROUP", &place.group)
            .env("SHARE_TOPIC", &place.topic)
            .env("SHARE_MEMBERS", self.members.to_string())
            .env("SHARE_PREFETCH", self.prefetch.to_string())
            .env("SHARE_MODE", self.mode)
            .env("SHARE_CONCURRENCY", self.concurrency.to_string())
            .env("SHARE_WARM_UP", counts.0.to_string())
            .env("SHARE_RECORDS", counts.1.to_string())
            .env("SHARE_THREADS", "0");
        Ok(command)
    }

    /// What it is, for the result.
    pub(crate) fn describe(&self) -> Value {
        json!({ "name": self.name, "members": self.members, "prefetch": self.prefetch, "mode": self.mode })
    }
}

/// What a run has given: what was measured from outside, and what the process says of itself.
#[derive(Debug)]
pub(crate) struct Figures {
    pub(crate) run: Run,
    pub(crate) told: Value,
}

impl Figures {
    /// A figure of the process itself.
    pub(crate) fn own(&self, name: &str) -> Option<f64> {
        self.told[name].as_f64()
    }
}

/// A running process; ended when dropped.
pub(crate) struct Member {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Drop for Member {
    fn drop(&mut self) {
        // Already gone is as good.
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

impl Member {
    pub(crate) fn spawn(mut command: Command) -> Result<Self, Failure> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        let mut child = testbed::spawn(command)?;
        let lines = BufReader::new(child.stdout.take().ok_or("no stdout")?).lines();
        Ok(Member { stdin: child.stdin.take(), child, lines })
    }

    fn line(&mut self) -> Result<String, Failure> {
        Ok(self.lines.next().ok_or("the member has ended before its time; what it says is above")??)
    }

    /// Waits until the warm-up is over.
    pub(crate) fn wait_begin(&mut self) -> Result<(), Failure> {
        while self.line()? != "begin" {}
        Ok(())
    }

    /// Waits for its figures; with the most memory that it has had.
    pub(crate) fn wait_end(&mut self) -> Result<(Value, u64), Failure> {
        let told = serde_json::from_str(&self.line()?)?;
        Ok((told, peak_rss_bytes(self.child.id())?))
    }

    pub(crate) fn cpu_seconds(&self) -> Result<f64, Failure> {
        cpu_seconds(self.child.id())
    }

    /// Lets it end.
    pub(crate) fn release(mut self) -> Result<(), Failure> {
        drop(self.stdin.take());
        self.child.wait()?;
        Ok(())
    }
}
