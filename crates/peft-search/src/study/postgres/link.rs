//! A connection that is made again when it is lost.

use std::error::Error as _;
use std::time::{Duration, Instant};

use ::postgres::error::SqlState;
use ::postgres::{Client, Error, NoTls};

use super::{Address, encryption, tables};
use crate::SearchError;

/// Why an attempt came to nothing.
pub enum Fault {
    /// The connection is lost, or the server is not ready: another attempt may succeed.
    Lost(String),
    /// Another attempt would come to the same.
    Refused(String),
    /// The error of whoever made the attempt.
    Own(SearchError),
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        let words = words(&error);
        let passing = match error.code() {
            // Classes 08 and 57: connections, and servers that stop, start or recover.
            Some(code) => {
                ["08", "57P"]
                    .iter()
                    .any(|class| code.code().starts_with(class))
                    || [
                        SqlState::TOO_MANY_CONNECTIONS,
                        SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT,
                        SqlState::T_R_SERIALIZATION_FAILURE,
                        SqlState::T_R_DEADLOCK_DETECTED,
                    ]
                    .contains(code)
            }
            None => !encryption::refused(&error) && (error.is_closed() || is_of_the_way(&error)),
        };
        match passing {
            true => Self::Lost(words),
            false => Self::Refused(words),
        }
    }
}

impl From<SearchError> for Fault {
    fn from(error: SearchError) -> Self {
        Self::Own(error)
    }
}

/// Whether an error is the system's, of sending or receiving.
fn is_of_the_way(error: &Error) -> bool {
    let mut cause = error.source();
    while let Some(inner) = cause {
        if inner.is::<std::io::Error>() {
            return true;
        }
        cause = inner.source();
    }
    // A connection that is cut in the middle of a message, or does not answer in time.
    let text = error.to_string();
    text.contains("communicating")
        || text.contains("unexpected message")
        || text.contains("timeout")
}

/// An error with its causes, and what to do where that is known.
fn words(error: &Error) -> String {
    let Some(error) = error.as_db_error() else {
        let mut text = error.to_string();
        let mut cause = error.source();
        while let Some(inner) = cause {
            text = format!("{text}: {inner}");
            cause = inner.source();
        }
        return text + encryption::advice(error);
    };
    let code = error.code().code();
    let advice = match code {
        "28000" | "28P01" => {
            "; give a user and a password that the server lets in, the latter in the URL or PGPASSWORD, and \
             sslmode=verify-full in the URL where the server wants encryption"
        }
        "3D000" => "; make the database with `createdb`, or name another",
        "42501" => "; grant it to the user, or have the owner of the database begin the study",
        "25006" => "; give the address of the server that is written to",
        "53300" => {
            "; a worker needs two connections: raise `max_connections` or start fewer workers"
        }
        "23505" => "; another program wrote to the study's tables: only `peft search` may",
        _ => "",
    };
    format!("{} (SQLSTATE {code}){advice}", error.message())
}

/// A connection to the server, made when it is first needed and made again when it is lost.
pub struct Link {
    address: Address,
    client: Option<Client>,
    /// The worker at this end, who is at work for as long as a connection of its is open.
    worker: Option<(i64, String)>,
}

impl Link {
    /// Without a connection yet.
    pub fn new(address: &Address) -> Self {
        Self {
            address: address.clone(),
            client: None,
            worker: None,
        }
    }

    /// Shows by each further connection that a worker is there.
    pub fn join(&mut self, study: i64, worker: &str) {
        self.worker = Some((study, worker.to_owned()));
        self.client = None;
    }

    /// One attempt.
    pub fn attempt<T>(
        &mut self,
        attempt: &mut dyn FnMut(&mut Client) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        let client = match self.client.take().filter(|client| !client.is_closed()) {
            Some(client) => self.client.insert(client),
            None => {
                let mut client = open(&self.address)?;
                if let Some((study, worker)) = &self.worker {
                    tables::hold(&mut client, *study, worker)?;
                }
                self.client.insert(client)
            }
        };
        let done = attempt(client);
        if matches!(done, Err(Fault::Lost(_))) {
            self.client = None;
        }
        done
    }

    /// Attempts until one succeeds, one is refused, or the time is up.
    pub fn persist<T>(
        &mut self,
        action: &'static str,
        time: Duration,
        attempt: &mut dyn FnMut(&mut Client) -> Result<T, Fault>,
    ) -> Result<T, SearchError> {
        let begun = Instant::now();
        let mut pause = Duration::from_millis(50);
        loop {
            let reason = match self.attempt(attempt) {
                Ok(done) => return Ok(done),
                Err(Fault::Own(error)) => return Err(error),
                Err(Fault::Refused(reason)) => reason,
                Err(Fault::Lost(reason)) => {
                    if begun.elapsed() + pause < time {
                        std::thread::sleep(pause);
                        pause = (pause * 2).min(Duration::from_secs(5));
                        continue;
                    }
                    match time.is_zero() {
                        true => format!(
                            "{reason}; is the server running there, and does it let this machine in?"
                        ),
                        false => format!(
                            "{reason}; tried again for {:.0} s: start this worker again when the server can be reached",
                            time.as_secs_f64()
                        ),
                    }
                }
            };
            return Err(SearchError::Database {
                place: self.address.to_string(),
                action,
                reason,
            });
        }
    }
}

/// Connects, and sets what the study's durability and its locks depend on.
fn open(address: &Address) -> Result<Client, Fault> {
    let mut client = match &address.tls {
        Some(tls) => address.config.connect(tls.0.clone())?,
        None => address.config.connect(NoTls)?,
    };
    // A machine that vanishes in the middle of a change holds up the others for seconds, one that hangs for minutes.
    client.batch_execute(
        "SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'; \
         SET idle_in_transaction_session_timeout = '30min'; SET statement_timeout = 0; SET lock_timeout = 0; \
         SET tcp_keepalives_idle = 15; SET tcp_keepalives_interval = 5; SET tcp_keepalives_count = 3",
    )?;
    let encoding: String = client
        .query_one("SELECT current_setting('server_encoding')", &[])?
        .try_get(0)?;
    if encoding != "UTF8" {
        return Err(Fault::Refused(format!(
            "the database has the encoding {encoding}, and a study needs UTF8: make one with `createdb -E UTF8 -T \
             template0`"
        )));
    }
    Ok(client)
}
