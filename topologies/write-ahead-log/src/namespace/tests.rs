//! Namespaces as they are written, judged and explained.

use apache_avro::reader::datum::GenericDatumReader;
use apache_avro::schema::NamesRef;

use super::*;
use crate::mutation::Mutation;

const SHOP: &str = r#"
delay = "30s"
jitter = "10s"

[retry]
max-attempts = 4
backoff = "100ms"
longest-backoff = "300ms"

[[targets]]
name = "cache"
kind = "redis"
address = "redis://:canary@cache:6379"
settings = { prefix = "shop:", ttl = "7d" }

[[targets]]
name = "rows"
kind = "postgres"
address = "postgres://shop@db/shop"
settings = { table = "public.carts", key = "id", password-env = "HEADRACE_SECRET_SHOP" }

[[targets]]
name = "search"
kind = "http"
address = "https://search/carts/{key}"
"#;

fn shop() -> Namespace {
    Written::from_toml(SHOP).unwrap().namespace(3)
}

fn sample() -> Mutation {
    Mutation {
        namespace: "shop".to_owned(),
        token: "t".to_owned(),
        created_at: 1_700_000_000_000,
        key: "7".to_owned(),
        value: Some(b"{}".to_vec()),
        ..Mutation::default()
    }
}

#[test]
fn a_namespace_is_written_with_units_and_all_else_by_default() {
    let shop = shop();
    assert_eq!(shop.validate("shop"), []);
    assert_eq!((shop.version, shop.delay_ms, shop.jitter_ms), (3, 30_000, 10_000));
    assert_eq!(shop.retry, Retry { max_attempts: 4, backoff_ms: 100, longest_backoff_ms: 300 });
    assert_eq!((shop.on_exhausted, &shop.breaker), (OnExhausted::Skip, &Breaker::default()));
    assert_eq!(shop.target("rows").unwrap().kind, TargetKind::Postgres);
    let written = Written::from(&shop).to_toml().unwrap();
    assert!(written.contains("delay = \"30s\""), "{written}");
    assert_eq!(Written::from_toml(&written).unwrap().namespace(3), shop);
    let json = serde_json::to_string(&Written::from(&shop)).unwrap();
    assert_eq!(Written::from_json(&json).unwrap().namespace(3), shop);
}

#[test]
fn a_namespace_is_read_as_it_was_written() {
    let schema = apache_avro::Schema::parse_str(Namespace::SCHEMA).unwrap();
    let topic = TargetSpec::new("feed", TargetKind::Topic, "orders-feed");
    let feeding = Namespace { targets: vec![topic], ..Namespace::default() };
    for namespace in [shop(), feeding, Namespace { on_exhausted: OnExhausted::Halt, ..Namespace::default() }] {
        let mut bytes = Vec::new();
        apache_avro::write_avro_datum_ref(&schema, &NamesRef::new(), &namespace, &mut bytes).unwrap();
        let value = GenericDatumReader::builder(&schema).build().unwrap().read_value(&mut bytes.as_slice()).unwrap();
        assert_eq!(apache_avro::from_value::<Namespace>(&value).unwrap(), namespace);
    }
}

#[test]
fn what_is_misspelt_is_told_with_its_line() {
    for (text, told) in [
        ("delai = \"3s\"", "unknown field `delai`"),
        ("delay = 3", "a duration with its unit"),
        ("[[targets]]\nname = \"a\"\nkind = \"mongo\"\naddress = \"x\"", "unknown variant `mongo`"),
    ] {
        let error = Written::from_toml(text).unwrap_err();
        assert!(error.contains(told) && error.contains("line "), "{error}");
    }
}

#[test]
fn all_problems_are_told_at_once_with_field_reason_and_way_out() {
    let mut shop = shop();
    shop.delay_ms = -1;
    shop.retry.max_attempts = 0;
    shop.retry.longest_backoff_ms = 1;
    shop.max_bytes = 0;
    shop.dedup_window_ms = 10_000;
    shop.targets[0].settings.insert("fence-tll".to_owned(), "1d".to_owned());
    shop.targets[0].settings.insert("fence-ttl".to_owned(), "1s".to_owned());
    shop.targets[0].settings.insert("timeout".to_owned(), "1h".to_owned());
    shop.targets[1].settings.remove("table");
    shop.targets[1].settings.insert("password-env".to_owned(), "PATH".to_owned());
    shop.targets[2].address = Address::new("https://{key}.example/");
    for name in ["cache", "Search"] {
        shop.targets.push(TargetSpec { name: name.to_owned(), ..shop.targets[2].clone() });
    }
    let problems = shop.validate("Shop");
    let fields: Vec<&str> = problems.iter().map(|problem| problem.field.as_str()).collect();
    for field in [
        "name",
        "delay",
        "retry.max-attempts",
        "retry.longest-backoff",
        "max-bytes",
        "dedup-window",
        "targets.cache.settings.fence-tll",
        "targets.cache.settings.fence-ttl",
        "targets.cache.settings.timeout",
        "targets.rows.settings",
        "targets.rows.settings.password-env",
        "targets.search.address",
        "targets[3].name",
        "targets[4].name",
        "targets.Search",
    ] {
        assert!(fields.contains(&field), "{field} is not among {fields:?}");
    }
    assert!(problems.iter().all(|problem| !problem.reason.is_empty() && problem.way_out.len() > 5), "{problems:?}");
    assert!(!format!("{problems:?}").contains("canary"));
    assert_eq!(Namespace::default().validate("shop")[0].field, "targets");
}

#[test]
fn w2_a_token_is_remembered_as_long_as_its_mutation_can_come_again() {
    let at = |dedup_window_ms, drift_limit_ms| {
        let namespace = Namespace { dedup_window_ms, drift_limit_ms, ..shop() };
        namespace.validate("shop").iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(at(7_200_000, 3_600_000), Vec::<String>::new());
    assert!(
        at(7_199_999, 3_600_000)[0].starts_with("dedup-window: 1h 59m 59s 999ms is less than twice drift-limit (1h)")
    );
    // Four attempts of five seconds, and 100, 200 and 300 ms between them.
    assert_eq!(shop().retry.horizon(Duration::from_secs(5)), Duration::from_millis(20_600));
    assert!(at(20_599, 1_000)[0].contains("less than the retries may take (20s 600ms)"), "{:?}", at(20_599, 1_000));
    assert_eq!(at(20_600, 1_000), Vec::<String>::new());
}

#[test]
fn w8_a_fence_outlives_the_retries() {
    let mut shop = shop();
    shop.retry = Retry { max_attempts: 10, backoff_ms: 10_000, longest_backoff_ms: 10_000 };
    assert_eq!(shop.validate("shop"), []);
    shop.targets[0].settings.insert("fence-ttl".to_owned(), "2m".to_owned());
    let problems = shop.validate("shop");
    assert_eq!(problems.len(), 1);
    assert!(
        problems[0].to_string().contains("fence-ttl: 2m is less than the retries may take (2m 20s)"),
        "{problems:?}"
    );
}

#[test]
fn w3_a_mutation_of_another_time_is_refused() {
    let (shop, sample) = (shop(), sample());
    let admit = |now| shop.admit(&sample, now).map_err(|error| error.to_string());
    let limit = shop.drift_limit_ms;
    for now in [sample.created_at - limit, sample.created_at, sample.created_at + limit] {
        assert_eq!(admit(now), Ok(()));
    }
    assert!(admit(sample.created_at + limit + 1).unwrap_err().contains("1h 1ms behind the log's clock, of at most 1h"));
    assert!(admit(sample.created_at - limit - 1).unwrap_err().contains("1h 1ms ahead of the log's clock"));
    let large = Mutation { value: Some(vec![0; 768 << 10]), ..sample.clone() };
    assert_eq!(shop.admit(&large, sample.created_at).unwrap_err().class, "too-large");
    let elsewhere = Mutation { target: Some("nowhere".to_owned()), ..sample.clone() };
    let error = shop.admit(&elsewhere, sample.created_at).unwrap_err().to_string();
    assert!(error.contains("cache, rows, search"), "{error}");
}

#[test]
fn a_sample_is_explained_in_words_and_numbers() {
    let text = shop().explain("shop", &sample(), sample().created_at);
    for part in [
        "shop, version 3\n",
        "yes: 8 B of at most 768 KiB; its token is remembered for 1day",
        "in 30s, at 2023-11-14T22:13:50.000Z, and not before; by chance up to 10s later",
        "after all of key 7 that came before",
        "up to 4; after a failure that may pass, the next one comes by chance within 100ms, 200ms, 300ms (together 600ms",
        "20s 600ms after the first attempt at the latest",
        "after 20 failures in a row nothing is sent for 10s",
        "at cache    redis redis://***@cache:6379, 5s for an answer: takes effect once and in order",
        "use password-env",
        "row and fence change in one transaction",
        "It takes effect once if the receiver remembers Idempotency-Key",
    ] {
        assert!(text.contains(part), "{part}\n{text}");
    }
    assert!(!text.contains("canary"));
    let one = shop().explain("shop", &Mutation { target: Some("rows".to_owned()), ..sample() }, 0);
    assert!(!one.contains("at cache") && one.contains("taken       no: process: created_at"), "{one}");
    let halting = Namespace { on_exhausted: OnExhausted::Halt, paused: true, ..shop() };
    let text = halting.explain("shop", &sample(), sample().created_at);
    assert!(text.contains("halts until somebody decides") && text.contains("is paused"), "{text}");
}

#[test]
fn w7_a_topic_of_the_logs_own_is_no_target_and_others_promise_exactly_once() {
    let toml = "[[targets]]\nname = \"feed\"\nkind = \"topic\"\naddress = \"orders-feed\"\n";
    let namespace = Written::from_toml(toml).unwrap().namespace(1);
    assert_eq!(namespace.validate("shop"), []);
    assert_eq!(Written::from_toml(&Written::from(&namespace).to_toml().unwrap()).unwrap().namespace(1), namespace);
    let text = namespace.explain("shop", &sample(), sample().created_at);
    assert!(
        text.contains("at feed     topic orders-feed, 5s for an answer: exactly once for read_committed"),
        "{text}"
    );
    assert!(text.contains("consumers, in order by key"), "{text}");
    assert_eq!(namespace.own_topics(|topic| topic == "orders"), []);
    let problems = namespace.own_topics(|topic| topic == "orders-feed");
    let told = problems.iter().map(ToString::to_string).collect::<Vec<_>>();
    let expected = "targets.feed.address: orders-feed is one of the log's own topics; choose another topic";
    assert_eq!(told, [expected]);
    assert_eq!(shop().own_topics(|_| true), [], "addresses of other kinds are no topics");
}

#[test]
fn o5_an_address_is_shown_without_its_login_and_query() {
    for (address, shown, secret) in [
        ("redis://h:1/0", "redis://h:1/0", false),
        ("redis://:canary@h:1", "redis://***@h:1", true),
        ("postgres://me@h/db", "postgres://***@h/db", false),
        ("postgres://me:can/a@ry@h/db?password=canary", "postgres://***@h/db", true),
        ("postgres://h/db?user=me&password=canary", "postgres://h/db", true),
        ("https://h/{key}?token=canary#canary", "https://h/{key}", false),
    ] {
        let address = Address::new(address);
        assert_eq!(
            (address.to_string(), format!("{address:?}"), address.has_password()),
            (shown.to_owned(), shown.to_owned(), secret)
        );
    }
}
