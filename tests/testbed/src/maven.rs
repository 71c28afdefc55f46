//! Fetching through Maven, the one client of Maven Central that every Java developer has set up already (mirrors,
//! proxies, credentials).

use std::path::Path;
use std::time::Duration;

use crate::artifacts::{Artifacts, Dependency};
use crate::error::{Error, Result};
use crate::packages;
use crate::process::{Launch, tail, write};

/// Pinned so that the arguments below mean the same with each Maven.
const PLUGIN: &str = "org.apache.maven.plugins:maven-dependency-plugin:2.8";
/// Time for one run of Maven: a hundred megabytes over a slow line.
const DEADLINE: Duration = Duration::from_secs(900);
/// Runs before giving up: a mirror that hiccups usually works the next time.
const TRIES: u32 = 3;

/// Puts the files of `artifacts` into `lib`; poms and Maven's own log go into `work`.
pub(crate) fn fetch(artifacts: Artifacts, work: &Path, lib: &Path) -> Result<()> {
    let maven = packages::find("mvn")?;
    // With -C a file whose checksum differs from the one that the repository states is an error.
    let base = Launch::new(maven, work).args(["-q", "-B", "-C", "-U", "-l", "mvn.log"]);
    if !artifacts.dependencies().is_empty() {
        write(&work.join("pom.xml"), &pom(&elements("dependency", "dependencies", &artifacts.dependencies()), ""))?;
        let out = format!("-DoutputDirectory={}", lib.display());
        let goal = format!("{PLUGIN}:copy-dependencies");
        run(&base.clone().args(["-f", "pom.xml", &goal, "-DincludeScope=runtime", &out]), work)?;
    }
    if !artifacts.alone().is_empty() {
        let items = elements("artifactItem", "artifactItems", &artifacts.alone());
        let out = format!("<outputDirectory>{}</outputDirectory>", lib.display());
        write(&work.join("alone.xml"), &pom("", &format!("{items}{out}")))?;
        run(&base.args(["-f", "alone.xml", &format!("{PLUGIN}:copy")]), work)?;
    }
    Ok(())
}

fn run(launch: &Launch, work: &Path) -> Result<()> {
    let mut tries = 1;
    loop {
        match launch.run(DEADLINE) {
            Ok(_) => return Ok(()),
            // Maven writes to its log file, not to its output.
            Err(Error::Tool { program, status, .. }) if tries == TRIES => {
                return Err(Error::Tool { program, status, output: tail(&work.join("mvn.log")) });
            }
            Err(Error::Tool { .. }) => tries += 1,
            Err(error) => return Err(error),
        }
    }
}

fn elements(one: &str, all: &str, dependencies: &[Dependency]) -> String {
    let list: String = dependencies.iter().map(|d| format!("<{one}>{}</{one}>\n", d.xml())).collect();
    format!("<{all}>\n{list}</{all}>")
}

fn pom(dependencies: &str, copy: &str) -> String {
    let (group_and_name, version) = PLUGIN.rsplit_once(':').unwrap_or((PLUGIN, ""));
    let (group, name) = group_and_name.split_once(':').unwrap_or(("", PLUGIN));
    format!(
        "<project xmlns=\"http://maven.apache.org/POM/4.0.0\">\n<modelVersion>4.0.0</modelVersion>\n\
         <groupId>headrace</groupId><artifactId>parts</artifactId><version>1</version><packaging>pom</packaging>\n\
         {dependencies}\n<build><plugins><plugin><groupId>{group}</groupId><artifactId>{name}</artifactId>\
         <version>{version}</version><configuration>{copy}</configuration></plugin></plugins></build>\n</project>\n"
    )
}
