//! One testbed, and on it a topic and a group for each run.

use std::time::{Duration, Instant};

use headrace::wire::share::ShareLagRequest;
use headrace::wire::{Client, CoordinatorKind, Settings};
use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use testbed::Testbed;

use super::member::{Arm, Figures, Member};
use crate::Failure;
use crate::counting::{Peer, topics};
use crate::measure::{Run, cpu_seconds};

const PARTITIONS: i32 = 4;
/// As Java's producers have them by default.
const BATCH_BYTES: &str = "16384";
const PATIENCE: Duration = Duration::from_secs(30);

/// A broker, and the peer's programs.
pub(crate) struct Session {
    bed: Testbed,
    peer: Peer,
    runs: u32,
}

/// A topic with tasks, and the group that works on them.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) group: String,
    pub(crate) topic: String,
}

impl Session {
    pub(crate) fn start() -> Result<Self, Failure> {
        let bed = Testbed::builder().kafka().start()?;
        let peer = Peer::prepare(&bed, &["ShareWorker"])?;
        Ok(Session { bed, peer, runs: 0 })
    }

    pub(crate) fn servers(&self) -> Result<&str, Failure> {
        Ok(self.bed.kafka()?.bootstrap_servers())
    }

    /// A new topic with these values, spread over its partitions, and a group that begins with the first.
    pub(crate) fn place(&mut self, values: impl Iterator<Item = Vec<u8>>) -> Result<Place, Failure> {
        self.runs += 1;
        let place = Place { group: format!("workers-{}", self.runs), topic: format!("tasks-{}", self.runs) };
        let servers = self.servers()?;
        topics::create(servers, PARTITIONS, &[(&place.topic, &[])])?;
        let which =
            ["--bootstrap-server", servers, "--alter", "--entity-type", "groups", "--entity-name", &place.group];
        let args = [&which[..], &["--add-config", "share.auto.offset.reset=earliest"]].concat();
        self.bed.kafka()?.java_tool("kafka.admin.ConfigCommand", &args)?;
        let producer: BaseProducer = ClientConfig::new()
            .set("bootstrap.servers", servers)
            .set("batch.size", BATCH_BYTES)
            .set("linger.ms", "20")
            .create()?;
        for (value, partition) in values.zip((0..PARTITIONS).cycle()) {
            let mut record = BaseRecord::<(), _>::to(&place.topic).partition(partition).payload(&value);
            while let Err((_, back)) = producer.send(record) {
                record = back;
                producer.poll(Duration::from_millis(5));
            }
        }
        producer.flush(PATIENCE)?;
        Ok(place)
    }

    /// One run until all tasks are done; ends with the broker's word on it.
    pub(crate) fn measure(&self, arm: &Arm, place: &Place, counts: (u64, u64)) -> Result<Figures, Failure> {
        self.measure_fed(arm, place, counts, || Ok(()))
    }

    /// The same while tasks are sent; `counts` are those of the warm-up, and those that are measured.
    pub(crate) fn measure_fed(
        &self,
        arm: &Arm,
        place: &Place,
        counts: (u64, u64),
        feed: impl FnOnce() -> Result<(), Failure>,
    ) -> Result<Figures, Failure> {
        let broker = self.bed.kafka()?.pid().ok_or("the broker is gone")?;
        let command = arm.command(self.servers()?, &self.peer, place, counts)?;
        let mut member = Member::spawn(command).map_err(|error| format!("{}: {error}", arm.name))?;
        member.wait_begin()?;
        let before = (member.cpu_seconds()?, cpu_seconds(broker)?);
        feed()?;
        let (told, peak_rss_bytes) = member.wait_end()?;
        let run = Run {
            records: counts.1,
            elapsed: Duration::from_secs_f64(told["seconds"].as_f64().ok_or("no seconds")?),
            cpu_seconds: member.cpu_seconds()? - before.0,
            peak_rss_bytes,
            broker_cpu_seconds: Some(cpu_seconds(broker)? - before.1),
        };
        member.release()?;
        let left = self.left(&place.group)?;
        if left != Some(0) {
            return Err(format!("{}: the broker has {left:?} tasks left", arm.name).into());
        }
        topics::delete(self.servers()?, &[&place.topic])?;
        let (rate, cpu, rss) = (run.records_per_second(), run.cpu_seconds_per_million(), run.peak_rss_bytes >> 20);
        println!(
            "{:<40} {:>6.2} s {rate:>9.0} records/s  {cpu:>6.2} CPU s per million  {rss:>4} MiB",
            arm.name,
            run.elapsed.as_secs_f64()
        );
        Ok(Figures { run, told })
    }

    /// Tasks that are left, as the broker says it (KIP-1226). Its word on what was accepted last comes a little later.
    fn left(&self, group: &str) -> Result<Option<i64>, Failure> {
        let servers = self.servers()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let deadline = Instant::now() + PATIENCE;
        runtime.block_on(async {
            let client = Client::new(Settings::new(servers, [])?);
            loop {
                let coordinator = client.coordinator(CoordinatorKind::Group, group).await?;
                let connection = client.connection(coordinator).await?;
                let request = ShareLagRequest { group: group.into(), topics: None };
                let body = connection.send(request.outgoing(PATIENCE)).await?.await?;
                let lag = request.decode(connection.address(), body)?;
                let left: Option<i64> = lag.parts.iter().map(|part| part.lag).sum();
                if left == Some(0) || Instant::now() > deadline {
                    return Ok(left);
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        })
    }
}
