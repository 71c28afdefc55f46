//! Repartition topics and tables on a real broker: exact over kills, deleted once processed, made and checked by `apply`.

use std::path::Path;
use std::time::Duration;

use headrace::error::FatalError;
use headrace::kafka::{Admin, TopicWanted};
use headrace::runtime::{Environment, Guarantee, Plan};
use headrace::store::{StateDirectory, StoreOptions, StoreResources};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use testbed::wait;

use super::child::{Kind, Process};
use super::colours::{self, COLOURS, NAMES, between, folded, name, names_topic, stored, violations, wait_drained};
use super::operator::Operator;
use super::serving::Serving;
use super::support::{Bench, PARTITIONS, PATIENCE, broker, quarantined, tokio};

const COMMIT: Duration = Duration::from_millis(50);
/// Each has a key of its own, and none is poison to the topology.
const NUMBERS: u64 = 48_000;

/// Numbers without those that others take for poison.
fn produce(bench: &Bench, numbers: std::ops::Range<u64>) {
    Operator::new(bench).send(numbers.map(|number| (format!("key-{}", number % 997), number.to_string())));
}

fn wait_output(bench: &Bench, more: i64) {
    let wanted = bench.output_end() + more;
    wait::until("more output", PATIENCE, || match bench.output_end() {
        end if end >= wanted => Ok(()),
        end => Err(format!("{end} of {wanted}")),
    })
    .expect("progress");
}

/// Two instances of two threads each; one after the other is killed at work, and started again.
fn run_killing(bench: &Bench, kind: Kind, directories: [&Path; 2]) {
    let start = |instance, directory| Process::start(bench, kind, instance, directory, COMMIT);
    let mut one = start("one", directories[0]);
    let mut two = start("two", directories[1]);
    // Of the whole output, so that it is reached however much of it a restart takes to be noticed.
    let reached = |turn: u64| {
        let wanted = i64::try_from(NUMBERS / 8 * (turn + 1)).expect("few");
        wait_output(bench, (wanted - bench.output_end()).max(0));
    };
    for turn in 0..4 {
        reached(turn);
        match turn {
            0 => produce(bench, NUMBERS / 2..NUMBERS),
            1 => name(bench, 1),
            _ => {}
        }
        if turn % 2 == 0 {
            one.kill();
            one = start("one", directories[0]);
        } else {
            two.kill();
            two = start("two", directories[1]);
        }
    }
    reached(4);
    one.kill();
    two.kill();
}

#[test]
fn kills_of_two_instances_leave_outputs_stores_and_table_exact_behind_a_repartition() {
    let (kafka, _guard) = broker();
    let bench = colours::bench(kafka, "colours");
    let [one, two] = [(); 2].map(|()| tempfile::tempdir().expect("directory"));
    name(&bench, 0);
    produce(&bench, 0..NUMBERS / 2);
    run_killing(&bench, Kind::Colours, [one.path(), two.path()]);
    let last =
        bench.run_topology(colours::topology(&bench, Duration::ZERO), colours::options(&bench, "one", one.path()));
    wait_drained(&bench);
    assert!(last.metric("headrace_repartition_purged_total") > 0.0);
    last.stop().expect("stopped");
    assert_eq!(violations(&bench, NUMBERS, 2), Vec::<String>::new());
    let (stored, folded) = (stored(&bench, one.path()), folded(&bench));
    assert_eq!(stored, folded, "R-18: each store == fold(changelog), the table == fold(its topic)");
    assert_eq!(folded.keys().filter(|(store, _)| store == NAMES).count() as u64, COLOURS);
    let wiped = [&one, &two].map(|directory| quarantined(directory.path(), &bench.application));
    assert_eq!(wiped, [0, 0], "R-18: nothing is wiped");
    let aborted = bench.read_as(&bench.output(), "read_uncommitted").len() as u64;
    assert!(aborted > NUMBERS, "R-6: no kill met an open transaction, so this proved nothing");
}

#[test]
fn the_control_arm_at_least_once_fails_the_same_check_behind_a_repartition() {
    let (kafka, _guard) = broker();
    let bench = colours::bench(kafka, "colours-control");
    let [one, two] = [(); 2].map(|()| tempfile::tempdir().expect("directory"));
    name(&bench, 0);
    produce(&bench, 0..NUMBERS / 2);
    run_killing(&bench, Kind::ColoursAtLeastOnce, [one.path(), two.path()]);
    let mut options = colours::options(&bench, "one", one.path());
    options.guarantee = Guarantee::AtLeastOnce;
    let last = bench.run_topology(colours::topology(&bench, Duration::ZERO), options);
    wait_drained(&bench);
    last.stop().expect("stopped");
    assert_ne!(violations(&bench, NUMBERS, 2), Vec::<String>::new(), "the check can't tell right from wrong");
}

#[test]
fn a_table_on_a_fresh_disk_is_whole_before_the_first_record_and_a_foreign_transaction_does_not_hold_it_up() {
    let (kafka, _guard) = broker();
    let bench = colours::bench(kafka, "table-start");
    (0..3).for_each(|edition| name(&bench, edition));
    let mut config = bench.client();
    config.set("transactional.id", format!("{}-foreign", bench.application)).set("partitioner", "murmur2_random");
    config.set("transaction.timeout.ms", "300000");
    let foreign: BaseProducer = config.create().expect("producer");
    foreign.init_transactions(PATIENCE).expect("its id");
    foreign.begin_transaction().expect("begun");
    let topic = names_topic(&bench);
    for number in 0..COLOURS {
        let key = colours::colour(number);
        let record = BaseRecord::to(&topic).key(&key).payload("name-9");
        foreign.send(record).map_err(|(error, _)| error).expect("sent");
    }
    foreign.flush(PATIENCE).expect("flush");
    produce(&bench, 0..500);
    let directory = tempfile::tempdir().expect("directory");
    let options = colours::options(&bench, "one", directory.path());
    let serving = Serving::start(&bench, colours::topology(&bench, Duration::ZERO), options);
    wait::until("all output while the foreign transaction is open", PATIENCE, || {
        match bench.read(&bench.output()).len() {
            500 => Ok(()),
            count => Err(format!("{count} records")),
        }
    })
    .expect("output");
    let editions: Vec<_> =
        bench.read(&bench.output()).into_iter().map(|record| record.value.expect("a value")).collect();
    assert!(editions.iter().all(|value| value.ends_with(" name-2")), "{editions:?}");
    let partition = headrace::partitioner::partition_of(b"colour-7", PARTITIONS);
    let found = serving.site.until("/names/colour-7", 200);
    assert_eq!((&found["value"], &found["task"]), (&"name-2".into(), &format!("1_{partition}").into()), "{found}");
    foreign.commit_transaction(PATIENCE).expect("committed");
    wait::until("the newest edition", PATIENCE, || match serving.site.ask("/names/colour-7").1 {
        body if body["value"] == "name-9" => Ok(()),
        body => Err(body.to_string()),
    })
    .expect("newest");
    wait_drained(&bench);
    serving.stop().expect("stopped");
    assert_eq!(stored(&bench, directory.path()), folded(&bench));
}

#[test]
fn a_table_whose_topic_is_made_anew_holds_what_the_new_one_has() {
    let (kafka, _guard) = broker();
    let bench = colours::bench(kafka, "table-anew");
    (0..3).for_each(|edition| name(&bench, edition));
    let directory = tempfile::tempdir().expect("directory");
    let options = colours::options(&bench, "one", directory.path());
    let running = bench.run_topology(colours::topology(&bench, Duration::ZERO), options);
    produce(&bench, 0..200);
    wait_output(&bench, 1);
    wait_drained(&bench);
    let operator = Operator::new(&bench);
    operator.delete(&names_topic(&bench));
    let admin = Admin::new(&bench.settings("admin")).expect("admin");
    let config = vec![("cleanup.policy".to_owned(), "compact".to_owned())];
    let wanted = TopicWanted { name: names_topic(&bench), partitions: PARTITIONS, replication: 1, config };
    wait::until("the topic anew", PATIENCE, || match admin.create(&wanted) {
        Ok(true) => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .expect("created");
    let producer: BaseProducer = bench.client().set("partitioner", "murmur2_random").create().expect("producer");
    let (topic, key) = (names_topic(&bench), colours::colour(3));
    producer.send(BaseRecord::to(&topic).key(&key).payload("name-5")).map_err(|(error, _)| error).expect("sent");
    producer.flush(PATIENCE).expect("flush");
    let last_name = |number: u64| {
        let all = bench.read(&bench.output()).into_iter().rev();
        let own = all.filter(|record| record.key == colours::colour(number)).find_map(|record| record.value);
        own.and_then(|value| value.rsplit(' ').next().map(str::to_owned)).expect("an output")
    };
    let mut next = 200;
    wait::until("the old names are gone", PATIENCE, || {
        let before = bench.output_end();
        produce(&bench, next..next + COLOURS);
        next += COLOURS;
        wait::until("its output", PATIENCE, || match bench.output_end() - before {
            more if more >= COLOURS as i64 => Ok(()),
            more => Err(format!("{more} more")),
        })
        .map_err(|error| error.to_string())?;
        let names = [last_name(3), last_name(4)];
        if names == ["name-5", "none"] { Ok(()) } else { Err(format!("{names:?}")) }
    })
    .expect("new names");
    wait_drained(&bench);
    running.stop().expect("stopped");
    assert_eq!(stored(&bench, directory.path()), folded(&bench));
}

#[test]
fn apply_makes_repartition_topics_as_wide_as_their_input_and_the_start_refuses_what_would_lose_records() {
    let (kafka, _guard) = broker();
    let bench = Bench::bare(kafka, "between-topics");
    bench.create(&bench.input(), PARTITIONS + 1);
    bench.create(&names_topic(&bench), PARTITIONS + 1);
    let directory = tempfile::tempdir().expect("directory");
    let options = || colours::options(&bench, "one", directory.path());
    let environment = Environment::new(colours::topology(&bench, Duration::ZERO), options());
    let problems = || tokio().block_on(environment.problems()).expect("looked");
    let missing = problems();
    assert!(
        missing.iter().any(|text| text.contains(&format!("topic {} is missing; run:", between(&bench)))),
        "{missing:?}"
    );
    let planned = tokio().block_on(environment.apply(true)).expect("planned");
    assert_eq!(planned, tokio().block_on(environment.apply(false)).expect("applied"), "--dry-run says what is done");
    let made = planned.iter().find_map(|plan| match plan {
        Plan::CreateTopic(topic) if topic.name == between(&bench) => Some(topic),
        _ => None,
    });
    let made = made.expect("the topic between");
    assert_eq!(made.partitions, PARTITIONS + 1);
    let admin = Admin::new(&bench.settings("admin")).expect("admin");
    let settings = wait::until("the topic is known", PATIENCE, || match admin.settings(&between(&bench)) {
        Ok(settings) if !settings.is_empty() => Ok(settings),
        other => Err(format!("{other:?}")),
    })
    .expect("settings");
    assert_eq!((settings["cleanup.policy"].as_str(), settings["retention.ms"].as_str()), ("delete", "-1"));
    assert!(
        planned.iter().all(|plan| !matches!(plan, Plan::CreateTopic(topic) if topic.name.contains("names-changelog")))
    );
    let left = problems();
    assert_eq!(left.len(), 1, "{left:?}");
    assert!(left[0].contains("of a table has cleanup.policy=delete"), "{left:?}");
    let ended = bench.run_topology(colours::topology(&bench, Duration::ZERO), options()).ended();
    assert!(matches!(ended, Err(FatalError::Environment(text)) if text == left[0]), "the start says the same");

    let other = Bench::bare(kafka, "between-policy");
    other.create(&other.input(), PARTITIONS);
    other.create(&between(&other), PARTITIONS + 2);
    let environment =
        Environment::new(colours::topology(&other, Duration::ZERO), other.options("one", directory.path()));
    let problems = tokio().block_on(environment.problems()).expect("looked");
    // Its retention is the broker's, which keeps everything here: what is wrong is that the table is split otherwise.
    assert!(problems.iter().all(|text| !text.contains("retention.ms")), "{problems:?}");
    other.create(&names_topic(&other), PARTITIONS);
    let problems = tokio().block_on(environment.problems()).expect("looked");
    assert!(problems.iter().any(|text| text.contains("are read by the same tasks")), "{problems:?}");
}

#[test]
fn a_global_table_is_whole_before_the_first_record_in_each_instance_and_follows_its_topic() {
    let (kafka, _guard) = broker();
    let bench = Bench::new(kafka, "global-table");
    let admin = Admin::new(&bench.settings("admin")).expect("admin");
    let config = vec![("cleanup.policy".to_owned(), "compact".to_owned())];
    // Split otherwise than the input: any task has to find any key.
    let names = TopicWanted { name: names_topic(&bench), partitions: PARTITIONS + 3, replication: 1, config };
    admin.create(&names).expect("create");
    (0..3).for_each(|edition| name(&bench, edition));
    produce(&bench, 0..2_000);
    let [one, two] = [(); 2].map(|()| tempfile::tempdir().expect("directory"));
    let start = |instance: &str, directory: &Path| {
        bench.run_topology(colours::looking_up(&bench), colours::options(&bench, instance, directory))
    };
    let values = || bench.read(&bench.output()).into_iter().filter_map(|record| record.value).collect::<Vec<_>>();
    let all = |wanted: usize| {
        wait::until("the output", PATIENCE, || match values().len() {
            count if count == wanted => Ok(()),
            count => Err(format!("{count} of {wanted}")),
        })
        .expect("output");
    };
    let running = [start("one", one.path()), start("two", two.path())];
    all(2_000);
    assert!(values().iter().all(|value| value == "name-2"), "none was looked up too early");
    name(&bench, 3);
    let mut sent = 2_000;
    let count = |name: &str| values().into_iter().filter(|value| value == name).count();
    wait::until("both instances have the news", PATIENCE, || {
        let before = count("name-3");
        produce(&bench, sent..sent + 200);
        sent += 200;
        all(usize::try_from(sent).expect("few"));
        let newest = count("name-3") - before;
        if newest == 200 { Ok(()) } else { Err(format!("{newest} of 200")) }
    })
    .expect("news");
    running.into_iter().for_each(|app| app.stop().expect("stopped"));

    // What was deleted meanwhile is not there after a restart, and the rest was kept.
    let producer: BaseProducer = bench.client().set("partitioner", "murmur2_random").create().expect("producer");
    let (topic, gone) = (names_topic(&bench), colours::colour(5));
    let record = BaseRecord::<str, [u8]>::to(&topic).key(&gone);
    producer.send(record).map_err(|(error, _)| error).expect("sent");
    producer.flush(PATIENCE).expect("flush");
    let again = start("one", one.path());
    produce(&bench, 0..COLOURS);
    all(usize::try_from(sent + COLOURS).expect("few"));
    assert_eq!(count("none"), 1, "the deleted one");
    again.stop().expect("stopped");
    // Closed, and not about to be: a process that leaves while RocksDB is at work aborts.
    let state = StateDirectory::open(one.path(), &bench.application).expect("directory");
    state.open_global(&[NAMES], &StoreResources::new(StoreOptions::default())).expect("nobody has it open any more");
}
