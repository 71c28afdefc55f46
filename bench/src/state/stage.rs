//! One broker with the changelogs loaded, on which the arms run one after the other.

use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};
use testbed::{Kafka, Testbed};

use super::contents::Contents;
use super::feed::{Counts, Feed, loaded};
use super::instance::{Instance, Means};
use super::load::load;
use super::place::{Place, Shape};
use crate::Failure;
use crate::counting::{Arm, Observer, Peer, describe_peer, topics, verify};
use crate::report;

/// Both arms, in the order in which they run.
const ARMS: [Arm; 2] = [Arm::Ours, Arm::Peer];
/// The slowest restore that is waited for, in records per second, beside the time to start.
const SLOWEST: u64 = 10_000;
const START: Duration = Duration::from_secs(180);
/// How long a killed process's transaction on the wire may still move positions.
const SETTLED: Duration = Duration::from_millis(100);
/// Between two looks at a log or a position.
const LOOK: Duration = Duration::from_millis(20);

/// See the module.
pub(crate) struct Stage {
    bed: Testbed,
    peer: Option<Peer>,
    pub(crate) places: Vec<Place>,
    pub(crate) contents: Contents,
    pub(crate) patience: Duration,
}

impl Stage {
    /// Starts the broker and loads the changelogs of the arms that `ONLY` leaves.
    pub(crate) fn start(contents: Contents, shape: Shape) -> Result<Self, Failure> {
        let only = std::env::var("ONLY").unwrap_or_default();
        let arms = ARMS.into_iter().filter(|arm| only.is_empty() || only == arm.name());
        // Nothing is rolled or compacted meanwhile: both arms read the same bytes in the same files.
        let kafka = Kafka::builder()?.property("log.cleaner.enable", "false");
        let bed = Testbed::builder().kafka_with(kafka).start()?;
        let places: Vec<Place> =
            arms.map(|arm| Place::new(arm, shape, bed.dirs().map_or("".as_ref(), |d| d.root()))).collect();
        if places.is_empty() {
            return Err(format!("ONLY={only}: want ours or peer").into());
        }
        let has_peer = places.iter().any(|place| place.arm == Arm::Peer);
        let peer = if has_peer { Some(Peer::prepare(&bed, &["StoredValues", "StoreDump"])?) } else { None };
        let records = contents.records() * u64::from(shape.stores);
        let patience = START + Duration::from_secs(records / SLOWEST);
        let stage = Stage { bed, peer, places, contents, patience };
        stage.load(shape, records)?;
        Ok(stage)
    }

    fn load(&self, shape: Shape, records: u64) -> Result<(), Failure> {
        let (started, servers) = (Instant::now(), self.servers()?);
        let mut changelogs = Vec::new();
        for place in &self.places {
            let (events, counts, own) = (place.events(), place.counts(), place.changelogs());
            let mut wanted: Vec<(&str, &[(&str, &str)])> = vec![(&events, &[]), (&counts, &[])];
            wanted.extend(own.iter().map(|name| (name.as_str(), [("cleanup.policy", "compact")].as_slice())));
            topics::create(servers, shape.partitions, &wanted)?;
            changelogs.extend(own);
        }
        let arms = self.places.len();
        println!("loading {records} changelog records for each of {arms} …");
        load(servers, self.contents, &changelogs)?;
        println!("loaded in {:.0} s", started.elapsed().as_secs_f64());
        Ok(())
    }

    pub(crate) fn servers(&self) -> Result<&str, Failure> {
        Ok(self.bed.kafka()?.bootstrap_servers())
    }

    pub(crate) fn peer(&self) -> Option<&Peer> {
        self.peer.as_ref()
    }

    /// How instances are started.
    pub(crate) fn means<'a>(
        &'a self,
        ours: &'a [(&'a str, &'a str)],
        theirs: &'a [(&'a str, &'a str)],
    ) -> Result<Means<'a>, Failure> {
        Ok(Means { servers: self.servers()?, peer: self.peer(), ours, theirs })
    }

    pub(crate) fn observer(&self, place: &Place) -> Result<Observer, Failure> {
        Observer::new(self.servers()?, &place.application, &place.events(), place.shape.partitions)
    }

    /// Starts a feed of events to an arm; it counts on from what was loaded.
    pub(crate) fn feed(&self, place: &Place, rate: u64, counts: Counts, seed: u64) -> Result<Feed, Failure> {
        Feed::start(self.servers()?, place.events(), rate, counts, seed)
    }

    /// Where the group stands once nothing moves it any more: what was on the wire at a kill has come to its end.
    pub(crate) fn settled(&self, observer: &Observer) -> Result<u64, Failure> {
        let deadline = Instant::now() + self.patience;
        let (mut before, mut since) = (None, Instant::now());
        loop {
            let now = observer.look().ok().map(|sight| sight.committed);
            if now != before || now.is_none() {
                (before, since) = (now, Instant::now());
            }
            match now {
                Some(committed) if since.elapsed() >= SETTLED => return Ok(committed),
                _ if Instant::now() > deadline => return Err("the committed positions never settle".into()),
                _ => std::thread::sleep(LOOK),
            }
        }
    }

    /// Waits until an instance's log says that so many tasks or stores are restored.
    pub(crate) fn wait_restored(&self, instance: &mut Instance, count: usize) -> Result<(), Failure> {
        let deadline = Instant::now() + self.patience;
        while instance.restored().0 < count {
            instance.running.check()?;
            if Instant::now() > deadline {
                return Err(format!("{} of {count} are restored", instance.restored().0).into());
            }
            std::thread::sleep(LOOK);
        }
        Ok(())
    }

    /// Checks each output of an arm: of each key the counts go on from what was loaded, one by one, once for each event that
    /// is in the topic. Our load is at-least-once: where a broker hung, some events may be there twice, none may be missing.
    pub(crate) fn verify(&self, place: &Place, counts: &Counts) -> Result<(), Failure> {
        let wide = |counts: &[u16]| counts.iter().map(|count| u32::from(*count)).collect::<Vec<_>>();
        let (servers, partitions, begun) = (self.servers()?, place.shape.partitions, wide(&loaded(self.contents)));
        let there = verify::times(servers, &place.events(), partitions, begun.len())?;
        let expected: Vec<u32> = begun.iter().zip(there).map(|(begun, there)| begun + there).collect();
        let (mut lost, mut twice) = (0, 0);
        for (there, fed) in expected.iter().zip(wide(counts)) {
            lost += fed.saturating_sub(*there);
            twice += there.saturating_sub(fed);
        }
        if lost > 0 {
            return Err(format!("{}: the load has lost {lost} events: nothing was shown", place.events()).into());
        }
        if twice > 0 {
            println!("{:>6} {twice} events of the load are in its topic twice", place.arm.name());
        }
        verify::continued(servers, &place.counts(), partitions, begun, &expected, true)
    }

    /// The part of a result that does not depend on what was measured.
    pub(crate) fn body(&self, name: &str, runs: u64, shape: Shape) -> Map<String, Value> {
        let mut body = Map::new();
        body.insert("name".into(), json!(name));
        body.insert("commit".into(), json!(report::commit()));
        body.insert("machine".into(), json!(report::machine()));
        body.insert("runs".into(), json!(runs));
        body.insert("limit".into(), Value::Null);
        body.insert("ratio_limit".into(), Value::Null);
        let detail = json!({
            "keys": self.contents.keys,
            "changelog_records": self.contents.records() * u64::from(shape.stores),
            "value_bytes": 200,
            "partitions": shape.partitions,
            "stores_per_partition": shape.stores,
            "page_cache": "warm: the changelogs were written just before",
        });
        body.insert("detail".into(), detail);
        body
    }
}

/// The peer's name and version beside its figures.
pub(crate) fn named(mut figures: Map<String, Value>) -> Map<String, Value> {
    let (name, version, _) = describe_peer(&crate::counting::Setting::STANDARD);
    figures.insert("name".into(), name);
    figures.insert("version".into(), version);
    figures
}

/// The figures of an arm, or null if it did not run.
pub(crate) fn or_null(figures: Map<String, Value>) -> Value {
    if figures.is_empty() { Value::Null } else { Value::Object(figures) }
}
