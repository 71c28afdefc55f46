//! Reads what is due, as a committed reader does, and compares it with what was set.

use std::fmt;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use headrace::record::RawRecord;
use headrace::wire::fetch::{Event, Fetcher};

use super::instance::Instance;
use super::wave::Wave;
use crate::Failure;
use crate::counting::{committed_reader, now_ms};

const LOOK: Duration = Duration::from_millis(10);
/// What comes twice comes within this time.
const AFTER: Duration = Duration::from_secs(1);

/// What was seen of a wave.
pub(super) struct Seen {
    /// In milliseconds.
    pub(super) lateness: Option<Histogram<u32>>,
    pub(super) early: u64,
    pub(super) lost: u64,
    pub(super) twice: u64,
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Seen { early, lost, twice, .. } = self;
        if let Some(lateness) = &self.lateness {
            let value = |quantile| lateness.value_at_quantile(quantile);
            let (p50, p99, p999) = (value(0.5), value(0.99), value(0.999));
            write!(f, "lateness p50 {p50} ms, p99 {p99} ms, p99.9 {p999} ms; ")?;
        }
        write!(f, "early={early} lost={lost} twice={twice}")
    }
}

/// See the module.
pub(super) struct Reader {
    fetcher: Fetcher,
    /// Timers with a smaller number are far ones.
    near: u64,
    wave: Option<Wave>,
    is_seen: Vec<bool>,
    count: u64,
    lateness: Histogram<u32>,
    early: u64,
    twice: u64,
    /// The latest release that was seen, and when that was seen first.
    released: (i64, Instant),
}

impl Reader {
    pub(super) fn start(servers: &str, topic: &str, near: u64) -> Result<Self, Failure> {
        let (fetcher, lateness) = (committed_reader(servers, topic)?, Histogram::new(3)?);
        let released = (i64::MIN, Instant::now());
        Ok(Reader { fetcher, near, wave: None, is_seen: Vec::new(), count: 0, lateness, early: 0, twice: 0, released })
    }

    /// From now on this wave is expected, and nothing else.
    pub(super) fn begin(&mut self, wave: Wave) -> Result<(), Failure> {
        self.is_seen = vec![false; usize::try_from(wave.timers)?];
        self.wave = Some(wave);
        (self.count, self.early, self.twice) = (0, 0, 0);
        self.lateness.reset();
        Ok(())
    }

    /// Reads until so many timers of the wave have come, or no more can be waited for: what is missing then is lost.
    pub(super) fn until(&mut self, timers: u64, patience: Duration, instance: &mut Instance) -> Result<(), Failure> {
        self.read(patience, instance, |reader| (reader.count >= timers).then_some(())).map(drop)
    }

    /// Reads until a timer was released after a time; gives when that was seen.
    pub(super) fn released_after(
        &mut self,
        ms: i64,
        patience: Duration,
        instance: &mut Instance,
    ) -> Result<Instant, Failure> {
        let released = |reader: &Self| (reader.released.0 >= ms).then_some(reader.released.1);
        let first = self.read(patience, instance, released)?;
        first.ok_or_else(|| format!("no timer was released within {patience:?}").into())
    }

    /// What the wave came to.
    pub(super) fn end(&mut self) -> Result<Seen, Failure> {
        let until = Instant::now() + AFTER;
        while Instant::now() < until {
            self.look()?;
        }
        let expected = self.wave.take().map_or(0, |wave| wave.timers);
        let Reader { early, twice, .. } = *self;
        Ok(Seen { lateness: Some(self.lateness.clone()), early, lost: expected - self.count, twice })
    }

    fn read<T>(
        &mut self,
        patience: Duration,
        instance: &mut Instance,
        enough: impl Fn(&Self) -> Option<T>,
    ) -> Result<Option<T>, Failure> {
        let deadline = Instant::now() + patience;
        loop {
            let found = enough(self);
            if found.is_some() || Instant::now() > deadline {
                return Ok(found);
            }
            self.look()?;
            instance.running.check()?;
        }
    }

    fn look(&mut self) -> Result<(), Failure> {
        match self.fetcher.poll(LOOK) {
            Event::Records(mut portion) => {
                let now = (now_ms(), Instant::now());
                while let Some(record) = portion.next_record() {
                    self.note(&record?, now)?;
                }
            }
            Event::End { .. } | Event::Idle => {}
            other => return Err(format!("{other:?}").into()),
        }
        Ok(())
    }

    fn note(&mut self, record: &RawRecord<'_>, (now, at): (i64, Instant)) -> Result<(), Failure> {
        let number = |bytes: Option<&[u8]>| bytes.and_then(|bytes| Some(u64::from_be_bytes(bytes.try_into().ok()?)));
        let key = number(record.key).ok_or("an output without a number")?;
        let due = number(record.value).ok_or("an output without a time")?.cast_signed();
        if record.timestamp.0 > self.released.0 {
            self.released = (record.timestamp.0, at);
        }
        if key < self.near || record.timestamp.0 < due || now < due {
            self.early += 1;
        }
        match self.wave.as_ref().and_then(|wave| Some((wave.place(key)?, wave))) {
            Some((place, wave)) if wave.due(place as u64) == due => {
                if std::mem::replace(&mut self.is_seen[place], true) {
                    self.twice += 1;
                } else {
                    self.count += 1;
                    self.lateness.record(u64::try_from(now - due).unwrap_or(0))?;
                }
            }
            Some(_) => return Err(format!("timer {key} came for another time").into()),
            // Of the wave before, and so once more.
            None if key >= self.near => self.twice += 1,
            None => {}
        }
        Ok(())
    }
}
