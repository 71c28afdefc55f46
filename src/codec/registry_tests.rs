//! Tests of the registry client against a small registry in this process, and of our Avro bytes against those of
//! another client.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Method as HttpMethod, Uri};
use serde::Serialize;

use super::*;
use crate::codec::{AvroSchema, Binding, Codec, Lookup, avro};

const TIMEOUT: Duration = Duration::from_secs(5);
const LONG: &str = r#""long""#;
const STRING: &str = r#""string""#;

/// Answers that a test has set by path; what it has not set follows the API's rules.
#[derive(Default)]
struct Fake {
    set: HashMap<String, (u16, String)>,
    subjects: HashMap<String, Vec<u32>>,
    schemas: Vec<String>,
    calls: Vec<(String, String, Option<String>)>,
}

type Shared = Arc<Mutex<Fake>>;

async fn answer(
    State(fake): State<Shared>,
    method: HttpMethod,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> (axum::http::StatusCode, String) {
    let mut fake = fake.lock().unwrap();
    let path = uri.path().strip_prefix("/api").unwrap().to_owned();
    let auth = headers.get("authorization").map(|value| value.to_str().unwrap().to_owned());
    fake.calls.push((format!("{method} {path}"), String::from_utf8_lossy(&body).into_owned(), auth));
    let (status, text) = match fake.set.get(&path) {
        Some(set) => set.clone(),
        None => fake.respond(&method, &path, &body),
    };
    (axum::http::StatusCode::from_u16(status).unwrap(), text)
}

impl Fake {
    fn respond(&mut self, method: &HttpMethod, path: &str, body: &[u8]) -> (u16, String) {
        let segments: Vec<_> = path.trim_start_matches('/').split('/').collect();
        let body: Option<Value> = serde_json::from_slice(body).ok();
        let schema = body.as_ref().and_then(|body| body["schema"].as_str()).unwrap_or_default().to_owned();
        match (method.as_str(), segments.as_slice()) {
            ("GET", ["schemas", "ids", id]) => match self.schemas.get(id.parse::<usize>().unwrap() - 1) {
                Some(schema) => (200, json!({ "schema": schema }).to_string()),
                None => not_found(),
            },
            ("POST", ["subjects", subject, "versions"]) => {
                let known = self.schemas.iter().position(|known| *known == schema);
                let index = known.unwrap_or_else(|| {
                    self.schemas.push(schema);
                    self.schemas.len() - 1
                });
                let id = index as u32 + 1;
                self.subjects.entry((*subject).to_owned()).or_default().push(id);
                (200, json!({ "id": id }).to_string())
            }
            ("POST", ["subjects", subject]) => {
                let ids = self.subjects.get(*subject).cloned().unwrap_or_default();
                match ids.iter().find(|id| self.schemas[**id as usize - 1] == schema) {
                    Some(id) => (200, json!({ "id": id, "version": 1, "schema": schema }).to_string()),
                    None => not_found(),
                }
            }
            ("GET", ["subjects", subject, "versions", "latest"]) => match self.subjects.get(*subject) {
                Some(ids) => {
                    let id = ids[ids.len() - 1];
                    let schema = &self.schemas[id as usize - 1];
                    (200, json!({ "id": id, "version": ids.len(), "schema": schema }).to_string())
                }
                None => not_found(),
            },
            ("PUT", ["config", _]) => (200, body.unwrap().to_string()),
            _ => not_found(),
        }
    }
}

fn not_found() -> (u16, String) {
    (404, r#"{"error_code":40403,"message":"Schema not found"}"#.to_owned())
}

async fn serve() -> (String, Shared) {
    let fake = Shared::default();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/api/", listener.local_addr().unwrap());
    let router = Router::new().fallback(answer).with_state(Arc::clone(&fake));
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    (url, fake)
}

async fn registry() -> (Registry, Shared) {
    let (url, fake) = serve().await;
    (Registry::new(&url, None, TIMEOUT).unwrap(), fake)
}

#[tokio::test]
async fn a_schema_is_registered_once_and_found_again() {
    let (registry, fake) = registry().await;
    assert_eq!(registry.lookup("items-key", LONG).await.unwrap(), None);
    assert_eq!(registry.latest("items-key").await.unwrap(), None);
    let id = registry.register("items-key", LONG).await.unwrap();
    assert_eq!(registry.register("items-key", LONG).await.unwrap(), id);
    assert_eq!(registry.lookup("items-key", LONG).await.unwrap(), Some(id));
    let latest = registry.latest("items-key").await.unwrap().unwrap();
    assert_eq!((latest.id, latest.schema.as_str()), (id, LONG));
    assert_eq!(registry.fetch(id).await.unwrap(), Fetched::Schema(LONG.into()));
    registry.set_compatibility("items-key", "BACKWARD").await.unwrap();
    assert!(registry.check_compatibility("no-such", LONG).await.unwrap());
    let calls = &fake.lock().unwrap().calls;
    assert!(calls.contains(&("PUT /config/items-key".into(), r#"{"compatibility":"BACKWARD"}"#.into(), None)));
}

#[tokio::test]
async fn a_subjects_name_is_escaped_in_the_path() {
    let (registry, fake) = registry().await;
    registry.register("a/b c?d", LONG).await.unwrap();
    assert_eq!(fake.lock().unwrap().calls[0].0, "POST /subjects/a%2Fb%20c%3Fd/versions");
}

#[tokio::test]
async fn loading_fills_the_cache_with_known_unknown_and_unusable_ids() {
    let (registry, fake) = registry().await;
    let schemas = Schemas::default();
    let id = registry.register("s", LONG).await.unwrap();
    {
        let mut fake = fake.lock().unwrap();
        let mut set = |id: u32, answer: &str| fake.set.insert(format!("/schemas/ids/{id}"), (200, answer.to_owned()));
        set(8, r#"{"schema":"{}","schemaType":"PROTOBUF"}"#);
        set(9, r#"{"schema":"\"long\"","references":[{"name":"x","subject":"y","version":1}]}"#);
        set(10, r#"{"schema":"not a schema","schemaType":"AVRO"}"#);
    }
    for id in [id, SchemaId(7), SchemaId(8), SchemaId(9), SchemaId(10)] {
        registry.load(id, &schemas).await.unwrap();
    }
    assert!(matches!(schemas.lookup(id), Lookup::Known(_)));
    assert!(matches!(schemas.lookup(SchemaId(7)), Lookup::Unknown));
    let reason = |id| match schemas.lookup(SchemaId(id)) {
        Lookup::Unusable(reason) => reason.to_string(),
        other => panic!("{other:?}"),
    };
    assert!(reason(8).contains("PROTOBUF") && reason(9).contains("1 other subjects"));
    assert!(reason(10).contains("not a usable Avro schema"));
}

#[tokio::test]
async fn the_status_decides_and_not_the_text() {
    let (registry, fake) = registry().await;
    let mut seen = Vec::new();
    for (status, text) in [
        (409, r#"{"error_code":409,"message":"field x"}"#),
        (401, "<html>"),
        (403, "{}"),
        (422, r#"{"error_code":42201,"message":"bad schema"}"#),
        (429, ""),
        (500, "{}"),
        (503, "{}"),
        (200, "<html>"),
        (404, "{}"),
    ] {
        fake.lock().unwrap().set.insert("/subjects/s/versions".into(), (status, text.into()));
        let class = match registry.register("s", LONG).await.unwrap_err() {
            RegistryError::Incompatible(reason) => format!("incompatible {}", reason.ends_with("field x")),
            RegistryError::Unauthorised(_) => "unauthorised".into(),
            RegistryError::Retriable(error) => format!("retriable {}", error.dependency),
            RegistryError::Refused(_) => "refused".to_owned(),
        };
        seen.push((status, class));
    }
    let expected = [
        (409, "incompatible true"),
        (401, "unauthorised"),
        (403, "unauthorised"),
        (422, "refused"),
        (429, "retriable schema-registry"),
        (500, "retriable schema-registry"),
        (503, "retriable schema-registry"),
        (200, "refused"),
        (404, "refused"),
    ];
    assert_eq!(seen, expected.map(|(status, class)| (status, class.to_owned())));
}

#[tokio::test]
async fn a_registry_that_is_away_or_silent_is_retriable() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let silent = Registry::new(&url, None, Duration::from_millis(50)).unwrap();
    assert!(matches!(silent.fetch(SchemaId(1)).await, Err(RegistryError::Retriable(_))));
    drop(listener);
    assert!(matches!(silent.fetch(SchemaId(1)).await, Err(RegistryError::Retriable(_))));
    assert!(Registry::new("not a url", None, TIMEOUT).is_err());
    assert!(Registry::new("ftp://x", None, TIMEOUT).is_err());
}

#[tokio::test]
async fn credentials_are_sent_and_never_shown() {
    let (url, fake) = serve().await;
    let basic = Auth::Basic { user: "me".into(), password: "secret".into() };
    let bearer = Auth::Bearer("secret".into());
    assert!(!format!("{basic:?} {bearer:?}").contains("secret"));
    for auth in [basic, bearer] {
        Registry::new(&url, Some(auth), TIMEOUT).unwrap().register("s", LONG).await.unwrap();
    }
    let calls = &fake.lock().unwrap().calls;
    let sent: Vec<_> = calls.iter().filter_map(|call| call.2.as_deref()).collect();
    assert_eq!(sent, ["Basic bWU6c2VjcmV0", "Bearer secret"]);
}

#[derive(Serialize, serde::Deserialize)]
struct Item {
    id: i64,
    name: String,
    price: Option<f64>,
    tags: Vec<String>,
    stock: HashMap<String, i32>,
}

impl AvroSchema for Item {
    const SCHEMA: &'static str = r#"{"type":"record","name":"Item","fields":[
        {"name":"id","type":"long"},
        {"name":"name","type":"string"},
        {"name":"price","type":["null","double"],"default":null},
        {"name":"tags","type":{"type":"array","items":"string"}},
        {"name":"stock","type":{"type":"map","values":"int"}}]}"#;
}

#[tokio::test]
async fn our_bytes_are_the_bytes_of_another_client() {
    use schema_registry_converter::async_impl::avro::AvroEncoder;
    use schema_registry_converter::async_impl::schema_registry::SrSettings;
    use schema_registry_converter::schema_registry_common::SubjectNameStrategy;

    let (url, _) = serve().await;
    let registry = Registry::new(&url, None, TIMEOUT).unwrap();
    registry.register("other", STRING).await.unwrap();
    let codec = avro::<Item>();
    let id = registry.register("items-value", &codec.writer_schema().unwrap()).await.unwrap();
    codec.bind(&Binding { schemas: Arc::default(), writer: Some(id) });

    let theirs = AvroEncoder::new(SrSettings::new(url.trim_end_matches('/').to_owned()));
    let strategy = SubjectNameStrategy::TopicNameStrategy("items".into(), false);
    for price in [None, Some(1.25)] {
        let item = Item {
            id: i64::MIN,
            name: "é\n😀".into(),
            price,
            tags: vec!["a".into(), String::new()],
            stock: HashMap::from([("x".into(), -7)]),
        };
        let mut ours = Vec::new();
        codec.encode(&item, &mut ours).unwrap();
        assert_eq!(ours, theirs.encode_struct(item, &strategy).await.unwrap());
    }
}
