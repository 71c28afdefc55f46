//! Interactive queries of one instance: committed values only, fresh as asked for, pages that are a map's ranges.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;
use testbed::wait;

use super::operator::Operator;
use super::serving::{Asked, Serving, counted};
use super::support::{Bench, PARTITIONS, PATIENCE, broker};

/// Two keys out of three have several records.
fn records(keys: usize) -> Vec<(String, String)> {
    let numbers = (0..keys).flat_map(|key| (0..=key % 3).map(move |turn| (key, turn)));
    numbers.map(|(key, turn)| (format!("k-{key:04}"), turn.to_string())).collect()
}

fn serving(bench: &Bench, directory: &std::path::Path, commit: Duration) -> Serving {
    let mut options = bench.options("one", directory);
    options.commit_interval = commit;
    // Nothing here waits for the broker to abort.
    options.kafka.transaction_timeout = commit + Duration::from_secs(20);
    Serving::start(bench, bench.topology(Duration::ZERO, true), options)
}

/// The ends of all partitions of the input, as a token.
fn ends(bench: &Bench, more: i64) -> String {
    let operator = Operator::new(bench);
    let (input, ends) = (bench.input(), 0..PARTITIONS);
    let ends = ends.map(|partition| format!("{input}:{partition}:{}", operator.end(&input, partition) + more));
    ends.collect::<Vec<_>>().join(",")
}

#[test]
fn r17_a_query_sees_only_what_is_committed_with_its_position() {
    let (kafka, _guard) = broker();
    let (bench, directory) = (Bench::new(kafka, "committed-only"), tempfile::tempdir().expect("directory"));
    let open = serving(&bench, directory.path(), Duration::from_secs(100));
    open.running.wait_ready();
    let sent = [("key", "first"), ("key", "second")];
    Operator::new(&bench).send(sent.map(|(key, value)| (key.to_owned(), value.to_owned())));
    // The control: the second count was made from the first one, so the task has it in its store.
    wait::until("both are counted", PATIENCE, || {
        let output = bench.read_as(&bench.output(), "read_uncommitted");
        let values: Vec<_> = output.into_iter().filter_map(|record| record.value).collect();
        if values == ["1 first", "2 second"] { Ok(()) } else { Err(format!("{values:?}")) }
    })
    .expect("counted");
    let (status, absent) = open.site.ask("/counts/key");
    assert_eq!(status, 404, "{absent}");
    assert_eq!(absent["position"][bench.input()].as_object().expect("a position").len(), PARTITIONS as usize);
    assert_eq!(open.site.scan("counts", ""), (Vec::new(), 1));
    assert_eq!(bench.progress().0, 0, "it was committed meanwhile, so nothing is shown");
    open.stop().expect("stopped, and committed");

    let again = serving(&bench, directory.path(), Duration::from_millis(50));
    let found = again.site.until("/counts/key", 200);
    let partition = found["partition"].to_string();
    assert_eq!((&found["value"], &found["store"], &found["key"]), (&"2".into(), &"counts".into(), &"key".into()));
    assert_eq!(found["task"], format!("0_{partition}"));
    assert_eq!(found["position"][bench.input()][&partition], 2, "{found}");
    assert_eq!(found["token"], format!("{}:{partition}:2", bench.input()));
    again.stop().expect("stopped");
}

#[test]
fn a_client_reads_its_own_write_by_the_records_offset() {
    let (kafka, _guard) = broker();
    let (bench, directory) = (Bench::new(kafka, "own-writes"), tempfile::tempdir().expect("directory"));
    let serving = serving(&bench, directory.path(), Duration::from_millis(300));
    serving.running.wait_ready();
    let operator = Operator::new(&bench);
    let mut stale = 0;
    for turn in 1..=10 {
        operator.send([("key".to_owned(), turn.to_string())]);
        // The control arm: without the position the store is not there yet.
        let (count, before) = (turn.to_string(), serving.site.ask("/counts/key").1);
        stale += usize::from(before["value"].as_str() != Some(&count));
        let (status, found) = serving.site.ask(&format!("/counts/key?min-position={}&timeout=30s", ends(&bench, 0)));
        assert_eq!((status, found["value"].as_str()), (200, Some(count.as_str())), "{found}");
        let (_, page) = serving.site.ask(&format!("/counts?min-position={}", found["token"].as_str().expect("token")));
        assert_eq!(page["entries"][0]["value"].as_str(), Some(count.as_str()), "an answer's token is a min-position");
    }
    assert!(stale > 0, "a read without min-position was never stale: this test proves nothing");
    let (status, late) = serving.site.ask(&format!("/counts/key?min-position={}&timeout=200ms", ends(&bench, 1000)));
    assert_eq!(status, 504, "{late}");
    assert!(late["token"].as_str().is_some_and(|token| !token.is_empty()), "{late}");
    serving.stop().expect("stopped");
}

/// The store itself knows no position before its first commit; the group does.
#[test]
fn r18_after_a_restore_from_the_changelog_the_position_is_there_at_once() {
    let (kafka, _guard) = broker();
    let (bench, first) = (Bench::new(kafka, "restored-position"), tempfile::tempdir().expect("directory"));
    let running = bench.run(bench.options("one", first.path()));
    let records = records(60);
    Operator::new(&bench).send(records.clone());
    bench.wait_drained();
    running.stop().expect("stopped");
    let empty = tempfile::tempdir().expect("directory");
    let serving = serving(&bench, empty.path(), Duration::from_millis(50));
    serving.running.wait_ready();
    let path = format!("/counts/k-0002?min-position={}&timeout=10s", ends(&bench, 0));
    assert_eq!(serving.site.until(&path, 200)["value"], "3");
    let (entries, _) = serving.site.scan("counts", "");
    assert_eq!(entries.into_iter().map(|(_, key, value)| (key, value)).collect::<BTreeMap<_, _>>(), counted(&records));
    serving.stop().expect("stopped");
}

#[test]
fn scans_are_the_ranges_of_a_map_page_by_page() {
    let (kafka, _guard) = broker();
    let (bench, directory) = (Bench::new(kafka, "scans"), tempfile::tempdir().expect("directory"));
    let serving = serving(&bench, directory.path(), Duration::from_millis(50));
    serving.running.wait_ready();
    let records = records(300);
    Operator::new(&bench).send(records.clone());
    let model = counted(&records);
    serving.site.until(&format!("/counts?min-position={}&timeout=30s", ends(&bench, 0)), 200);
    for (query, keys) in [
        ("", ""..="z"),
        ("limit=1000", ""..="z"),
        ("limit=7", ""..="z"),
        ("limit=33&reverse", ""..="z"),
        ("limit=1&from=k-0100&to=k-0110", "k-0100"..="k-0109"),
        ("from=k-0250", "k-0250"..="z"),
        ("limit=10&to=k-0050", ""..="k-0049"),
        ("limit=3&prefix=k-02", "k-0200"..="k-0299"),
        ("limit=3&prefix=k-02&reverse=true", "k-0200"..="k-0299"),
        ("prefix-hex=6b2d303133", "k-0130"..="k-0139"),
        ("from=k-0200&to=k-0100", "1"..="0"),
        ("prefix=nothing", "1"..="0"),
    ] {
        let (entries, pages) = serving.site.scan("counts", query);
        let mut last: Option<(i64, &str)> = None;
        for (partition, key, _) in &entries {
            let follows = last.is_none_or(|(before, last)| match before == *partition {
                true => (last < key.as_str()) != query.contains("reverse"),
                false => before < *partition,
            });
            assert!(follows, "{query}: {key} of {partition} after {last:?}");
            last = Some((*partition, key));
        }
        let count = entries.len();
        let found: BTreeMap<_, _> = entries.into_iter().map(|(_, key, value)| (key, value)).collect();
        let expected: BTreeMap<_, _> =
            model.iter().filter(|(key, _)| keys.contains(&key.as_str())).map(|(k, v)| (k.clone(), v.clone())).collect();
        assert_eq!((&found, count), (&expected, expected.len()), "{query}");
        assert!(pages > 1 || !query.starts_with("limit=7"), "one page only");
    }
    let parts: usize =
        (0..PARTITIONS).map(|p| serving.site.scan("counts", &format!("partition={p}&limit=9")).0.len()).sum();
    assert_eq!(parts, model.len());
    serving.stop().expect("stopped");
}

fn error(site: &Asked, path: &str, status: u16) -> Value {
    let (found, body) = site.ask(path);
    assert_eq!(found, status, "{path}: {body}");
    assert!(body["error"].as_str().is_some_and(|error| !error.is_empty()), "{path}: {body}");
    body
}

#[test]
fn what_is_asked_wrongly_is_named() {
    let (kafka, _guard) = broker();
    let (bench, directory) = (Bench::new(kafka, "asked-wrongly"), tempfile::tempdir().expect("directory"));
    let serving = serving(&bench, directory.path(), Duration::from_millis(50));
    let site = &serving.site;
    site.until("/counts", 200);
    site.wait_partitions();
    assert_eq!(error(site, "/no-such-store/key", 404)["stores"], serde_json::json!(["counts"]));
    for (path, names) in [
        ("/counts?limit=1001", "limit"),
        ("/counts?limit=many", "limit"),
        ("/counts?form=a", "no such parameter"),
        ("/counts?partition=4", "partition"),
        ("/counts/a?partition=9", "partition"),
        ("/counts?next=zzz", "next"),
        ("/counts?next=17", "next"),
        ("/counts/a?min-position=elsewhere:0:5", "no input"),
        ("/counts/a?min-position=5", "min-position"),
        ("/counts/a?timeout=1h", "timeout"),
        ("/counts/a?key=b", "key"),
        ("/counts?key-base64=*", "base64"),
    ] {
        let body = error(site, path, 400);
        assert!(body["error"].as_str().is_some_and(|error| error.contains(names)), "{path}: {body}");
    }
    // What is in a key's place is a key, whatever it looks like.
    for path in ["/counts/a%2Fb", "/counts/%25", "/counts?key=", "/counts/..%2F..%2Fetc%2Fpasswd"] {
        assert!(error(site, path, 404)["position"].is_object(), "{path}");
    }
    let list = site.ask("").1;
    assert_eq!(list["stores"][0]["name"], "counts");
    assert_eq!((&list["stores"][0]["key"], &list["stores"][0]["partitions"]), (&"text".into(), &PARTITIONS.into()));
    assert_eq!(list["stores"][0]["tasks"].as_array().map(Vec::len), Some(PARTITIONS as usize));
    assert!(serving.running.metric("headrace_queries_total") >= 17.0);
    assert!(serving.running.metric("headrace_query_seconds_count") >= 17.0);
    serving.stop().expect("stopped");
}

/// Keys and values of strangers' making.
#[test]
fn any_text_is_a_key() {
    let (kafka, _guard) = broker();
    let (bench, directory) = (Bench::new(kafka, "any-text"), tempfile::tempdir().expect("directory"));
    let serving = serving(&bench, directory.path(), Duration::from_millis(50));
    serving.running.wait_ready();
    let keys =
        [("a/b?c#d", "a%2Fb%3Fc%23d"), ("é😀", "%C3%A9%F0%9F%98%80"), ("+ &=%", "%2B%20%26%3D%25"), ("\"\\", "%22%5C")];
    Operator::new(&bench).send(keys.map(|(key, _)| (key.to_owned(), "1".to_owned())));
    let fresh = format!("min-position={}&timeout=30s", ends(&bench, 0));
    for (key, escaped) in keys {
        for path in [format!("/counts/{escaped}?{fresh}"), format!("/counts?key={escaped}&{fresh}")] {
            let (status, found) = serving.site.ask(&path);
            assert_eq!((status, &found["key"], &found["value"]), (200, &key.into(), &"1".into()), "{path}: {found}");
        }
    }
    serving.stop().expect("stopped");
}
