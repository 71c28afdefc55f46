//! `out/chaos/<name>.json`, in the one shape that all results have.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use testbed::here;

use crate::Result;

/// Writes it; `ours` are the figures, `detail` what they are made of.
///
/// # Errors
/// It can't be written.
pub fn write(name: &str, ours: Value, detail: Value) -> Result<()> {
    let directory = Path::new("out/chaos");
    fs::create_dir_all(directory)?;
    let body = json!({
        "name": format!("chaos-{name}"),
        "commit": here::commit(),
        "machine": here::machine(),
        "runs": 1,
        "ours": ours,
        "peer": null,
        "limit": null,
        "ratio_peer": null,
        "ratio_limit": null,
        "detail": detail,
    });
    let path = directory.join(format!("{name}.json"));
    fs::write(&path, serde_json::to_string_pretty(&body)? + "\n")?;
    println!("wrote {}", path.display());
    Ok(())
}
