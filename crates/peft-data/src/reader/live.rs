//! A stream that somebody may be writing to right now.

use std::io::{self, BufRead, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

/// Bytes taken at a time.
const CHUNK: usize = 1 << 16;
/// Chunks that wait to be read, at most.
const WAITING: usize = 4;

/// A stream that a thread of its own reads, so that one can tell whether a line is there or has to be waited for.
pub(super) struct Live {
    chunks: Receiver<io::Result<Vec<u8>>>,
    chunk: Vec<u8>,
    place: usize,
}

/// How many lines of a stream have arrived.
#[derive(Debug, Clone)]
pub(super) struct Arrived(Arc<AtomicU64>);

impl Arrived {
    pub fn lines(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }
}

impl Live {
    pub fn new(stream: impl Read + Send + 'static) -> io::Result<(Self, Arrived)> {
        let arrived = Arrived(Arc::default());
        let (sender, chunks) = sync_channel(WAITING);
        let counted = arrived.clone();
        std::thread::Builder::new()
            .name("standard input".to_owned())
            .spawn(move || read(stream, &sender, &counted))?;
        let live = Self {
            chunks,
            chunk: Vec::new(),
            place: 0,
        };
        Ok((live, arrived))
    }
}

/// Until the end, an error, or until nobody wants more.
fn read(mut stream: impl Read, sender: &SyncSender<io::Result<Vec<u8>>>, arrived: &Arrived) {
    loop {
        let mut chunk = vec![0; CHUNK];
        let read = match stream.read(&mut chunk) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            read => read,
        };
        let lines = match &read {
            Ok(1..) => chunk.iter().filter(|byte| **byte == b'\n').count() as u64,
            // Nothing has to be waited for any more.
            _ => u64::MAX / 2,
        };
        let last = !matches!(read, Ok(1..));
        let message = read.map(|length| {
            chunk.truncate(length);
            chunk
        });
        arrived.0.fetch_add(lines, Ordering::AcqRel);
        if sender.send(message).is_err() || last {
            return;
        }
    }
}

impl Read for Live {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.fill_buf()?.read(buffer)?;
        self.consume(read);
        Ok(read)
    }
}

impl BufRead for Live {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.place == self.chunk.len() {
            self.place = 0;
            // The thread has gone when everything was read.
            self.chunk = self.chunks.recv().unwrap_or(Ok(Vec::new()))?;
        }
        Ok(&self.chunk[self.place..])
    }

    fn consume(&mut self, amount: usize) {
        self.place = (self.place + amount).min(self.chunk.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_as_they_were_and_lines_are_counted() {
        let text = "one\ntwo\n".repeat(40_000) + "last";
        let (mut live, arrived) = Live::new(io::Cursor::new(text.clone())).unwrap();
        let mut read = String::new();
        live.read_to_string(&mut read).unwrap();
        assert_eq!(read, text);
        assert!(arrived.lines() > 80_000);
        assert_eq!(live.fill_buf().unwrap(), b"");
    }

    #[test]
    fn lines_that_have_not_come_are_not_counted() {
        let (reader, mut writer) = io::pipe().unwrap();
        let (mut live, arrived) = Live::new(reader).unwrap();
        io::Write::write_all(&mut writer, b"one\n").unwrap();
        let mut line = String::new();
        live.read_line(&mut line).unwrap();
        assert_eq!((line.as_str(), arrived.lines()), ("one\n", 1));
        drop(writer);
        assert_eq!(live.read_line(&mut line).unwrap(), 0);
        assert!(arrived.lines() > 1);
    }
}
