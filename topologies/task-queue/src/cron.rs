//! Tasks that come again and again: a compacted topic says which and when, and each time one is submitted like any other.
//!
//! ```text
//!  crons (by name) ─▶ cron (crons, cron-timers) ─▶ tasks
//! ```
//!
//! The task of a time has an id made of the name and that time, and is submitted in the transaction that sets the timer of the
//! next one. So each time comes once, whoever is killed when; and a cron that is written anew, or in two partitions by two
//! partitioners, makes no task twice.

use std::time::Duration;

use croner::Cron as Pattern;
use headrace::codec::AvroSchema;
use headrace::error::{RecordError, Stage};
use headrace::processor::{Context, Fault, Processor, Punctuator, Tick};
use headrace::record::{Headers, Record};
use headrace::store::{Store, StoreIndex};
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};
use serde::{Deserialize, Serialize};

use crate::tasks::{Priority, Task};
use crate::timers::{Due, Timers};

/// What becomes of times at which nobody was there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Missed {
    /// The last one of them is made up for.
    #[default]
    Last,
    /// Each of them is.
    All,
    /// None is.
    None,
}

/// A task that comes again and again; its name is the record's key.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cron {
    /// When: five fields, or six with seconds first.
    pub pattern: String,
    /// By which clock: a name of the IANA database.
    pub zone: String,
    /// What becomes of times that were missed.
    pub missed: Missed,
    /// The task's queue.
    pub queue: String,
    /// What is to be done.
    pub kind: String,
    /// What it is to be done with.
    #[serde(with = "apache_avro::serde::bytes")]
    pub payload: Vec<u8>,
    /// Which come first.
    pub priority: Priority,
    /// How long after its time it is worth doing, in milliseconds.
    pub good_for: Option<i64>,
    /// Tasks of one order key are done one after the other.
    pub order_key: Option<String>,
    /// How often it may be begun.
    pub max_attempts: Option<i32>,
}

impl AvroSchema for Cron {
    const SCHEMA: &'static str = include_str!("../../../schemas/task-queue.crons-value.avsc");
}

impl Cron {
    /// Its times.
    ///
    /// # Errors
    /// The pattern or the zone is none.
    pub fn times(&self) -> Result<Times, RecordError> {
        let refuse = |class, reason: String| RecordError::new(Stage::Process, class, reason);
        let pattern: Pattern = self.pattern.parse().map_err(|error| {
            let way_out = "write it like \"30 4 * * MON-FRI\": minute, hour, day, month, weekday";
            refuse("cron-pattern", format!("the pattern is none of cron ({error}); {way_out}"))
        })?;
        let zone = TimeZone::get(&self.zone).map_err(|_| {
            let way_out = "take a name of the IANA database, like \"Europe/Berlin\", or \"UTC\"";
            refuse("cron-zone", format!("{} is no time zone; {way_out}", self.zone))
        })?;
        Ok(Times { pattern, zone })
    }

    /// The task of a time.
    fn task(&self, name: &str, at: i64) -> Task {
        let time = Timestamp::from_millisecond(at).map_or_else(|_| at.to_string(), |time| time.to_string());
        Task {
            id: format!("{name}@{time}"),
            queue: self.queue.clone(),
            kind: self.kind.clone(),
            payload: self.payload.clone(),
            priority: self.priority,
            deadline: self.good_for.map(|good_for| at.saturating_add(good_for)),
            order_key: self.order_key.clone(),
            max_attempts: self.max_attempts,
            ..Task::default()
        }
    }
}

/// The times of a cron, in milliseconds since the epoch.
#[derive(Debug, Clone)]
pub struct Times {
    pattern: Pattern,
    zone: TimeZone,
}

impl Times {
    fn zoned(&self, at: i64) -> Option<Zoned> {
        Timestamp::from_millisecond(at).ok().map(|at| Zoned::new(at, self.zone.clone()))
    }

    /// The first one after a time. Beyond the years that are looked through is never.
    pub fn after(&self, time: i64) -> Option<i64> {
        let next = self.pattern.find_next_occurrence(&self.zoned(time)?, false).ok()?;
        Some(next.timestamp().as_millisecond())
    }

    /// The last one up to a time.
    pub fn until(&self, time: i64) -> Option<i64> {
        let last = self.pattern.find_previous_occurrence(&self.zoned(time)?, true).ok()?;
        Some(last.timestamp().as_millisecond())
    }
}

/// A cron, and when it is due.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CronEntry {
    /// The cron.
    pub cron: Cron,
    /// Its next time, in milliseconds since the epoch; none: never again.
    pub next: Option<i64>,
    /// When its timer is set to: that time, or when it was set, if that time was over by then.
    pub due: Option<i64>,
}

impl AvroSchema for CronEntry {
    const SCHEMA: &'static str = include_str!("../../../schemas/task-queue-crons-changelog-value.avsc");
}

/// See the module's documentation.
#[derive(Clone)]
pub struct Crons {
    /// By name.
    pub crons: Store<String, CronEntry>,
    /// Their next times.
    pub timers: Timers,
    /// How exact times are kept.
    pub tick: Duration,
}

type Out<'a> = Context<'a, String, Task>;

/// A time that came longer ago than this was missed, in milliseconds.
const LATE: i64 = 60_000;
/// Times that are made up for in one go: all of it is one transaction.
const AT_ONCE: usize = 1_000;

impl Crons {
    fn keep(&self, name: &String, cron: Cron, next: Option<i64>, out: &mut Out<'_>) -> Result<(), Fault> {
        let due = next.map(|next| next.max(out.now().0));
        if let Some(due) = due {
            self.timers.set(due, Due::Begin, name, out)?;
        }
        out.store(&self.crons).write(name, Some(&CronEntry { cron, next, due }))
    }

    fn drop(&self, name: &String, known: &CronEntry, out: &mut Out<'_>) -> Result<(), Fault> {
        if let Some(due) = known.due {
            self.timers.cancel(due, Due::Begin, name, out)?;
        }
        out.store(&self.crons).write(name, None)
    }

    /// Submits the task of a time that has come, and of those that were missed since, as the cron says; sets the next one.
    fn fire(&self, name: &String, due: i64, out: &mut Out<'_>) -> Result<(), Fault> {
        let Some(CronEntry { cron, next: Some(at), due: Some(known) }) = out.store(&self.crons).read(name)? else {
            return Ok(());
        };
        if due != known {
            return Ok(());
        }
        let (now, all) = (out.now().0, cron.times()?);
        let (mut times, mut next) = (vec![at], all.after(at));
        if cron.missed == Missed::All {
            while let Some(time) = next.filter(|time| *time <= now && times.len() < AT_ONCE) {
                times.push(time);
                next = all.after(time);
            }
        } else {
            times = vec![all.until(now).map_or(at, |last| last.max(at))];
            next = all.after(now);
        }
        if cron.missed == Missed::None {
            times.retain(|time| now.saturating_sub(*time) <= LATE);
        }
        for time in times {
            let task = cron.task(name, time);
            let (key, timestamp, headers) = (task.lane().to_owned(), out.now(), Headers::new());
            out.forward(&Record { key, value: task, timestamp, headers });
        }
        self.keep(name, cron, next, out)
    }
}

impl Processor for Crons {
    type KeyIn = String;
    type ValueIn = Option<Cron>;
    type KeyOut = String;
    type ValueOut = Task;

    fn stores(&self) -> Vec<StoreIndex> {
        vec![self.crons.index(), self.timers.0.index()]
    }

    fn punctuators(&self) -> Vec<Punctuator> {
        vec![Punctuator::wall_clock("time", self.tick)]
    }

    fn punctuate(&mut self, _: &Tick<'_>, out: &mut Out<'_>) -> Result<(), Fault> {
        self.timers.take(out)?.iter().try_for_each(|timer| self.fire(&timer.id, timer.at, out))
    }

    fn process(&mut self, record: &Record<String, Option<Cron>>, out: &mut Out<'_>) -> Result<(), Fault> {
        let (name, known) = (&record.key, out.store(&self.crons).read(&record.key)?);
        // Written again as it was, it goes on as it did.
        if known.as_ref().map(|known| &known.cron) == record.value.as_ref() {
            return Ok(());
        }
        // What is no cron leaves the one before in force.
        let times = record.value.as_ref().map(Cron::times).transpose()?;
        let next = times.and_then(|times| times.after(out.now().0));
        if let Some(known) = &known {
            self.drop(name, known, out)?;
        }
        match &record.value {
            Some(cron) => self.keep(name, cron.clone(), next, out),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(pattern: &str, zone: &str, after: &str, count: usize) -> Vec<String> {
        let cron = Cron { pattern: pattern.to_owned(), zone: zone.to_owned(), ..Cron::default() };
        let all = cron.times().unwrap();
        let mut at = after.parse::<Timestamp>().unwrap().as_millisecond();
        let mut times = Vec::new();
        while let Some(next) = all.after(at).filter(|_| times.len() < count) {
            assert_eq!((all.until(next), all.until(next - 1).is_none_or(|last| last <= at)), (Some(next), true));
            times.push(Timestamp::from_millisecond(next).unwrap().to_string());
            at = next;
        }
        times
    }

    #[test]
    fn a_time_is_one_of_its_zone_also_where_clocks_are_moved() {
        let utc = times("30 4 * * MON-FRI", "UTC", "2026-11-20T04:30:00Z", 2);
        assert_eq!(utc, ["2026-11-23T04:30:00Z", "2026-11-24T04:30:00Z"]);
        // On 2027-03-28 there is no 02:30 in Berlin: it comes when clocks have been moved, on its day.
        let gap = times("30 2 * * *", "Europe/Berlin", "2027-03-27T00:00:00Z", 3);
        assert_eq!((&gap[0][..], &gap[2][..]), ("2027-03-27T01:30:00Z", "2027-03-29T00:30:00Z"), "{gap:?}");
        assert!(gap[1].starts_with("2027-03-28T01:"), "{gap:?}");
        // On 2026-10-25 there are two; a daily task comes once.
        let overlap = times("30 2 * * *", "Europe/Berlin", "2026-10-24T12:00:00Z", 2);
        assert!(overlap[0].starts_with("2026-10-25T") && overlap[1].starts_with("2026-10-26T"), "{overlap:?}");
        assert_eq!(
            times("*/10 * * * * *", "UTC", "2026-11-20T00:00:05Z", 1),
            ["2026-11-20T00:00:10Z"],
            "seconds first"
        );
    }

    #[test]
    fn what_never_comes_has_no_next_time() {
        assert!(times("0 0 30 2 *", "UTC", "2026-11-20T00:00:00Z", 1).is_empty());
    }

    #[test]
    fn what_is_no_cron_is_refused_with_the_way_out() {
        let refused = |pattern: &str, zone: &str| {
            let cron = Cron { pattern: pattern.to_owned(), zone: zone.to_owned(), ..Cron::default() };
            cron.times().unwrap_err()
        };
        assert!(refused("every day", "UTC").reason.contains("write it like"));
        assert_eq!(refused("61 * * * *", "UTC").class, "cron-pattern");
        assert!(refused("0 0 * * *", "Mars/Phobos").reason.contains("Mars/Phobos is no time zone"));
    }
}
