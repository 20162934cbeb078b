//! The tables of studies, and what is read from them.

use ::postgres::{GenericClient, Transaction};

use super::super::description::{self, Description};
use super::super::journal::{Entry, LARGEST, LONGEST};
use super::link::Fault;
use crate::SearchError;

/// What the names of the tables end in: the form of their columns.
const VERSION: u32 = 1;

/// Any number that no other program locks by: of who makes the tables.
const LOCK: i64 = 0x7065_6674_7365_6172;

/// Entries are texts, the lines of a journal: a `jsonb` would change what is written.
const MAKE: &str = "
    CREATE TABLE IF NOT EXISTS peft_studies_v1 (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        name text NOT NULL UNIQUE,
        description text NOT NULL
    );
    CREATE TABLE IF NOT EXISTS peft_entries_v1 (
        study bigint NOT NULL REFERENCES peft_studies_v1 ON DELETE CASCADE,
        number bigint NOT NULL,
        entry text NOT NULL,
        PRIMARY KEY (study, number)
    );
    CREATE TABLE IF NOT EXISTS peft_workers_v1 (
        study bigint NOT NULL REFERENCES peft_studies_v1 ON DELETE CASCADE,
        name text NOT NULL,
        seen timestamptz NOT NULL,
        PRIMARY KEY (study, name)
    )";

/// Makes the tables where they are not there.
pub fn make(transaction: &mut Transaction<'_>) -> Result<(), Fault> {
    if are_there(transaction)? {
        return Ok(());
    }
    // Two that make a table at once fail, in spite of `IF NOT EXISTS`.
    transaction.execute("SELECT pg_advisory_xact_lock($1)", &[&LOCK])?;
    Ok(transaction.batch_execute(MAKE)?)
}

/// Whether the tables of this version are there.
///
/// # Errors
///
/// [`Fault::Refused`] where only those of another version are.
pub fn are_there(client: &mut impl GenericClient) -> Result<bool, Fault> {
    let there: bool = client
        .query_one("SELECT to_regclass('peft_studies_v1') IS NOT NULL", &[])?
        .try_get(0)?;
    if there {
        return Ok(true);
    }
    let other = client.query_opt(
        "SELECT relname::text FROM pg_class WHERE relname ~ '^peft_studies_v[0-9]+$' AND relname <> 'peft_studies_v1' AND \
         pg_table_is_visible(oid) LIMIT 1",
        &[],
    )?;
    match other {
        Some(row) => Err(Fault::Refused(format!(
            "it has the table {}, this version reads peft_studies_v{VERSION}: continue with the version that began the \
             study, or name another database",
            row.try_get::<_, String>(0)?
        ))),
        None => Ok(false),
    }
}

/// A study's number and description, locked against all other changes where `lock` says so.
pub fn study(
    client: &mut impl GenericClient,
    name: &str,
    place: &str,
    lock: bool,
) -> Result<Option<(i64, Description)>, Fault> {
    let row = client.query_opt(
        &format!(
            "SELECT id, CASE WHEN octet_length(description) <= {} THEN description END FROM peft_studies_v1 WHERE name = \
             $1{}",
            description::LARGEST,
            if lock { " FOR UPDATE" } else { "" }
        ),
        &[&name],
    )?;
    let Some(row) = row else { return Ok(None) };
    let text: Option<String> = row.try_get(1)?;
    let text = text.ok_or_else(|| {
        Fault::Refused("its description has more than 16 MiB, more than a study writes".into())
    })?;
    Ok(Some((
        row.try_get(0)?,
        Description::parse(text.as_bytes(), place)?,
    )))
}

/// The journal of a study, as far as it has been read.
pub struct Reader<'a> {
    pub place: &'a str,
    pub study: i64,
}

impl Reader<'_> {
    /// The lines from a position on, in their order; those before it are so many bytes.
    pub fn lines(
        &self,
        client: &mut impl GenericClient,
        from: i64,
        before: u64,
    ) -> Result<Vec<String>, Fault> {
        /// Lines at a time: no more than what a hostile table may make of them is in memory at once.
        const LINES: i64 = 256;
        let (mut lines, mut next, mut bytes) = (Vec::new(), from, before);
        loop {
            let rows = client.query(
                &format!(
                    "SELECT number, CASE WHEN octet_length(entry) < {LONGEST} THEN entry END FROM peft_entries_v1 WHERE \
                     study = $1 AND number >= $2 ORDER BY number LIMIT {LINES}"
                ),
                &[&self.study, &next],
            )?;
            for row in &rows {
                if row.try_get::<_, i64>(0)? != next {
                    return Err(self
                        .refuse(next, "it is not there, and later ones are")
                        .into());
                }
                let line: Option<String> = row.try_get(1)?;
                let line = line.ok_or_else(|| {
                    self.refuse(next, "it is longer than 1 MiB, more than a study writes")
                })?;
                bytes += line.len() as u64;
                if bytes > LARGEST {
                    return Err(self
                        .refuse(
                            next,
                            "the journal is larger than 1 GiB, more than a study writes",
                        )
                        .into());
                }
                lines.push(line);
                next += 1;
            }
            if (rows.len() as i64) < LINES {
                return Ok(lines);
            }
        }
    }

    /// The entries that lines from a position on hold.
    pub fn entries(&self, from: i64, lines: &[String]) -> Result<Vec<Entry>, SearchError> {
        let parse = |(number, line): (i64, &String)| {
            Entry::parse(line.as_bytes()).map_err(|reason| self.refuse(number, &reason))
        };
        (from..).zip(lines).map(parse).collect()
    }

    fn refuse(&self, number: i64, reason: &str) -> SearchError {
        SearchError::Journal {
            path: self.place.to_owned(),
            line: number.unsigned_abs() + 1,
            reason: reason.to_owned(),
        }
    }
}

/// Appends lines; the study is locked.
pub fn append(
    transaction: &mut Transaction<'_>,
    study: i64,
    from: i64,
    lines: &[String],
) -> Result<(), Fault> {
    transaction.execute(
        "INSERT INTO peft_entries_v1 (study, number, entry) SELECT $1, $2 + place - 1, line FROM unnest($3::text[]) WITH \
         ORDINALITY AS lines (line, place)",
        &[&study, &from, &lines],
    )?;
    Ok(())
}

/// Shows that a worker is there.
pub fn sign(client: &mut impl GenericClient, study: i64, worker: &str) -> Result<(), Fault> {
    client.execute(
        "INSERT INTO peft_workers_v1 (study, name, seen) VALUES ($1, $2, clock_timestamp()) ON CONFLICT (study, name) DO \
         UPDATE SET seen = excluded.seen",
        &[&study, &worker],
    )?;
    Ok(())
}

/// Forgets a worker, and all that were last seen a day ago.
pub fn forget(client: &mut impl GenericClient, study: i64, worker: &str) -> Result<(), Fault> {
    client.execute(
        "DELETE FROM peft_workers_v1 WHERE study = $1 AND (name = $2 OR seen < clock_timestamp() - interval '1 day')",
        &[&study, &worker],
    )?;
    Ok(())
}

/// The lock that a worker's connections hold together, which the server frees when they end: a number by the study's and
/// the worker's name.
const HELD: &str = "hashtextextended($1::bigint || '/' || $2::text, 0)";

/// Shows that a worker is there for as long as this connection is.
pub fn hold(client: &mut impl GenericClient, study: i64, worker: &str) -> Result<(), Fault> {
    client.execute(
        &format!("SELECT pg_advisory_lock_shared({HELD})"),
        &[&study, &worker],
    )?;
    Ok(())
}

/// Workers that were seen within so many seconds, by the server's clock, and of which a connection is open. Connections
/// say nothing where the server itself began within that time.
pub fn present(
    client: &mut impl GenericClient,
    study: i64,
    seconds: f64,
) -> Result<Vec<String>, Fault> {
    let rows = client.query(
        "WITH since AS (SELECT clock_timestamp() - make_interval(secs => $2) AS moment), held AS (SELECT (classid::bigint \
         << 32) | objid::bigint AS number FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 1 AND granted AND \
         database = (SELECT oid FROM pg_database WHERE datname = current_database())) \
         SELECT name FROM peft_workers_v1, since WHERE study = $1 AND seen >= moment AND octet_length(name) <= 128 AND \
         (pg_postmaster_start_time() >= moment OR hashtextextended(study || '/' || name, 0) IN (SELECT number FROM held)) \
         LIMIT 65536",
        &[&study, &seconds],
    )?;
    let names = rows.iter().map(|row| row.try_get::<_, String>(0));
    Ok(names.collect::<Result<_, _>>()?)
}
