//! Scalars of a run as TensorBoard reads them: a file of events beside `metrics.jsonl`.
//!
//! The file has one record for every line of the log, so that a run that goes on after its first lines keeps as many
//! records. A record is the length of its data, both with a masked CRC-32C each; the data is a protocol buffer `Event` of
//! TensorFlow with a wall time, a step, and a summary of simple values (`tensorflow/core/lib/io/record_writer.h`,
//! `tensorflow/core/util/event.proto`).

mod crc;
mod message;

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use serde_json::Value;

use self::{
    crc::masked_crc,
    message::{scalars, version},
};
use crate::{RunError, event::fault};

/// Name of the file in an output folder; TensorBoard looks for `tfevents` in names.
pub(crate) const EVENTS: &str = "events.out.tfevents.peft";
/// Bytes around the data of a record: length and its sum before, the data's sum behind.
const BEFORE: usize = 12;
const BEHIND: usize = 4;
/// Longest data of a record of ours.
const LONGEST: u64 = 1 << 20;

/// The file of events.
pub(crate) struct EventFile {
    file: File,
    path: PathBuf,
}

impl EventFile {
    /// Open the file in `output` to go on after these lines of the log; none to start it.
    pub fn open(output: &Path, lines: &[Value]) -> Result<Self, RunError> {
        let path = output.join(EVENTS);
        let open = || {
            let mut options = File::options();
            let mut file = options
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .open(&path)?;
            let (count, end) = intact(&mut file, lines.len())?;
            file.set_len(end)?;
            file.seek(SeekFrom::Start(end))?;
            Ok((file, count))
        };
        let (file, count) = open().map_err(|error: io::Error| fault(&path, &error))?;
        let mut events = Self { file, path };
        // What a run of an earlier version, or one that was killed between log and file, did not write.
        for line in lines.iter().skip(count) {
            events.add(line)?;
        }
        Ok(events)
    }

    /// The record of a line of the log.
    pub fn add(&mut self, line: &Value) -> Result<(), RunError> {
        let wall_time = SystemTime::now().duration_since(UNIX_EPOCH);
        let wall_time = wall_time.map_or(0.0, |time| time.as_secs_f64());
        let data = match line.get("event").and_then(Value::as_str) {
            Some("plan") => version(wall_time),
            _ => scalars(wall_time, line),
        };
        let written = self.file.write_all(&record(&data));
        written.map_err(|error| fault(&self.path, &error))
    }
}

/// A record of some data.
fn record(data: &[u8]) -> Vec<u8> {
    let length = (data.len() as u64).to_le_bytes();
    let mut bytes = Vec::with_capacity(BEFORE + data.len() + BEHIND);
    bytes.extend(length);
    bytes.extend(masked_crc(&length).to_le_bytes());
    bytes.extend(data);
    bytes.extend(masked_crc(data).to_le_bytes());
    bytes
}

/// How many records a file begins with that are whole, up to `most`, and where the last of them ends.
fn intact(file: &mut File, most: usize) -> io::Result<(usize, u64)> {
    file.seek(SeekFrom::Start(0))?;
    let mut reader = io::BufReader::new(file);
    let (mut count, mut end) = (0, 0);
    while count < most {
        let Some(length) = next(&mut reader)? else {
            break;
        };
        count += 1;
        end += length;
    }
    Ok((count, end))
}

/// The length of the next record; nothing if it is not whole.
fn next(reader: &mut impl Read) -> io::Result<Option<u64>> {
    let Some(head) = take(reader, BEFORE)? else {
        return Ok(None);
    };
    let (length, sum) = head.split_at(BEFORE - BEHIND);
    let expected = masked_crc(length).to_le_bytes();
    let length = length
        .iter()
        .rev()
        .fold(0, |all: u64, byte| (all << 8) | u64::from(*byte));
    if sum != expected || length > LONGEST {
        return Ok(None);
    }
    let Some(data) = take(reader, length as usize + BEHIND)? else {
        return Ok(None);
    };
    let (data, sum) = data.split_at(length as usize);
    let whole = masked_crc(data).to_le_bytes() == sum;
    Ok(whole.then_some((BEFORE + BEHIND) as u64 + length))
}

fn take(reader: &mut impl Read, length: usize) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::with_capacity(length);
    reader
        .by_ref()
        .take(length as u64)
        .read_to_end(&mut bytes)?;
    Ok((bytes.len() == length).then_some(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn lines() -> Vec<Value> {
        vec![
            json!({ "event": "plan", "method": "lora" }),
            json!({ "event": "step", "step": 1, "loss": 0.5, "learning_rate": 1e-3 }),
            json!({ "event": "eval", "step": 1, "split": "selection", "loss": 0.25, "accuracy": 0.75 }),
            json!({ "event": "step", "step": 2, "loss": f64::NAN }),
        ]
    }

    fn read(output: &Path) -> Vec<u8> {
        std::fs::read(output.join(EVENTS)).unwrap()
    }

    /// How every file of TensorFlow begins, here with the wall time 1.
    #[test]
    fn a_file_begins_as_all_do() {
        const GOLDEN: &[u8] = &[
            0x18, 0, 0, 0, 0, 0, 0, 0, 0xa3, 0x7f, 0x4b, 0x22, 0x09, 0, 0, 0, 0, 0, 0, 0xf0, 0x3f,
            0x1a, 0x0d, 0x62, 0x72, 0x61, 0x69, 0x6e, 0x2e, 0x45, 0x76, 0x65, 0x6e, 0x74, 0x3a,
            0x32,
        ];
        let record = record(&version(1.0));
        assert_eq!(record[..GOLDEN.len()], *GOLDEN);
    }

    #[test]
    fn a_file_goes_on_after_as_many_records_as_the_log_has_lines() {
        let dir = tempfile::tempdir().unwrap();
        let mut events = EventFile::open(dir.path(), &[]).unwrap();
        for line in lines() {
            events.add(&line).unwrap();
        }
        let whole = read(dir.path());
        // Cut anywhere, even within a record: what is whole stays, the rest is written again.
        for cut in [whole.len(), whole.len() - 3, 50, 10, 0] {
            std::fs::write(dir.path().join(EVENTS), &whole[..cut]).unwrap();
            EventFile::open(dir.path(), &lines()).unwrap();
            let again = read(dir.path());
            assert_eq!(again.len(), whole.len(), "cut at {cut}");
            let (count, end) =
                intact(&mut File::open(dir.path().join(EVENTS)).unwrap(), 99).unwrap();
            assert_eq!((count, end), (4, whole.len() as u64));
        }
        // A shorter log takes the file back.
        EventFile::open(dir.path(), &lines()[..2]).unwrap();
        let back = read(dir.path());
        assert_eq!(
            intact(&mut File::open(dir.path().join(EVENTS)).unwrap(), 99)
                .unwrap()
                .0,
            2
        );
        assert!(back.len() < whole.len());
    }

    #[test]
    fn what_is_no_record_ends_the_file() {
        let dir = tempfile::tempdir().unwrap();
        for junk in [&b"not events at all, but long enough"[..], &[0xff; 64]] {
            std::fs::write(dir.path().join(EVENTS), junk).unwrap();
            EventFile::open(dir.path(), &lines()[..1]).unwrap();
            assert_eq!(
                intact(&mut File::open(dir.path().join(EVENTS)).unwrap(), 99)
                    .unwrap()
                    .0,
                1
            );
        }
    }
}
