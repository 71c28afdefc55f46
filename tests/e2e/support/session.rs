//! A session with PostgreSQL: statements, one after the other, in a transaction that may stay open.

use testbed::Postgres;
use tokio::runtime::{Builder, Runtime};
use tokio_postgres::{Client, NoTls, SimpleQueryMessage};

/// One connection; a transaction that is open when it is dropped is rolled back.
pub(crate) struct Session {
    client: Client,
    runtime: Runtime,
}

impl Session {
    /// Connects.
    pub(crate) fn new(postgres: &Postgres) -> Self {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let client = runtime.block_on(async {
            let (client, connection) = tokio_postgres::connect(&postgres.connection_string(), NoTls).await.unwrap();
            // Its error comes out of the client's next call.
            tokio::spawn(connection);
            client
        });
        Session { client, runtime }
    }

    /// Runs statements and gives the rows, columns as text; NULL is an empty text.
    #[track_caller]
    pub(crate) fn sql(&self, statements: &str) -> Vec<Vec<String>> {
        let messages = self.runtime.block_on(self.client.simple_query(statements));
        let messages = messages.unwrap_or_else(|error| panic!("{statements}: {error:?}"));
        let rows = messages.iter().filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => Some(row),
            _ => None,
        });
        rows.map(|row| (0..row.len()).map(|at| row.get(at).unwrap_or_default().to_owned()).collect()).collect()
    }
}
