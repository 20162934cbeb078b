//! One file, in as many pieces as the network makes of it.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use ureq::http::header;

use super::client::{Client, remote};
use super::listing::Entry;
use crate::{HubError, sha256_of};

/// Answers that may be cut off before one brings nothing new.
const ATTEMPTS: usize = 20;

/// Brings a file to `target`, going on where an earlier attempt was cut off. It appears in full or not
/// at all, with the size and, where it is known, the sha256 of the listing.
pub fn fetch(
    client: &Client,
    url: &str,
    entry: &Entry,
    model: &str,
    target: &Path,
) -> Result<(), HubError> {
    if fs::metadata(target).is_ok_and(|data| data.len() == entry.size) {
        return Ok(());
    }
    let path = partial(target, entry);
    let mut file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .open(&path)
        .map_err(HubError::io("write", &path))?;
    if file.try_lock().is_err() {
        return Err(HubError::Remote {
            url: url.to_owned(),
            problem: format!("another process is writing {}", path.display()),
            fix: "wait for it".into(),
        });
    }
    let mut have = file.metadata().map_err(HubError::io("read", &path))?.len();
    if have > entry.size {
        have = restart(&mut file, &path)?;
    }
    let mut attempts = 0;
    while have < entry.size {
        attempts += 1;
        let before = have;
        let outcome = piece(client, url, entry, model, &mut file, &path, have);
        have = file.metadata().map_err(HubError::io("read", &path))?.len();
        match outcome {
            Ok(()) => {}
            // A line that is slow or breaks is gone on with, as long as something comes.
            Err(Fault::Cut(error)) if have <= before || attempts == ATTEMPTS => return Err(error),
            Err(Fault::Cut(_)) => {}
            Err(Fault::Wrong(error)) => {
                drop(file);
                let _ = fs::remove_file(&path); // the first error is the one to tell
                return Err(error);
            }
        }
    }
    file.sync_all().map_err(HubError::io("write", &path))?;
    if let Some(expected) = &entry.sha256 {
        let found = sha256_of(&path)?.unwrap_or_default();
        if found != *expected {
            let _ = fs::remove_file(&path); // the first error is the one to tell
            return Err(HubError::Digest {
                path: target.to_owned(),
                found,
                expected: expected.clone(),
            });
        }
    }
    fs::rename(&path, target).map_err(HubError::io("write", target))
}

/// Why a piece ended.
enum Fault {
    /// The line: what came so far is good.
    Cut(HubError),
    /// The answer: what came is of no use.
    Wrong(HubError),
}

/// The rest of the file from `have` on, as far as it comes.
fn piece(
    client: &Client,
    url: &str,
    entry: &Entry,
    model: &str,
    file: &mut File,
    path: &Path,
    have: u64,
) -> Result<(), Fault> {
    let io = |action| move |error| Fault::Cut(HubError::io(action, path)(error));
    let elsewhere = entry.sha256.is_some();
    let mut answer = client.get(url, have, elsewhere).map_err(Fault::Cut)?;
    let mut have = have;
    match answer.status().as_u16() {
        206 if starts_at(&answer, have) => {}
        // All of it, whatever was asked for.
        200 => have = restart(file, path).map_err(Fault::Cut)?,
        206 | 416 => {
            return Err(Fault::Wrong(remote(
                url,
                "it answers with another part of the file",
            )));
        }
        status => return Err(Fault::Cut(client.refusal(url, status, model))),
    }
    let wrong = |length: u64| {
        let problem = format!(
            "{} comes with {length} bytes, the hub's list says {}",
            entry.name, entry.size
        );
        Fault::Wrong(remote(url, problem))
    };
    let announced = answer.headers().get(header::CONTENT_LENGTH);
    let announced: Option<u64> = announced.and_then(|text| text.to_str().ok()?.parse().ok());
    if let Some(length) = announced.filter(|length| have.saturating_add(*length) != entry.size) {
        return Err(wrong(have.saturating_add(length)));
    }
    file.seek(SeekFrom::Start(have)).map_err(io("write"))?;
    let mut body = answer.body_mut().as_reader();
    let mut buffer = vec![0; 1 << 16];
    loop {
        let count = body
            .read(&mut buffer)
            .map_err(|error| Fault::Cut(remote(url, format!("the answer broke off ({error})"))))?;
        if count == 0 {
            break;
        }
        have += count as u64;
        if have > entry.size {
            return Err(wrong(have));
        }
        file.write_all(&buffer[..count]).map_err(io("write"))?;
    }
    if have < entry.size {
        return Err(Fault::Cut(remote(
            url,
            format!("{} ends after {have} of {} bytes", entry.name, entry.size),
        )));
    }
    Ok(())
}

/// Whether a partial answer begins where it was asked to.
fn starts_at(answer: &ureq::http::Response<ureq::Body>, have: u64) -> bool {
    let range = answer.headers().get(header::CONTENT_RANGE);
    range
        .and_then(|range| range.to_str().ok()?.strip_prefix("bytes "))
        .is_some_and(|range| range.starts_with(&format!("{have}-")))
}

fn restart(file: &mut File, path: &Path) -> Result<u64, HubError> {
    file.set_len(0).map_err(HubError::io("write", path))?;
    Ok(0)
}

/// Where the file grows: another content has another name.
fn partial(target: &Path, entry: &Entry) -> PathBuf {
    let tag = match &entry.sha256 {
        Some(sha256) => sha256.chars().take(16).collect(),
        None => entry.size.to_string(),
    };
    target.with_file_name(format!(".{}.{tag}.partial", entry.name))
}
