//! The names that one arm has for itself: its application, its topics, its directories.

use std::path::{Path, PathBuf};

use count_topology::stored::store_name;

use crate::counting::Arm;

/// How large a state is, and how it is split.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    pub(crate) partitions: i32,
    pub(crate) stores: u8,
}

/// See the module.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) arm: Arm,
    pub(crate) application: String,
    pub(crate) shape: Shape,
    root: PathBuf,
}

impl Place {
    pub(crate) fn new(arm: Arm, shape: Shape, root: &Path) -> Self {
        let application = format!("{}-stored", arm.name());
        Place { arm, root: root.join(&application), application, shape }
    }

    pub(crate) fn events(&self) -> String {
        format!("{}.events", self.application)
    }

    pub(crate) fn counts(&self) -> String {
        format!("{}.counts", self.application)
    }

    /// The changelogs, which Headrace and Kafka Streams name alike.
    pub(crate) fn changelogs(&self) -> Vec<String> {
        (0..self.shape.stores).map(|n| format!("{}-{}-changelog", self.application, store_name(n))).collect()
    }

    /// The state directory of an instance.
    pub(crate) fn state(&self, instance: &str) -> PathBuf {
        self.root.join(instance)
    }

    /// Where an instance's task has its state.
    pub(crate) fn task(&self, instance: &str, partition: i32) -> PathBuf {
        self.state(instance).join(&self.application).join(format!("0_{partition}"))
    }
}
