//! Queries of the real binary's store: Avro keys as JSON, its token, its page, and nothing of them in its log.

use serde_json::Value;
use testbed::wait;

use super::binary::{Deployment, key};
use crate::runtime::support::{PATIENCE, bed_alone};

const TOKEN: &str = "canary-of-the-state";
const BEARER: &str = "Authorization: Bearer canary-of-the-state\r\n";

#[test]
fn a_row_is_asked_for_by_its_avro_key_and_only_with_the_token() {
    let (bed, _guard) = bed_alone();
    let deployment = Deployment::new(bed, "asked");
    let process = deployment.start_with(&[("HEADRACE__HTTP__STATE_TOKEN", TOKEN)]);
    process.wait_ready();
    deployment.insert(7..9);
    deployment.wait_invalidations(2);
    let ask = |path: &str| -> (u16, Value) {
        let (status, body) = process.get(path, BEARER).expect("an answer");
        (status, serde_json::from_str(&body).unwrap_or_else(|_| panic!("{path}: {status}: {body}")))
    };
    let row = |id: u64| serde_json::json!({ "table": "public.items", "key": key(id) });
    let escaped = |row: &Value| row.to_string().bytes().map(|byte| format!("%{byte:02X}")).collect::<String>();
    let path = format!("/state/row-versions/{}", escaped(&row(7)));
    let found = wait::until("the row", PATIENCE, || match ask(&path) {
        (200, found) => Ok(found),
        (status, body) => Err(format!("{status}: {body}")),
    })
    .unwrap_or_else(|error| panic!("{error}\n{}", process.log()));
    assert_eq!(found["key"], row(7));
    assert_eq!(found["value"]["deleted"], false, "{found}");
    assert!(found["value"]["version"].as_str().is_some_and(|version| version.len() == 58), "{found}");
    assert_eq!(ask(&format!("/state/row-versions/{}", escaped(&row(1000)))).0, 404);
    let (status, wrong) = ask("/state/row-versions/%7B%22table%22:%22canary%22%7D");
    assert_eq!(status, 400, "{wrong}");
    assert!(wrong["error"].as_str().is_some_and(|error| error.contains("avro(RowKey)") && !error.contains("canary")));
    let (_, page) = ask("/state/row-versions?limit=1000");
    assert_eq!(page["entries"].as_array().map(Vec::len), Some(2), "{page}");

    for header in ["", "Authorization: Bearer canary\r\n"] {
        for path in [path.as_str(), "/state", "/state/row-versions"] {
            assert_eq!(process.get(path, header).expect("an answer").0, 401, "{path}");
        }
    }
    let (_, front) = process.get("/", "").expect("the page");
    assert!(front.contains("href=\"state/row-versions\""), "{front}");
    let log = process.log();
    assert!(!log.contains(TOKEN) && !log.contains("public.items\\"), "{log}");
    assert_eq!(process.terminate(), Some(0));
}
