//! SQL over the wire: simple queries and COPY, which coordinators of Postgres-XC 1.0 and current servers understand alike.

use crate::{
    engine::Row,
    error::{Class, Error, Result, ResultExt},
    host::Host,
};
use futures_util::SinkExt;
use std::{
    io::Cursor,
    net::{Ipv4Addr, SocketAddr},
    str::FromStr,
    time::Duration,
};
use tokio::net::TcpStream;
use tokio_postgres::{Client, Config, NoTls, SimpleQueryMessage};

/// The databases of a server that are somebody's.
pub const DATABASES: &str = "select datname from pg_database where datallowconn and not datistemplate order by datname";

/// A connection to one server of the cluster.
pub struct Sql {
    client: Client,
    place: String,
    patience: Duration,
}

/// What one statement gave.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Answer {
    /// Names of the columns; none for a statement that gives no rows.
    pub columns: Vec<String>,
    /// The rows.
    pub rows: Vec<Row>,
    /// Rows that the statement touched or gave.
    pub rows_affected: u64,
}

/// Whose connection it is.
#[derive(Clone, Debug)]
pub struct Login {
    /// Database user.
    pub user: String,
    /// Password.
    pub password: String,
    /// Database.
    pub database: String,
}

impl Login {
    /// The same in another database.
    pub fn in_database(&self, database: &str) -> Login {
        Login { database: database.to_owned(), ..self.clone() }
    }
}

impl Sql {
    /// Connects to a server in the lab. `patience` holds for the connection and for every query.
    ///
    /// # Errors
    /// When the server does not accept.
    pub async fn connect(host: &Host, address: Ipv4Addr, port: u16, login: &Login, patience: Duration) -> Result<Sql> {
        let attempt = async {
            let socket = host
                .connect(SocketAddr::from((address, port)), patience)
                .await
                .or_error(Class::Cluster, || format!("no connection to the server at {address}:{port}"))?;
            Sql::over(socket, (address, port), login, patience).await
        };
        tokio::time::timeout(patience, attempt)
            .await
            .unwrap_or_else(|_| Err(too_slow(&format!("the server at {address}:{port}"), patience)))
    }

    /// The same over an open connection to it.
    ///
    /// # Errors
    /// When the server does not accept.
    pub async fn over(
        socket: TcpStream,
        (address, port): (Ipv4Addr, u16),
        login: &Login,
        patience: Duration,
    ) -> Result<Sql> {
        let place = format!("{address}:{port}");
        let attempt = async {
            let (client, connection) = Config::new()
                .user(&login.user)
                .password(&login.password)
                .dbname(&login.database)
                .application_name("pgxc-lab")
                .connect_raw(socket, NoTls)
                .await
                .map_err(|error| explain(&format!("no session with the server at {place}"), &error))?;
            // Ends by itself when the client is dropped; its error reaches the query that it breaks.
            tokio::spawn(connection);
            Ok(client)
        };
        let client = tokio::time::timeout(patience, attempt)
            .await
            .unwrap_or_else(|_| Err(too_slow(&format!("the server at {place}"), patience)))?;
        Ok(Sql { client, place, patience })
    }

    /// Runs statements and gives all rows.
    ///
    /// # Errors
    /// The server's own words, and the statement.
    pub async fn query(&self, sql: &str) -> Result<Vec<Row>> {
        Ok(self.run(sql).await?.into_iter().flat_map(|answer| answer.rows).collect())
    }

    /// Runs statements and gives one answer for each.
    ///
    /// # Errors
    /// The server's own words, and the statement.
    pub async fn run(&self, sql: &str) -> Result<Vec<Answer>> {
        let messages = tokio::time::timeout(self.patience, self.client.simple_query(sql))
            .await
            .map_err(|_| too_slow(&format!("`{sql}` at {}", self.place), self.patience))?
            .map_err(|error| explain(&format!("`{sql}` failed at {}", self.place), &error))?;
        let mut answers = Vec::new();
        let mut answer = Answer::default();
        for message in messages {
            match message {
                SimpleQueryMessage::RowDescription(columns) => {
                    answer.columns = columns.iter().map(|column| column.name().to_owned()).collect()
                }
                SimpleQueryMessage::Row(row) => {
                    answer.rows.push((0..row.len()).map(|column| row.get(column).map(str::to_owned)).collect())
                }
                SimpleQueryMessage::CommandComplete(count) => {
                    answers.push(Answer { rows_affected: count, ..std::mem::take(&mut answer) })
                }
                _ => {}
            }
        }
        Ok(answers)
    }

    /// Runs a COPY … FROM STDIN with these lines, and gives the number of rows that it took.
    ///
    /// # Errors
    /// The server's own words, and the statement.
    pub async fn copy(&self, sql: &str, lines: String) -> Result<u64> {
        let copy = async {
            let sink = self.client.copy_in(sql).await?;
            tokio::pin!(sink);
            sink.as_mut().send(Cursor::new(lines.into_bytes())).await?;
            sink.finish().await
        };
        tokio::time::timeout(self.patience, copy)
            .await
            .map_err(|_| too_slow(&format!("`{sql}` at {}", self.place), self.patience))?
            .map_err(|error| explain(&format!("`{sql}` failed at {}", self.place), &error))
    }

    /// Runs a query and gives its first value.
    ///
    /// # Errors
    /// The server's own words; also when there is no value.
    pub async fn value(&self, sql: &str) -> Result<String> {
        let rows = self.query(sql).await?;
        rows.into_iter()
            .next()
            .and_then(|row| row.into_iter().next().flatten())
            .ok_or_else(|| Error::new(Class::Cluster, format!("`{sql}` gave no value at {}", self.place)))
    }
}

/// A value that is a number.
///
/// # Errors
/// When it is none.
pub fn number<T: FromStr>(value: &str) -> Result<T> {
    let number = value.trim().parse();
    number.map_err(|_| Error::new(Class::Cluster, format!("`{value}` came where a number was to be")))
}

fn too_slow(what: &str, patience: Duration) -> Error {
    Error::new(Class::Cluster, format!("{what} did not answer within {} s", patience.as_secs()))
}

/// tokio-postgres says only "db error" in its own message; the server's words are in the cause.
fn explain(what: &str, error: &tokio_postgres::Error) -> Error {
    match error.as_db_error() {
        Some(server) => {
            let error = Error::new(Class::Cluster, what).evidence(format!(
                "{}: {} ({})",
                server.severity(),
                server.message(),
                server.code().code()
            ));
            match server.detail() {
                Some(detail) => error.evidence(detail.to_owned()),
                None => error,
            }
        }
        None => Error::caused(Class::Cluster, what, error),
    }
}
