//! The schema registry's HTTP API, as Confluent's registry and Apicurio's `ccompat` speak it.
//!
//! Why our own few calls: what happens next depends on the status (404 is a fact about the schema, 409 a verdict, 5xx an
//! absence), and the client libraries turn it into text. Nothing here is on a record's path: codecs look into
//! [`Schemas`], and the I/O plane calls this when an id is missing, and at start.

use std::fmt;
use std::time::Duration;

use reqwest::{Method, StatusCode, Url};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{SchemaId, Schemas};
use crate::error::{Dependency, Retriable};

/// Longest answer that is read; a schema is far below.
const MAX_ANSWER_BYTES: usize = 16 << 20;

/// Longest piece of the registry's own message that is passed on.
const MAX_REASON_CHARS: usize = 500;

/// How to prove who asks.
#[derive(Clone)]
pub enum Auth {
    /// User (or API key) and password (or secret).
    Basic {
        /// The user.
        user: String,
        /// The password.
        password: String,
    },
    /// A bearer token.
    Bearer(String),
}

impl fmt::Debug for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Auth::Basic { user, .. } => write!(f, "Basic({user}, ***)"),
            Auth::Bearer(_) => f.write_str("Bearer(***)"),
        }
    }
}

/// Why a call did not give its answer.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// The registry is away, slow or overloaded: try again.
    #[error(transparent)]
    Retriable(#[from] Retriable),
    /// The credentials are missing, wrong or not enough (401, 403).
    #[error("the schema registry refused the credentials: {0}")]
    Unauthorised(String),
    /// The registry's verdict: the schema does not fit the subject's earlier ones (409).
    #[error("incompatible with the subject's earlier schemas: {0}")]
    Incompatible(String),
    /// The registry can't take it, or its answer is not of this API; trying again will not help.
    #[error("the schema registry refused: {0}")]
    Refused(String),
}

/// What the registry has under an id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fetched {
    /// An Avro schema's text.
    Schema(String),
    /// There is no such id (404).
    NotFound,
    /// There is one, but it can't be used: not Avro, or it refers to other subjects. Why.
    Unusable(String),
}

/// A subject's newest version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Latest {
    /// The schema's id.
    pub id: SchemaId,
    /// The version within the subject.
    pub version: u32,
    /// The schema's text.
    pub schema: String,
}

/// A client of one registry. Clones share connections.
#[derive(Debug, Clone)]
pub struct Registry {
    base: Url,
    auth: Option<Auth>,
    http: reqwest::Client,
}

#[derive(Deserialize)]
struct SchemaAnswer {
    id: Option<u32>,
    version: Option<u32>,
    schema: Option<String>,
    #[serde(rename = "schemaType")]
    schema_type: Option<String>,
    #[serde(default)]
    references: Option<Vec<Value>>,
}

impl Registry {
    /// A client of the registry at this base URL, such as `http://localhost:8081` or `https://host/apis/ccompat/v7`.
    /// `timeout` bounds each call from connecting to the last byte.
    pub fn new(url: &str, auth: Option<Auth>, timeout: Duration) -> Result<Registry, RegistryError> {
        let refused = |why: String| RegistryError::Refused(why);
        let base = Url::parse(url).map_err(|error| refused(format!("the URL is none: {error}")))?;
        if base.cannot_be_a_base() || !matches!(base.scheme(), "http" | "https") {
            return Err(refused("the URL is neither http nor https".into()));
        }
        let http = reqwest::Client::builder().timeout(timeout).connect_timeout(timeout).build();
        let http = http.map_err(|error| refused(format!("no HTTP client: {}", error.without_url())))?;
        Ok(Registry { base, auth, http })
    }

    /// The schema of this id.
    pub async fn fetch(&self, id: SchemaId) -> Result<Fetched, RegistryError> {
        let Some(answer) = self.get::<SchemaAnswer>(&["schemas", "ids", &id.to_string()]).await? else {
            return Ok(Fetched::NotFound);
        };
        if let Some(kind) = answer.schema_type.filter(|kind| kind != "AVRO") {
            return Ok(Fetched::Unusable(format!("a schema of type {kind}, not AVRO")));
        }
        if let Some(references) = answer.references.filter(|references| !references.is_empty()) {
            let count = references.len();
            return Ok(Fetched::Unusable(format!("refers to {count} other subjects, which is not supported")));
        }
        answer.schema.map(Fetched::Schema).ok_or_else(|| RegistryError::Refused("an answer without a schema".into()))
    }

    /// Fetches this id into the cache: known, unknown or unusable.
    pub async fn load(&self, id: SchemaId, schemas: &Schemas) -> Result<(), RegistryError> {
        match self.fetch(id).await? {
            // A text that does not parse is remembered as unusable, which is all there is to do.
            Fetched::Schema(json) => drop(schemas.insert(id, &json)),
            Fetched::NotFound => schemas.mark_unknown(id),
            Fetched::Unusable(reason) => schemas.mark_unusable(id, &reason),
        }
        Ok(())
    }

    /// Registers a schema under a subject; one that is there already keeps its id.
    pub async fn register(&self, subject: &str, schema: &str) -> Result<SchemaId, RegistryError> {
        let path = ["subjects", subject, "versions"];
        let answer: SchemaAnswer = expect(self.send(Method::POST, &path, Some(&body(schema))).await?, subject)?;
        id_of(&answer)
    }

    /// The id of this schema under this subject, if it is registered there. Changes nothing.
    pub async fn lookup(&self, subject: &str, schema: &str) -> Result<Option<SchemaId>, RegistryError> {
        let answer = self.send::<SchemaAnswer>(Method::POST, &["subjects", subject], Some(&body(schema))).await?;
        answer.as_ref().map(id_of).transpose()
    }

    /// The subject's newest version, if there is one.
    pub async fn latest(&self, subject: &str) -> Result<Option<Latest>, RegistryError> {
        let path = ["subjects", subject, "versions", "latest"];
        let Some(answer) = self.get::<SchemaAnswer>(&path).await? else { return Ok(None) };
        let id = id_of(&answer)?;
        match (answer.version, answer.schema) {
            (Some(version), Some(schema)) => Ok(Some(Latest { id, version, schema })),
            _ => Err(RegistryError::Refused("an answer without version and schema".into())),
        }
    }

    /// Sets the subject's compatibility level, such as `BACKWARD`.
    pub async fn set_compatibility(&self, subject: &str, level: &str) -> Result<(), RegistryError> {
        let wanted = json!({ "compatibility": level });
        let answer = self.send::<Value>(Method::PUT, &["config", subject], Some(&wanted)).await?;
        expect(answer, subject).map(drop)
    }

    /// Whether the schema is compatible with the subject's newest version; true where there is none.
    pub async fn check_compatibility(&self, subject: &str, schema: &str) -> Result<bool, RegistryError> {
        #[derive(Deserialize)]
        struct Verdict {
            is_compatible: bool,
        }
        let path = ["compatibility", "subjects", subject, "versions", "latest"];
        let verdict = self.send::<Verdict>(Method::POST, &path, Some(&body(schema))).await?;
        Ok(verdict.is_none_or(|verdict| verdict.is_compatible))
    }

    async fn get<T: for<'de> Deserialize<'de>>(&self, path: &[&str]) -> Result<Option<T>, RegistryError> {
        self.send(Method::GET, path, None).await
    }

    /// One call. `None` is a 404.
    async fn send<T>(&self, method: Method, path: &[&str], body: Option<&Value>) -> Result<Option<T>, RegistryError>
    where
        T: for<'de> Deserialize<'de>,
    {
        const MEDIA_TYPE: &str = "application/vnd.schemaregistry.v1+json";
        let mut request = self.http.request(method, self.url(path)?).header("Accept", MEDIA_TYPE);
        request = match &self.auth {
            Some(Auth::Basic { user, password }) => request.basic_auth(user, Some(password)),
            Some(Auth::Bearer(token)) => request.bearer_auth(token),
            None => request,
        };
        if let Some(body) = body {
            request = request.header("Content-Type", MEDIA_TYPE).body(body.to_string());
        }
        let mut response = request.send().await.map_err(away)?;
        let status = response.status();
        let mut answer = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(away)? {
            if answer.len() + chunk.len() > MAX_ANSWER_BYTES {
                return Err(RegistryError::Refused(format!("an answer longer than {MAX_ANSWER_BYTES} bytes")));
            }
            answer.extend_from_slice(&chunk);
        }
        judge(status, &answer)
    }

    fn url(&self, path: &[&str]) -> Result<Url, RegistryError> {
        let mut url = self.base.clone();
        match url.path_segments_mut() {
            Ok(mut segments) => segments.pop_if_empty().extend(path),
            Err(()) => return Err(RegistryError::Refused("the URL has no path".into())),
        };
        Ok(url)
    }
}

/// What an answer means, by its status.
fn judge<T: for<'de> Deserialize<'de>>(status: StatusCode, answer: &[u8]) -> Result<Option<T>, RegistryError> {
    if status.is_success() {
        return match serde_json::from_slice(answer) {
            Ok(answer) => Ok(Some(answer)),
            Err(_) => Err(RegistryError::Refused(format!("status {status}, but the answer is not of this API"))),
        };
    }
    let reason = format!("{status}: {}", message(answer));
    match status {
        StatusCode::NOT_FOUND => Ok(None),
        StatusCode::CONFLICT => Err(RegistryError::Incompatible(reason)),
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(RegistryError::Unauthorised(reason)),
        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => Err(retriable(reason)),
        status if status.is_server_error() => Err(retriable(reason)),
        _ => Err(RegistryError::Refused(reason)),
    }
}

/// The registry's own words, shortened.
fn message(answer: &[u8]) -> String {
    #[derive(Deserialize)]
    struct Refusal {
        message: String,
    }
    match serde_json::from_slice::<Refusal>(answer) {
        Ok(refusal) => refusal.message.chars().take(MAX_REASON_CHARS).collect(),
        Err(_) => "without a message".into(),
    }
}

fn retriable(reason: String) -> RegistryError {
    RegistryError::Retriable(Retriable { dependency: Dependency::SchemaRegistry, reason })
}

/// The URL may hold credentials; the chain of causes says what went wrong.
fn away(error: reqwest::Error) -> RegistryError {
    let error = error.without_url();
    let mut reason = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(error) = cause {
        reason = format!("{reason}: {error}");
        cause = error.source();
    }
    retriable(reason)
}

fn body(schema: &str) -> Value {
    // Avro is the default type, and the oldest registries do not know the field for it.
    json!({ "schema": schema })
}

fn expect<T>(answer: Option<T>, subject: &str) -> Result<T, RegistryError> {
    answer.ok_or_else(|| RegistryError::Refused(format!("404 for subject {subject}: is the URL's path right?")))
}

fn id_of(answer: &SchemaAnswer) -> Result<SchemaId, RegistryError> {
    answer.id.map(SchemaId).ok_or_else(|| RegistryError::Refused("an answer without an id".into()))
}

#[cfg(test)]
#[path = "registry_tests.rs"]
mod tests;
