//! The picture in the topology's README is what `describe` prints for the default configuration, and all keys are explained there.

use headrace::config::{Layers, Loaded};
use headrace::topology::Format;
use write_ahead_log::config::Config;
use write_ahead_log::{DEFAULTS, topology};

const README: &str = include_str!("../README.md");

fn pictures(document: &str) -> Vec<&str> {
    let blocks = document.split("```mermaid\n").skip(1);
    blocks.filter_map(|block| block.split_once("```").map(|(picture, _)| picture.trim_end())).collect()
}

fn printed() -> String {
    let Loaded { topology: config, .. } = Layers::new(DEFAULTS).load::<Config>().expect("the defaults are valid");
    topology(&config).expect("they make a topology").describe().render(Format::Mermaid)
}

#[test]
fn the_readme_shows_what_describe_prints() {
    assert_eq!(pictures(README), [printed().trim_end()], "replace the picture by what describe prints");
}

#[test]
fn an_old_picture_is_seen() {
    let document = "text\n```mermaid\nflowchart LR\n    gone\n```\nmore";
    assert_eq!(pictures(document), ["flowchart LR\n    gone"]);
    assert_ne!(pictures(document), [printed().trim_end()]);
}

#[test]
fn every_key_of_the_topology_is_in_its_readme() {
    let mut section = String::new();
    for line in DEFAULTS.lines() {
        if let Some(name) = line.strip_prefix('[') {
            section = format!("{}.", name.trim_end_matches(']'));
        } else if let Some((key, _)) = line.split_once(" = ").filter(|(key, _)| !key.starts_with('#')) {
            let key = format!("`{section}{key}`");
            assert!(README.contains(&key), "{key} is not explained in the topology's README.md");
        }
    }
}
