//! An application under test that answers queries over HTTP.

use std::collections::{BTreeMap, BTreeSet};

use headrace::error::FatalError;
use headrace::runtime::Options;
use headrace::topology::Topology;
use serde_json::Value;
use testbed::{http_get, wait};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::running::Running;
use super::support::{Bench, PARTITIONS, PATIENCE, tokio};

/// An application in this process, with its pages.
pub(crate) struct Serving {
    pub(crate) running: Running,
    pub(crate) site: Asked,
    /// Ends the pages.
    pages: DropGuard,
}

impl Serving {
    /// Runs a topology, and answers for it on a port of its own.
    pub(crate) fn start(bench: &Bench, topology: Topology, mut options: Options) -> Self {
        let (site, pages) = serve(&topology, &mut options, 0);
        let running = bench.run_topology(topology, options);
        Serving { running, site, pages: pages.drop_guard() }
    }

    /// Stops the application; its pages go with it.
    pub(crate) fn stop(self) -> Result<(), FatalError> {
        let stopped = self.running.stop();
        drop(self.pages);
        stopped
    }
}

/// Puts the queries among the options and serves them; 0 is any free port.
pub(crate) fn serve(topology: &Topology, options: &mut Options, port: u16) -> (Asked, CancellationToken) {
    let (address, pages) = tokio().block_on(chaos::pages::serve(topology, options, port)).expect("served");
    (Asked { address }, pages)
}

/// Somebody's `/state`.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) address: String,
}

impl Asked {
    /// Status and body.
    pub(crate) fn ask(&self, path: &str) -> (u16, Value) {
        let (status, body) = http_get(&format!("http://{}/state{path}", self.address)).expect("an answer");
        let body = serde_json::from_str(&body).unwrap_or_else(|_| panic!("{path}: {status}: {body}"));
        (status, body)
    }

    /// Asks until the answer has this status.
    #[track_caller]
    pub(crate) fn until(&self, path: &str, wanted: u16) -> Value {
        let asked = wait::until(path, PATIENCE, || match self.ask(path) {
            (status, body) if status == wanted => Ok(body),
            (status, body) => Err(format!("{status}: {body}")),
        });
        asked.unwrap_or_else(|error| panic!("{error}"))
    }

    /// Waits until every partition of the store has an owner, and there are so many of them.
    pub(crate) fn wait_owners(&self, owners: usize) {
        wait::until("the owners", PATIENCE, || {
            let (_, body) = self.ask("");
            let known = body["stores"][0]["owners"].as_object().cloned().unwrap_or_default();
            let addresses: BTreeSet<&str> = known.values().filter_map(Value::as_str).collect();
            let all = known.len() == PARTITIONS as usize && known.values().all(Value::is_string);
            if all && addresses.len() == owners { Ok(()) } else { Err(format!("{body}")) }
        })
        .expect("owners");
    }

    /// Waits until the number of partitions is known.
    pub(crate) fn wait_partitions(&self) {
        wait::until("the partitions", PATIENCE, || match self.ask("").1["stores"][0]["partitions"].as_i64() {
            Some(_) => Ok(()),
            None => Err("not known".to_owned()),
        })
        .expect("partitions");
    }

    /// All entries of a scan, page by page, as (partition, key, value), and how many pages there were.
    pub(crate) fn scan(&self, store: &str, query: &str) -> (Vec<(i64, String, String)>, usize) {
        let (mut entries, mut pages, mut next) = (Vec::new(), 0, String::new());
        loop {
            let (status, body) = self.ask(&format!("/{store}?{query}{next}"));
            assert_eq!(status, 200, "{query}{next}: {body}");
            let text = |value: &Value| value.as_str().expect("a text").to_owned();
            for row in body["entries"].as_array().expect("entries") {
                entries.push((row["partition"].as_i64().expect("a number"), text(&row["key"]), text(&row["value"])));
            }
            pages += 1;
            match body["next"].as_str() {
                Some(token) => next = format!("&next={token}"),
                None => return (entries, pages),
            }
        }
    }
}

/// What the counts should be: of each key the number of its records.
pub(crate) fn counted(records: &[(String, String)]) -> BTreeMap<String, String> {
    let mut counts = BTreeMap::<String, u64>::new();
    records.iter().for_each(|(key, _)| *counts.entry(key.clone()).or_default() += 1);
    counts.into_iter().map(|(key, count)| (key, count.to_string())).collect()
}
