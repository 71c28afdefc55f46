//! All instances of a run, watched over as a supervisor would: whoever ends by itself is started again, and counted.

use std::path::Path;
use std::time::Duration;

use tempfile::TempDir;

use crate::Result;
use crate::child::{Kind, Role};
use crate::clock::ClockLibrary;
use crate::disk::Disk;
use crate::fault::Diary;
use crate::ground::Ground;
use crate::instance::{Instance, Program};

/// Names of instances, as many as a fleet can have.
const NAMES: [&str; 4] = ["one", "two", "three", "four"];
/// Ends by themselves that are borne with; more are a loop.
const EXITS: u32 = 40;

/// What a fleet is made of.
#[derive(Debug, Clone)]
pub struct Composition {
    /// What its instances are.
    pub kind: Kind,
    /// How many: four at most.
    pub instances: usize,
    /// What a record takes at least.
    pub pace: Duration,
    /// Whether the last instance's state is on a disk that can be filled.
    pub disk: bool,
    /// Whether each instance has a wall clock of its own.
    pub clocks: bool,
}

/// Instances of one ground's applications.
pub struct Fleet {
    instances: Vec<Instance>,
    /// Of the last instance, where one could be mounted.
    disk: Option<Disk>,
    exits: u32,
    /// States, logs and clocks; removed after the instances have ended.
    directory: TempDir,
}

impl Fleet {
    /// Starts all instances. A disk that can't be mounted is noted in the diary as a fault that is left out.
    ///
    /// # Errors
    /// One can't be started.
    pub fn start(program: &Program, ground: &Ground, wanted: &Composition, diary: &mut Diary) -> Result<Fleet> {
        let directory = TempDir::with_prefix("headrace-chaos-")?;
        let library = wanted.clocks.then(|| ClockLibrary::build(directory.path())).transpose()?;
        let disk = match wanted.disk.then(Disk::mount) {
            Some(Ok(disk)) => Some(disk),
            Some(Err(reason)) => {
                diary.note("LEFT-OUT", &format!("full-disk: no tmpfs can be mounted here: {reason}"));
                None
            }
            None => None,
        };
        let mut fleet = Fleet { instances: Vec::new(), disk, exits: 0, directory };
        let names: Vec<&str> = NAMES.into_iter().take(wanted.instances).collect();
        for name in &names {
            let own = fleet.directory.path().join(name);
            let on_disk = fleet.disk.as_ref().filter(|_| Some(name) == names.last());
            let role = Role {
                kind: wanted.kind,
                ground: ground.clone(),
                instance: (*name).to_owned(),
                directory: on_disk.map_or(own, |disk| disk.path().join("state")),
                pace: wanted.pace,
            };
            let clock = library.as_ref().map(|library| library.clock(name)).transpose()?;
            let mut instance = Instance::new(program.clone(), role, fleet.directory.path(), clock);
            instance.start()?;
            fleet.instances.push(instance);
        }
        Ok(fleet)
    }

    /// All instances.
    pub fn instances(&mut self) -> &mut [Instance] {
        &mut self.instances
    }

    /// One of them.
    pub fn instance(&mut self, at: usize) -> &mut Instance {
        &mut self.instances[at]
    }

    /// How many instances there are.
    pub fn len(&self) -> usize {
        self.instances.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.instances.is_empty()
    }

    /// The disk of the last instance, where one could be mounted.
    pub fn disk(&self) -> Option<&Disk> {
        self.disk.as_ref()
    }

    /// Each instance's name and state directory.
    pub fn directories(&self) -> Vec<(String, std::path::PathBuf)> {
        let directory = |instance: &Instance| (instance.name().to_owned(), instance.directory().to_owned());
        self.instances.iter().map(directory).collect()
    }

    /// Where the logs are.
    pub fn logs(&self) -> &Path {
        self.directory.path()
    }

    /// Starts again whoever has ended by itself.
    ///
    /// # Errors
    /// It has happened too often.
    pub fn supervise(&mut self, diary: &mut Diary) -> Result<()> {
        for instance in &mut self.instances {
            let Some(status) = instance.ended()? else { continue };
            self.exits += 1;
            diary.note("exit", &format!("{} by itself ({status}): {}", instance.name(), last_line(&instance.tail())));
            if self.exits > EXITS {
                return Err(format!("{} ends again and again:\n{}", instance.name(), instance.tail()).into());
            }
            instance.start()?;
        }
        Ok(())
    }

    /// How often an instance has ended by itself.
    pub fn exits(&self) -> u32 {
        self.exits
    }

    /// Ends all in an orderly way, so that their stores can be opened.
    ///
    /// # Errors
    /// One does not end so.
    pub fn terminate(&mut self) -> Result<()> {
        self.instances.iter_mut().try_for_each(Instance::terminate)
    }

    /// The ends of all logs, for a failure's report.
    pub fn tails(&self) -> String {
        let tail = |instance: &Instance| format!("--- end of the log of {}\n{}\n", instance.name(), instance.tail());
        self.instances.iter().map(tail).collect()
    }

    /// Keeps the logs after the end, and says where.
    pub fn keep_logs(&mut self) {
        self.directory.disable_cleanup(true);
        eprintln!("logs: {}", self.directory.path().display());
    }
}

fn last_line(text: &str) -> &str {
    text.lines().last().unwrap_or_default()
}
