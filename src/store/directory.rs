//! The directory that holds an application's state: one RocksDB per task, a lock beside each, and a quarantine.
//!
//! ```text
//!  <root>/<application id>/0_3/        the task's RocksDB
//!                          0_3.lock    flock, with the owner's process id
//!                          global/             the global tables, once per process
//!                          quarantine/0_3-7/   what was proven unusable; the last two are kept
//! ```

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::error::{Format, StoreError};
use super::global::GlobalState;
use super::lock::TaskLock;
use super::meta::{FORMAT_VERSION, Meta};
use super::options::StoreResources;
use super::rocks::Rocks;
use super::spec::{StoreIndex, StoreKind, StoreSpec};
use super::state::TaskState;
use crate::position::TaskId;

/// Quarantined states of one task that are kept.
const QUARANTINED_KEPT: usize = 2;
/// Name of the directory of the global tables.
const GLOBAL: &str = "global";
/// Name of the file that says why a state was quarantined.
const REASON: &str = "QUARANTINE_REASON";

/// The state directory of one application.
#[derive(Debug, Clone)]
pub struct StateDirectory {
    path: PathBuf,
}

impl StateDirectory {
    /// Opens or creates `<root>/<application id>`, readable by its owner only.
    ///
    /// # Errors
    /// The application id is no plain file name, or the directory can't be made.
    pub fn open(root: &Path, application_id: &str) -> Result<Self, StoreError> {
        let path = root.join(application_id);
        let plain = application_id.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c));
        if application_id.is_empty() || !plain || application_id.starts_with('.') {
            let source = io::Error::new(io::ErrorKind::InvalidInput, "the application id is no plain file name");
            return Err(StoreError::File { action: "creating", path, source });
        }
        create_private(&path)?;
        Ok(StateDirectory { path })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Locks and opens a task's state. A task without stores gets a state without a database.
    ///
    /// # Errors
    /// [`Locked`](StoreError::Locked) if someone has it open; [`Format`](StoreError::Format) or
    /// [`Corrupt`](StoreError::Corrupt) if what is there is unusable, which the caller may
    /// [`quarantine`](Self::quarantine).
    pub fn open_task(
        &self,
        task: TaskId,
        specs: &[StoreSpec],
        topology_id: u64,
        resources: &StoreResources,
    ) -> Result<TaskState, StoreError> {
        let lock = TaskLock::take(&self.lock_path(task), &task)?;
        if specs.is_empty() {
            return Ok(TaskState::assemble(specs, None, Meta::default(), Some(lock)));
        }
        let path = self.task_path(task);
        create_private(&path)?;
        let expected = Format { version: FORMAT_VERSION, topology: topology_id };
        let (rocks, meta) = Rocks::open(&path, specs, expected, resources)?;
        Ok(TaskState::assemble(specs, Some((rocks, resources)), meta, Some(lock)))
    }

    /// Locks and opens the process's global tables. One that is proven unusable is deleted: it is a copy of its topic, and of
    /// nothing else.
    ///
    /// # Errors
    /// As [`open_task`](Self::open_task).
    pub fn open_global(&self, tables: &[&str], resources: &StoreResources) -> Result<GlobalState, StoreError> {
        let lock = TaskLock::take(&self.path.join(format!("{GLOBAL}.lock")), &GLOBAL)?;
        let path = self.path.join(GLOBAL);
        create_private(&path)?;
        let spec = |(index, name): (usize, &&str)| StoreSpec {
            index: StoreIndex(index),
            name: (*name).to_owned(),
            kind: StoreKind::Rocks,
            changelog: false,
        };
        let specs: Vec<StoreSpec> = tables.iter().enumerate().map(spec).collect();
        let expected = Format { version: FORMAT_VERSION, topology: 0 };
        let opened = match Rocks::open(&path, &specs, expected, resources) {
            Err(error) if error.is_unusable() => {
                fs::remove_dir_all(&path).map_err(|source| file_error("deleting", &path, source))?;
                create_private(&path)?;
                Rocks::open(&path, &specs, expected, resources)
            }
            opened => opened,
        };
        let (rocks, meta) = opened?;
        Ok(GlobalState::on_disk(rocks, meta.positions.into_iter().collect(), lock))
    }

    /// Sets a task's state aside, so that the next open starts empty (rule R-19). Only for what is proven unusable. The
    /// last two are kept for inspection; older ones are deleted. `None`: there was nothing.
    ///
    /// # Errors
    /// The task is open, or files can't be moved.
    pub fn quarantine(&self, task: TaskId, reason: &str) -> Result<Option<PathBuf>, StoreError> {
        let _lock = TaskLock::take(&self.lock_path(task), &task)?;
        let path = self.task_path(task);
        if !path.exists() {
            return Ok(None);
        }
        let quarantine = self.path.join("quarantine");
        create_private(&quarantine)?;
        let mut kept = quarantined(&quarantine, task)?;
        let number = kept.last().map_or(1, |(number, _)| number + 1);
        let target = quarantine.join(format!("{task}-{number}"));
        // Moved first: a crash between the two steps must not leave the unusable state in place.
        fs::rename(&path, &target).map_err(|source| file_error("moving", &path, source))?;
        let note = target.join(REASON);
        fs::write(&note, reason).map_err(|source| file_error("writing", &note, source))?;
        kept.push((number, target.clone()));
        for (_, old) in &kept[..kept.len().saturating_sub(QUARANTINED_KEPT)] {
            fs::remove_dir_all(old).map_err(|source| file_error("deleting", old, source))?;
        }
        Ok(Some(target))
    }

    /// Tasks that have state here, in order: a restarted instance asks for them first, so that nothing is restored.
    ///
    /// # Errors
    /// The directory can't be read.
    pub fn tasks(&self) -> Result<Vec<TaskId>, StoreError> {
        let mut tasks: Vec<_> = names(&self.path)?.iter().filter_map(|name| name.parse().ok()).collect();
        tasks.sort_unstable();
        Ok(tasks)
    }

    fn task_path(&self, task: TaskId) -> PathBuf {
        self.path.join(task.to_string())
    }

    fn lock_path(&self, task: TaskId) -> PathBuf {
        self.path.join(format!("{task}.lock"))
    }
}

/// What is in quarantine of a task, oldest first.
fn quarantined(quarantine: &Path, task: TaskId) -> Result<Vec<(u64, PathBuf)>, StoreError> {
    let prefix = format!("{task}-");
    let number = |name: &str| name.strip_prefix(&prefix)?.parse::<u64>().ok();
    let names = names(quarantine)?;
    let mut found: Vec<_> = names.iter().filter_map(|name| Some((number(name)?, quarantine.join(name)))).collect();
    found.sort_unstable();
    Ok(found)
}

fn names(path: &Path) -> Result<Vec<String>, StoreError> {
    let entries = fs::read_dir(path).and_then(|entries| entries.collect::<io::Result<Vec<_>>>());
    let entries = entries.map_err(|source| file_error("listing", path, source))?;
    Ok(entries.into_iter().filter_map(|entry| entry.file_name().into_string().ok()).collect())
}

fn create_private(path: &Path) -> Result<(), StoreError> {
    let created = DirBuilder::new().recursive(true).mode(0o700).create(path);
    // Also when it was there before, with wider permissions.
    let created = created.and_then(|()| fs::set_permissions(path, Permissions::from_mode(0o700)));
    created.map_err(|source| file_error("creating", path, source))
}

fn file_error(action: &'static str, path: &Path, source: io::Error) -> StoreError {
    StoreError::File { action, path: path.to_owned(), source }
}
