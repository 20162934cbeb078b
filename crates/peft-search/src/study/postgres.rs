//! A study in a PostgreSQL database: of any number of machines.

mod address;
mod encryption;
mod link;
mod tables;

use std::cell::RefCell;
use std::collections::HashSet;
use std::time::Duration;

use ::postgres::{Client, IsolationLevel, Transaction};

pub use self::address::Address;
use self::link::{Fault, Link};
use self::tables::Reader;
use super::beat::{Beat, Sign};
use super::description::Description;
use super::journal::{Entry, LARGEST, TOO_LARGE};
use super::names;
use super::store::{Change, Describe, Made, Presence, Store};
use crate::SearchError;

/// Rows of a database: one for each study, locked by whoever changes it; one for each entry of its journal, numbered
/// without gaps; one for each worker, with when it was last seen.
///
/// A worker is taken for lost when its connections are closed (it ended or was killed; noticed at once), or when it was
/// not seen for [`patience`](Self::with_patience) (its machine is gone, or it hangs).
///
/// A change is a transaction. A worker whose connection is lost connects again and looks whether its last change was
/// made; it gives up after [`patience`](Self::with_patience), when others take it for lost anyway. Who is there is judged
/// by the server's clock, so that those of machines need not agree for it; the times of entries are by the clock of
/// whoever wrote them.
///
/// The connection is encrypted where the address says so.
pub struct PostgresStore {
    address: Address,
    place: String,
    link: RefCell<Link>,
    patience: Duration,
    /// The study's number, once it is known.
    study: Option<i64>,
    /// How many entries have been handed over.
    position: i64,
    /// How long they are together.
    bytes: u64,
    beat: Option<Beat>,
}

impl PostgresStore {
    /// A store at an address; the study need not be there.
    ///
    /// # Errors
    ///
    /// [`SearchError::Database`] where the server cannot be reached or does not let this user in.
    pub fn connect(address: &Address) -> Result<Self, SearchError> {
        let mut link = Link::new(address);
        link.persist("connect", Duration::ZERO, &mut |_| Ok(()))?;
        Ok(Self {
            address: address.clone(),
            place: address.to_string(),
            link: RefCell::new(link),
            patience: Duration::from_secs(60),
            study: None,
            position: 0,
            bytes: 0,
            beat: None,
        })
    }

    /// After how long a worker that does not answer is taken for lost, and how long a lost connection is tried again;
    /// a minute unless said.
    pub fn with_patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// The study's number; the study must have been begun.
    fn study(&mut self) -> Result<i64, SearchError> {
        if let Some(study) = self.study {
            return Ok(study);
        }
        self.description()?;
        self.study.ok_or_else(|| SearchError::Study {
            reason: format!("there is none at `{}`: begin it first", self.place),
        })
    }
}

/// Begins a transaction whose every statement sees what was committed before it.
fn begin(client: &mut Client) -> Result<Transaction<'_>, Fault> {
    let level = IsolationLevel::ReadCommitted;
    Ok(client.build_transaction().isolation_level(level).start()?)
}

fn length(lines: &[String]) -> u64 {
    lines.iter().map(|line| line.len() as u64).sum()
}

/// Who was at work when a change began.
struct Present<'a> {
    place: &'a str,
    workers: HashSet<String>,
}

impl Presence for Present<'_> {
    fn at_work(&self, worker: &str) -> Result<bool, SearchError> {
        names::check(worker, self.place)?;
        Ok(self.workers.contains(worker))
    }
}

impl Presence for PostgresStore {
    fn at_work(&self, worker: &str) -> Result<bool, SearchError> {
        names::check(worker, &self.place)?;
        let Some(study) = self.study else {
            return Ok(false);
        };
        let seconds = self.patience.as_secs_f64();
        let present = self.link.borrow_mut().persist(
            "look who is at work",
            self.patience,
            &mut |client| tables::present(client, study, seconds),
        )?;
        Ok(present.iter().any(|name| name == worker))
    }
}

impl Store for PostgresStore {
    fn place(&self) -> String {
        self.place.clone()
    }

    fn description(&mut self) -> Result<Option<Description>, SearchError> {
        let (name, place) = (self.address.study(), &self.place);
        let found =
            self.link
                .get_mut()
                .persist(
                    "read the study",
                    self.patience,
                    &mut |client| match tables::are_there(client)? {
                        true => tables::study(client, name, place, false),
                        false => Ok(None),
                    },
                )?;
        Ok(found.map(|(study, description)| {
            self.study = Some(study);
            description
        }))
    }

    fn describe(&mut self, describe: &mut Describe<'_>) -> Result<(), SearchError> {
        let (name, place) = (self.address.study(), &self.place);
        self.link.get_mut().persist("begin the study", self.patience, &mut |client| {
            let mut transaction = begin(client)?;
            tables::make(&mut transaction)?;
            let mut there = tables::study(&mut transaction, name, place, true)?;
            if there.is_none()
                && let Some(first) = describe(None)?
            {
                let made = transaction.execute(
                    "INSERT INTO peft_studies_v1 (name, description) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING",
                    &[&name, &first.text()?],
                )?;
                if made == 1 {
                    return Ok(transaction.commit()?);
                }
                // Another began it at the same moment.
                there = tables::study(&mut transaction, name, place, true)?;
            }
            if let Some((study, description)) = there
                && let Some(next) = describe(Some(description))?
            {
                transaction.execute(
                    "UPDATE peft_studies_v1 SET description = $2 WHERE id = $1",
                    &[&study, &next.text()?],
                )?;
            }
            Ok(transaction.commit()?)
        })
    }

    fn alone(&mut self, change: &mut Change<'_>) -> Result<Made, SearchError> {
        let study = self.study()?;
        let seconds = self.patience.as_secs_f64();
        let (place, position, bytes) = (&self.place, &mut self.position, &mut self.bytes);
        let reader = Reader { place, study };
        // What the change appends, once it has been made: it is made once, and may have to be written again.
        let mut added: Option<Vec<String>> = None;
        let made =
            self.link
                .get_mut()
                .persist("write the journal", self.patience, &mut |client| {
                    let mut transaction = begin(client)?;
                    let locked = transaction.query_opt(
                        "SELECT id FROM peft_studies_v1 WHERE id = $1 FOR UPDATE",
                        &[&study],
                    )?;
                    if locked.is_none() {
                        return Err(Fault::Refused("the study was removed".into()));
                    }
                    let lines = reader.lines(&mut transaction, *position, *bytes)?;
                    let own = match &added {
                        None => {
                            let entries = reader.entries(*position, &lines)?;
                            let workers = tables::present(&mut transaction, study, seconds)?;
                            let present = Present {
                                place,
                                workers: workers.into_iter().collect(),
                            };
                            *position += lines.len() as i64;
                            *bytes += length(&lines);
                            let entries = change(entries, &present)?;
                            let own = entries
                                .iter()
                                .map(Entry::line)
                                .collect::<Result<Vec<_>, _>>();
                            added.insert(own.map_err(Fault::Refused)?)
                        }
                        Some(own) => match Made::of(own, &lines) {
                            Some(made) => return Ok(made),
                            None => own,
                        },
                    };
                    if *bytes + length(own) > LARGEST {
                        return Err(Fault::Refused(TOO_LARGE.into()));
                    }
                    if !own.is_empty() {
                        tables::append(&mut transaction, study, *position, own)?;
                    }
                    transaction.commit()?;
                    Ok(Made::Appended)
                })?;
        if made == Made::Appended {
            let own = added.unwrap_or_default();
            self.position += own.len() as i64;
            self.bytes += length(&own);
        }
        Ok(made)
    }

    fn read(&mut self) -> Result<Vec<Entry>, SearchError> {
        let study = self.study()?;
        let (place, position, bytes) = (&self.place, self.position, self.bytes);
        let reader = Reader { place, study };
        let lines =
            self.link
                .get_mut()
                .persist("read the journal", self.patience, &mut |client| {
                    reader.lines(client, position, bytes)
                })?;
        let entries = reader.entries(position, &lines)?;
        self.position += lines.len() as i64;
        self.bytes += length(&lines);
        Ok(entries)
    }

    fn rewind(&mut self) {
        (self.position, self.bytes) = (0, 0);
    }

    fn join(&mut self) -> Result<String, SearchError> {
        if let Some(beat) = &self.beat {
            return Ok(beat.name().to_owned());
        }
        let study = self.study()?;
        let name = names::own();
        self.link.get_mut().join(study, &name);
        self.link
            .get_mut()
            .persist("join the study", self.patience, &mut |client| {
                tables::forget(client, study, &name)?;
                tables::sign(client, study, &name)
            })?;
        let mut link = Link::new(&self.address);
        link.join(study, &name);
        let sign = Row {
            link,
            study,
            worker: name.clone(),
        };
        self.beat = Some(Beat::start(name.clone(), sign, self.patience / 4));
        Ok(name)
    }
}

/// A worker's row, over a connection of its own: the other one is busy while trials are proposed.
struct Row {
    link: Link,
    study: i64,
    worker: String,
}

impl Sign for Row {
    fn give(&mut self) {
        let (study, worker) = (self.study, &self.worker);
        let _ = self
            .link
            .attempt(&mut |client| tables::sign(client, study, worker));
    }

    fn end(&mut self) {
        let (study, worker) = (self.study, &self.worker);
        let _ = self
            .link
            .attempt(&mut |client| tables::forget(client, study, worker));
    }
}
