//! Changes per second from a preloaded topic into a real Redis.
//!
//! Ours is the binary as users run it: exactly-once, RocksDB with a changelog, invalidations to a topic, one function call
//! per row. The limit is a bare loop: rdkafka, the envelope's decoder, the same function call pipelined; no store, no
//! transaction, no output, offsets committed now and then. Broker and Redis share the machine with both.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use headrace::codec::debezium::{Change, Key};
use headrace::codec::{RecordCodec, debezium};
use headrace::position::{Offset, Partition};
use headrace::record::{Headers, RawRecord, Timestamp};
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use rdkafka::{ClientConfig, Message as _};
use serde_json::json;
use testbed::Testbed;

use crate::Failure;
use crate::measure::{Run, cpu_seconds, peak_rss_bytes, reset_own_peak};
use crate::report;

const CHANGES: u64 = 1_000_000;
const KEYS: u64 = 100_000;
const PARTITIONS: i32 = 4;
const RUNS: usize = 3;
const TOPIC: &str = "shop.public.orders";
const PATIENCE: Duration = Duration::from_secs(180);

pub(crate) fn run() -> Result<(), Failure> {
    let bed = Testbed::builder().kafka().registry().redis().start()?;
    println!("loading {CHANGES} changes of {KEYS} rows …");
    let bootstrap = bed.kafka()?.bootstrap_servers();
    let partitions = PARTITIONS.to_string();
    let create = ["--bootstrap-server", bootstrap, "--create", "--topic", TOPIC, "--partitions", &partitions];
    bed.kafka()?.java_tool("org.apache.kafka.tools.TopicCommand", &create)?;
    preload(bootstrap)?;
    let (mut ours, mut limit) = (Vec::new(), Vec::new());
    for index in 0..RUNS {
        bed.redis()?.command(&["FLUSHALL"])?;
        ours.push(run_ours(&bed, index)?);
        print("ours", ours.last());
        bed.redis()?.command(&["FLUSHALL"])?;
        limit.push(run_limit(&bed, index)?);
        print("limit", limit.last());
    }
    let mut limit_body = report::summary(&limit);
    limit_body.insert("name".into(), json!("rdkafka + Redis pipeline, no store, no transactions"));
    report::write(
        "cdc-invalidation",
        json!({
            "name": "cdc-invalidation",
            "commit": report::commit(),
            "machine": report::machine(),
            "runs": RUNS,
            "ours": report::summary(&ours),
            "peer": null,
            "limit": limit_body,
            "ratio_peer": null,
            "ratio_limit": report::ratio(&ours, &limit),
            "detail": {
                "changes": CHANGES, "rows": KEYS, "partitions": PARTITIONS, "mode": "invalidate",
                "guarantee": "exactly-once", "envelope": "Debezium JSON without schemas"
            },
        }),
    )
}

fn print(who: &str, run: Option<&Run>) {
    if let Some(run) = run {
        let (rate, cpu, rss) = (run.records_per_second(), run.cpu_seconds, run.peak_rss_bytes >> 20);
        println!("{who:>6}: {rate:>8.0} changes/s   {cpu:>5.1} CPU s   {rss:>4} MiB");
    }
}

/// Writes updates of random rows, as Debezium does for PostgreSQL.
fn preload(bootstrap: &str) -> Result<(), Failure> {
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .set("partitioner", "murmur2_random")
        .set("linger.ms", "20")
        .set("compression.codec", "lz4")
        .create()?;
    let mut random = fastrand::Rng::with_seed(7);
    for index in 0..CHANGES {
        let id = random.u64(..KEYS);
        let key = format!(r#"{{"id":{id}}}"#);
        let value = change(id, index);
        let mut record = BaseRecord::to(TOPIC).key(&key).payload(&value);
        while let Err((_, back)) = producer.send(record) {
            record = back;
            producer.poll(Duration::from_millis(5));
        }
    }
    Ok(producer.flush(Duration::from_secs(60))?)
}

fn change(id: u64, index: u64) -> String {
    let lsn = 100_000_000 + index * 96;
    let row = format!(
        r#"{{"id":{id},"customer_id":{},"status":"paid","total":"{}.90","note":"order number {index} of the load","updated_at":{}}}"#,
        id % 9973,
        index % 500,
        1_790_000_000_000_000_u64 + index
    );
    format!(
        r#"{{"before":null,"after":{row},"source":{{"version":"3.4.0.Final","connector":"postgresql","name":"shop","ts_ms":1790000000000,"snapshot":"false","db":"shop","sequence":"[\"{}\",\"{lsn}\"]","ts_us":1790000000000000,"ts_ns":1790000000000000000,"schema":"public","table":"orders","txId":{index},"lsn":{lsn},"xmin":null}},"transaction":null,"op":"u","ts_ms":1790000000100,"ts_us":1790000000100000,"ts_ns":1790000000100000000}}"#,
        lsn - 48
    )
}

/// The binary beside this one.
fn binary() -> Result<PathBuf, Failure> {
    let path = std::env::current_exe()?.with_file_name("cdc-invalidation");
    if path.exists() { Ok(path) } else { Err(format!("{} is not built", path.display()).into()) }
}

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // Already gone is as good.
        _ = self.0.kill();
        _ = self.0.wait();
    }
}

fn run_ours(bed: &Testbed, index: usize) -> Result<Run, Failure> {
    let state = bed.dirs()?.root().join(format!("bench-state-{index}"));
    let http = format!("127.0.0.1:{}", testbed::free_port()?);
    let command = |subcommand: &str| -> Result<Command, Failure> {
        let mut command = Command::new(binary()?);
        command.arg(subcommand).envs(environment(bed, index, &state, &http)?);
        Ok(command)
    };
    if !command("apply")?.stdout(Stdio::null()).status()?.success() {
        return Err("apply failed".into());
    }
    let child =
        Running(command("run")?.stderr(Stdio::from(std::fs::File::create(state.with_extension("log"))?)).spawn()?);
    let pid = child.0.id();
    let mut first: Option<(Instant, u64)> = None;
    let deadline = Instant::now() + PATIENCE;
    loop {
        let metrics = scrape(&http).unwrap_or_default();
        let done = metrics.get("headrace_records_in_total").copied().unwrap_or(0.0) as u64;
        if first.is_none() && done > 0 {
            first = Some((Instant::now(), done));
        }
        let open = metrics.get("headrace_transaction_open_seconds").copied().unwrap_or(1.0);
        if let Some((since, before)) = first
            && done >= CHANGES
            && open == 0.0
        {
            let records = CHANGES - before;
            let elapsed = since.elapsed();
            let (cpu_seconds, peak_rss_bytes) = (cpu_seconds(pid)?, peak_rss_bytes(pid)?);
            return Ok(Run { records, elapsed, cpu_seconds, peak_rss_bytes, broker_cpu_seconds: None });
        }
        if Instant::now() > deadline {
            return Err(format!("{done} of {CHANGES} changes after {PATIENCE:?}").into());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn environment(bed: &Testbed, index: usize, state: &Path, http: &str) -> Result<Vec<(String, String)>, Failure> {
    let pair = |key: &str, value: &str| (format!("HEADRACE__{key}"), value.to_owned());
    Ok(vec![
        pair("KAFKA__BOOTSTRAP_SERVERS", bed.kafka()?.bootstrap_servers()),
        pair("SCHEMA_REGISTRY__URL", bed.registry()?.url()),
        pair("REDIS__URL", bed.redis()?.url()),
        pair("HTTP__LISTEN", http),
        pair("STATE__DIRECTORY", &state.to_string_lossy()),
        pair("APPLICATION_ID", &format!("bench-{index}")),
        pair("TOPICS__ROW_CHANGES", &format!("[\"{TOPIC}\"]")),
    ])
}

/// Samples by name, summed over their labels.
fn scrape(address: &str) -> Result<BTreeMap<String, f64>, Failure> {
    let (_, body) = testbed::http_get(&format!("http://{address}/metrics"))?;
    let mut samples = BTreeMap::new();
    for line in body.lines().filter(|line| !line.starts_with('#')) {
        if let Some((name, value)) = line.rsplit_once(' ') {
            let name = name.split('{').next().unwrap_or(name).to_owned();
            *samples.entry(name).or_insert(0.0) += value.parse().unwrap_or(0.0);
        }
    }
    Ok(samples)
}

fn run_limit(bed: &Testbed, index: usize) -> Result<Run, Failure> {
    reset_own_peak()?;
    let cpu_before = cpu_seconds(std::process::id())?;
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", bed.kafka()?.bootstrap_servers())
        .set("group.id", format!("limit-{index}"))
        .set("auto.offset.reset", "earliest")
        .set("enable.auto.commit", "false")
        .set("fetch.queue.backoff.ms", "10")
        .create()?;
    consumer.subscribe(&[TOPIC])?;
    let mut connection = redis::Client::open(bed.redis()?.url())?.get_connection()?;
    redis::cmd("FUNCTION")
        .arg("LOAD")
        .arg("REPLACE")
        .arg(cdc_invalidation::redis_fence::FUNCTIONS)
        .query::<()>(&mut connection)?;
    let codec = debezium::envelope();
    let (mut done, mut first) = (0, None);
    let mut pipeline = redis::pipe();
    while done < CHANGES {
        let Some(record) = consumer.poll(Duration::from_millis(100)) else { continue };
        let record = record?;
        first.get_or_insert_with(Instant::now);
        invalidate(&codec, &record, &mut pipeline)?;
        done += 1;
        if done % 512 == 0 || done == CHANGES {
            pipeline.query::<()>(&mut connection)?;
            pipeline.clear();
        }
        if done % 100_000 == 0 {
            consumer.commit_consumer_state(CommitMode::Async)?;
        }
    }
    let elapsed = first.map_or(Duration::ZERO, |first| first.elapsed());
    let cpu = cpu_seconds(std::process::id())? - cpu_before;
    let peak_rss_bytes = peak_rss_bytes(std::process::id())?;
    Ok(Run { records: CHANGES, elapsed, cpu_seconds: cpu, peak_rss_bytes, broker_cpu_seconds: None })
}

fn invalidate(
    codec: &debezium::Envelope,
    record: &rdkafka::message::BorrowedMessage<'_>,
    pipeline: &mut redis::Pipeline,
) -> Result<(), Failure> {
    let headers = Headers::new();
    let raw = RawRecord {
        topic: record.topic(),
        partition: Partition(record.partition()),
        offset: Offset(record.offset()),
        timestamp: Timestamp::NONE,
        key: record.key(),
        value: record.payload(),
        headers: &headers,
    };
    let decoded: (Option<Key>, Change) = codec.decode(&raw)?;
    let (Some(key), Change::Row(change)) = decoded else { return Err("no row change".into()) };
    let position = change.source.lsn.unwrap_or_default();
    let fence = format!("00000001{position:032x}");
    let version = format!("000000011{position:032x}10000000000000000");
    let table = change.source.table_name();
    let entry = format!("{table}:{}", key.columns().next().map(|(_, value)| value).unwrap_or_default());
    pipeline.cmd("FCALL").arg("headrace_apply").arg(3).arg(entry).arg(format!("limit:{table}")).arg("limit");
    pipeline
        .arg("INVALIDATE")
        .arg(version)
        .arg(&fence)
        .arg("")
        .arg(&fence)
        .arg(86_400_000)
        .arg(600_000)
        .arg("")
        .ignore();
    Ok(())
}
