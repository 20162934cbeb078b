//! The journal: one JSON object a line, only ever appended to, synced before anybody acts on it.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::{Event, SearchError};

/// A trial was given to a worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// The trial's number.
    pub trial: u64,
    /// Who has it.
    pub worker: String,
    /// The fencing token: how many leases the journal had before. Only who holds a trial's last token may report of
    /// it, so that a worker that was taken for lost and comes back cannot record a second result.
    pub token: u64,
}

/// A worker that stops in good order gave its trial back: it is free at once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Release {
    /// The trial's number.
    pub trial: u64,
    /// The token of the lease that ends.
    pub token: u64,
    /// Whether it counts as a lost worker all the same: something other than a wish hindered it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub lost: bool,
}

/// What a line says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Record {
    /// An event of the search.
    Search(Event),
    /// A trial was given to a worker.
    Lease(Lease),
    /// A worker gave a trial back.
    Released(Release),
}

/// A line of the journal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// When, in seconds since 1970.
    pub at: f64,
    /// What.
    #[serde(flatten)]
    pub record: Record,
}

/// Longest line that is read: a configuration of tens of thousands of parameters.
pub(super) const LONGEST: u64 = 1 << 20;
/// Longest journal that is read.
pub(super) const LARGEST: u64 = 1 << 30;
/// Why no more is written to a journal.
pub(super) const TOO_LARGE: &str =
    "the journal would become larger than 1 GiB, which is not read again: begin another study";
/// What to do with a line that no study writes.
pub(super) const CUT: &str = "if the journal was edited or damaged, cut it off before this line, and what came before \
                              is kept";

impl Entry {
    /// The entry that a line holds, or why it holds none.
    pub(super) fn parse(line: &[u8]) -> Result<Self, String> {
        let entry = serde_json::from_slice::<Self>(line).map_err(|error| {
            format!("{error}; expected what a study of this version writes: {CUT}")
        })?;
        if !(entry.at.is_finite() && entry.at >= 0.0) {
            return Err(format!(
                "its time is not a number of seconds since 1970; {CUT}"
            ));
        }
        Ok(entry)
    }

    /// The line that holds it, without an end.
    pub(super) fn line(&self) -> Result<String, String> {
        let line = serde_json::to_string(self).map_err(|error| error.to_string())?;
        if line.len() as u64 >= LONGEST {
            return Err(format!(
                "an entry has {} bytes, and no line of 1 MiB or more is read again: search fewer parameters, or report \
                 fewer values",
                line.len()
            ));
        }
        Ok(line)
    }
}

/// A journal in a file, with the place up to which it has been read.
#[derive(Debug)]
pub(super) struct Journal {
    path: PathBuf,
    /// Bytes of whole lines read so far.
    position: u64,
    /// How many lines they are.
    lines: u64,
}

impl Journal {
    pub fn new(path: PathBuf) -> Self {
        Self {
            path,
            position: 0,
            lines: 0,
        }
    }

    /// From the first line again.
    pub fn rewind(&mut self) {
        (self.position, self.lines) = (0, 0);
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The entries since the last call. A last line without its end is left alone: it is being written, or a writer was
    /// killed in the middle of it, and then nobody has acted on it.
    ///
    /// # Errors
    ///
    /// [`SearchError::File`], and [`SearchError::Journal`] of a line that is too long or says nothing known.
    pub fn read(&mut self) -> Result<Vec<Entry>, SearchError> {
        let mut file = match File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && self.position == 0 => {
                return Ok(Vec::new());
            }
            Err(error) => return Err(SearchError::file(&self.path, "open")(error)),
        };
        let length = file
            .metadata()
            .map_err(SearchError::file(&self.path, "read"))?
            .len();
        if length < self.position {
            return Err(self.refuse("it has become shorter since it was read: it must only grow"));
        }
        if length > LARGEST {
            return Err(self.refuse("it is larger than 1 GiB, more than a study writes"));
        }
        file.seek(SeekFrom::Start(self.position))
            .map_err(SearchError::file(&self.path, "read"))?;
        let mut reader = BufReader::new(file);
        let mut entries = Vec::new();
        let mut line = Vec::new();
        loop {
            line.clear();
            let read = (&mut reader)
                .take(LONGEST)
                .read_until(b'\n', &mut line)
                .map_err(SearchError::file(&self.path, "read"))?;
            if line.last() != Some(&b'\n') {
                if read as u64 == LONGEST {
                    return Err(self.refuse("it is longer than 1 MiB, more than a study writes"));
                }
                return Ok(entries);
            }
            let entry = Entry::parse(&line).map_err(|reason| self.refuse(&reason))?;
            entries.push(entry);
            self.position += read as u64;
            self.lines += 1;
        }
    }

    fn refuse(&self, reason: &str) -> SearchError {
        SearchError::Journal {
            path: self.path.display().to_string(),
            line: self.lines + 1,
            reason: reason.to_owned(),
        }
    }

    /// Appends entries after those read, and waits until they are on the disk. To be called by whoever is alone, having
    /// read to the end: what a killed writer left of a line is cut off first.
    ///
    /// # Errors
    ///
    /// [`SearchError::File`]; what was written of the entries is then cut off again where that can be done.
    pub fn append(&mut self, entries: &[Entry]) -> Result<(), SearchError> {
        if entries.is_empty() {
            return Ok(());
        }
        let refuse = |reason| SearchError::File {
            path: self.path.display().to_string(),
            action: "write",
            reason,
        };
        let mut bytes = Vec::new();
        for entry in entries {
            bytes.extend_from_slice(entry.line().map_err(refuse)?.as_bytes());
            bytes.push(b'\n');
        }
        if self.position + bytes.len() as u64 > LARGEST {
            return Err(refuse(TOO_LARGE.to_owned()));
        }
        if !self.path.exists() {
            // Its name is to be as durable as what is in it.
            peft_format::atomic::write_atomic_bytes(&self.path, b"")
                .map_err(|error| refuse(error.to_string()))?;
        }
        let fault = |error| SearchError::file(&self.path, "write")(error);
        let mut file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&self.path)
            .map_err(fault)?;
        let written = file
            .set_len(self.position)
            .and_then(|()| file.seek(SeekFrom::Start(self.position)))
            .and_then(|_| file.write_all(&bytes))
            .and_then(|()| file.sync_all());
        if let Err(error) = written {
            let _ = file.set_len(self.position);
            return Err(fault(error));
        }
        self.position += bytes.len() as u64;
        self.lines += entries.len() as u64;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Configuration, Outcome};

    fn entries() -> Vec<Entry> {
        let told = Event::Told {
            trial: 0,
            outcome: Outcome::Failed {
                reason: "a \"quoted\"\nreason".into(),
            },
        };
        let records = [
            Record::Search(Event::Enqueued {
                configuration: Configuration(vec![1, 2]),
            }),
            Record::Lease(Lease {
                trial: 0,
                worker: "w".into(),
                token: u64::MAX,
            }),
            Record::Search(told),
        ];
        let at = 1.8e9 + 0.1;
        records.map(|record| Entry { at, record }).to_vec()
    }

    #[test]
    fn whatever_is_left_of_the_last_line_is_no_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal.jsonl");
        Journal::new(path.clone()).append(&entries()).unwrap();
        let whole = std::fs::read(&path).unwrap();
        for length in 0..whole.len() {
            std::fs::write(&path, &whole[..length]).unwrap();
            let lines = whole[..length]
                .iter()
                .filter(|byte| **byte == b'\n')
                .count();
            let mut journal = Journal::new(path.clone());
            assert_eq!(journal.read().unwrap(), entries()[..lines]);
            // The next writer goes on as if nothing had been torn.
            journal.append(&entries()[lines..]).unwrap();
            assert_eq!(std::fs::read(&path).unwrap(), whole);
            assert!(journal.read().unwrap().is_empty());
            journal.rewind();
            assert_eq!(journal.read().unwrap(), entries());
        }
    }

    #[test]
    fn what_no_study_writes_is_refused_with_its_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal.jsonl");
        let good = serde_json::to_string(&entries()[0]).unwrap();
        for bad in [
            "{}",
            "\0\0\0",
            "[1]",
            r#"{"at":-1.0,"lease":{"trial":0,"worker":"w","token":0}}"#,
            r#"{"at":1e999,"lease":{"trial":0,"worker":"w","token":0}}"#,
            r#"{"at":1.0,"lease":{"trial":-1,"worker":"w","token":0}}"#,
            r#"{"at":1.0,"search":{"event":"unheard-of"}}"#,
            &"[".repeat(100_000),
            &"x".repeat(1 << 21),
        ] {
            std::fs::write(&path, format!("{good}\n{bad}\n{good}\n")).unwrap();
            let error = Journal::new(path.clone()).read().unwrap_err();
            assert!(
                matches!(error, SearchError::Journal { line: 2, .. }),
                "{error}"
            );
        }
        std::fs::write(&path, format!("{good}\n")).unwrap();
        let mut journal = Journal::new(path.clone());
        journal.read().unwrap();
        std::fs::write(&path, "").unwrap();
        assert!(journal.read().is_err());
    }

    #[test]
    fn what_would_not_be_read_is_not_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal.jsonl");
        let failed = |length: usize| Entry {
            at: 1.0,
            record: Record::Search(Event::Told {
                trial: 0,
                outcome: Outcome::Failed {
                    reason: "x".repeat(length),
                },
            }),
        };
        let around = failed(0).line().unwrap().len();
        let longest = LONGEST as usize - 1 - around;
        let mut journal = Journal::new(path.clone());
        assert!(journal.append(&[failed(longest + 1)]).is_err());
        journal.append(&[failed(longest)]).unwrap();
        assert_eq!(Journal::new(path).read().unwrap(), [failed(longest)]);
        journal.position = LARGEST - 10;
        let error = journal.append(&[failed(0)]).unwrap_err().to_string();
        assert!(error.contains("larger than 1 GiB"), "{error}");
    }
}
