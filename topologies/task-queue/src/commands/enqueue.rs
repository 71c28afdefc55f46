//! `enqueue`: tasks from a shell, acknowledged before their ids are printed.
//!
//! ```text
//!  arguments ─▶ Fields ─▶ the queue's own rules ─▶ end of topics.results (--wait) ─▶ topics.tasks ─▶ ids ─▶ results
//! ```
//!
//! Records are keyed by the task's lane, so that tasks of one order key that are submitted one after the other stay in that order.

use std::collections::BTreeSet;
use std::io::{BufRead as _, Read as _};
use std::process::ExitCode;

use clap::Args;
use headrace::cli::Values;
use headrace::config::Span;
use headrace::error::FatalError;
use headrace::kafka::Submitter;

use super::Console;
use super::submission::{Fields, made_up};
use super::times::now;
use super::wait::Wait;
use crate::rules::Rules;
use crate::tasks::Task;

/// Tasks of `--lines` that are submitted together, and acknowledged before others are read.
const MOST_AT_ONCE: usize = 1_000;
/// The largest payload that is read, in bytes; whether it fits into a record is the brokers' to say.
const LONGEST_PAYLOAD: u64 = 64 << 20;

/// See [`Command::Enqueue`](super::Command::Enqueue).
#[derive(Debug, Args)]
pub struct Enqueue {
    #[command(flatten)]
    fields: Fields,
    /// Wait for the result, for 30s or as long as is said (--wait=5m), and print it. Exit code 1 if it is not DONE.
    #[arg(long, value_name = "DURATION", num_args = 0..=1, require_equals = true, default_missing_value = "30s")]
    wait: Option<Span>,
    /// One task for each line of stdin, with the line as its payload.
    #[arg(long, conflicts_with = "payload")]
    lines: bool,
    /// What the task is to be done with; "-" reads it from stdin. Nothing by default.
    payload: Option<String>,
}

impl Enqueue {
    pub(super) fn run(&self, console: &Console) -> Result<ExitCode, FatalError> {
        // What all tasks have in common is checked before anything is asked or read.
        let task = self.fields.task(&Rules::new(&console.config), now())?;
        let wait = self.wait.map(|span| Wait::begin(console, span.duration())).transpose()?;
        let mut tasks = Submission::begin(console)?;
        if self.lines {
            self.submit_lines(&task, &mut tasks)?;
        } else {
            tasks.submit(vec![Task { payload: self.payload()?, ..task }])?;
        }
        let done = wait.map_or(Ok(true), |wait| wait.print(tasks.ids))?;
        Ok(if done { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    fn payload(&self) -> Result<Vec<u8>, FatalError> {
        match self.payload.as_deref() {
            None => Ok(Vec::new()),
            Some("-") => {
                let mut payload = Vec::new();
                let read = std::io::stdin().lock().take(LONGEST_PAYLOAD + 1).read_to_end(&mut payload);
                read.map_err(|error| unread(&error))?;
                bounded(payload)
            }
            Some(text) => Ok(text.as_bytes().to_vec()),
        }
    }

    /// Each line is a task of its own.
    fn submit_lines(&self, common: &Task, submission: &mut Submission<'_>) -> Result<(), FatalError> {
        let mut input = std::io::stdin().lock();
        loop {
            let mut tasks = Vec::new();
            while tasks.len() < MOST_AT_ONCE {
                let mut line = Vec::new();
                let read = (&mut input).take(LONGEST_PAYLOAD + 2).read_until(b'\n', &mut line);
                if read.map_err(|error| unread(&error))? == 0 {
                    break;
                }
                let payload = bounded(without_end(line))?;
                tasks.push(Task { id: made_up(now()), payload, ..common.clone() });
            }
            if tasks.is_empty() {
                return Ok(());
            }
            submission.submit(tasks)?;
        }
    }
}

fn unread(error: &std::io::Error) -> FatalError {
    FatalError::Environment(format!("stdin: {error}"))
}

fn bounded(payload: Vec<u8>) -> Result<Vec<u8>, FatalError> {
    if payload.len() as u64 <= LONGEST_PAYLOAD {
        return Ok(payload);
    }
    let way_out = "keep what is large elsewhere, and submit where it is";
    Err(FatalError::Config(format!("stdin: a payload of more than {LONGEST_PAYLOAD} bytes; {way_out}")))
}

fn without_end(mut line: Vec<u8>) -> Vec<u8> {
    if line.last() == Some(&b'\n') {
        line.pop();
        if line.last() == Some(&b'\r') {
            line.pop();
        }
    }
    line
}

/// Tasks on their way to the brokers.
struct Submission<'a> {
    topic: &'a str,
    values: Values<Task>,
    submitter: Submitter,
    /// Of those that the brokers have acknowledged.
    ids: BTreeSet<String>,
}

impl<'a> Submission<'a> {
    fn begin(console: &'a Console) -> Result<Self, FatalError> {
        let topic = console.config.topics.tasks.as_str();
        console.partitions(topic)?;
        let values = console.block_on(console.values(topic)?.written())?;
        Ok(Submission { topic, values, submitter: console.submitter()?, ids: BTreeSet::new() })
    }

    /// Writes tasks, and prints the ids of those that are there.
    ///
    /// # Errors
    /// One is not: after those that are were printed, and with how many that makes.
    fn submit(&mut self, tasks: Vec<Task>) -> Result<(), FatalError> {
        let mut records = Vec::with_capacity(tasks.len());
        for task in &tasks {
            records.push((task.lane().as_bytes().to_vec(), self.values.encode(task)?));
        }
        let mut failed = None;
        for (task, outcome) in tasks.into_iter().zip(self.submitter.submit(self.topic, &records)) {
            match outcome {
                Ok(()) => {
                    println!("{}", task.id);
                    self.ids.insert(task.id);
                }
                Err(error) => failed = failed.or(Some((task.id, error))),
            }
        }
        let Some((id, error)) = failed else { return Ok(()) };
        let (topic, others) = (self.topic, self.ids.len());
        let reason = format!("{id} is not submitted, as far as is known: topic {topic}: {error}; {others} others are");
        Err(FatalError::Environment(reason))
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Typed {
        #[command(flatten)]
        enqueue: Enqueue,
    }

    fn typed(arguments: &[&str]) -> Result<Enqueue, clap::Error> {
        Typed::try_parse_from([&["enqueue", "--queue=q"], arguments].concat()).map(|typed| typed.enqueue)
    }

    #[test]
    fn a_wait_takes_no_payload_for_its_duration() {
        let wait = |arguments: &[&str]| {
            let enqueue = typed(arguments).unwrap();
            (enqueue.wait.map(|span| span.to_string()), enqueue.payload)
        };
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(wait(&[]), (None, None));
        assert_eq!(wait(&["--wait", "hello"]), (some("30s"), some("hello")));
        assert_eq!(wait(&["--wait=5m", "-"]), (some("5m"), some("-")));
        assert!(typed(&["--lines", "hello"]).is_err() && typed(&["--wait=5"]).is_err());
    }

    #[test]
    fn a_line_is_without_its_end_and_nothing_else_is_taken_from_it() {
        let line = |text: &str| String::from_utf8(without_end(text.as_bytes().to_vec())).unwrap();
        assert_eq!(line("a b \r\n"), "a b ");
        assert_eq!(line("a\n"), "a");
        assert_eq!(line("a"), "a");
        assert_eq!(line("\n"), "");
        assert_eq!(line("a\r"), "a\r");
    }

    #[test]
    fn a_payload_without_end_is_refused() {
        assert!(bounded(vec![0; 9]).is_ok());
        let error = bounded(vec![0; LONGEST_PAYLOAD as usize + 1]).unwrap_err();
        assert_eq!(error.exit_code(), 64);
    }
}
