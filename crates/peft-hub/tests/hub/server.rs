//! A hub on this machine that does as it is told, also what no honest one does.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// A request as the server saw it.
#[derive(Debug, Clone)]
pub struct Request {
    pub path: String,
    pub headers: HashMap<String, String>,
}

/// What is sent back, byte for byte; then the connection is closed.
pub enum Answer {
    Raw(Vec<u8>),
    /// The beginning of an answer, after which nothing comes.
    Hang(Vec<u8>),
}

pub struct Server {
    pub endpoint: String,
    seen: Arc<Mutex<Vec<Request>>>,
}

impl Server {
    /// Serves until the test's process ends.
    pub fn start(answer: impl Fn(&Request) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (log, answer) = (seen.clone(), Arc::new(answer));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (log, answer) = (log.clone(), answer.clone());
                thread::spawn(move || serve(stream, &log, answer.as_ref()));
            }
        });
        Self { endpoint, seen }
    }

    pub fn seen(&self) -> Vec<Request> {
        self.seen.lock().unwrap().clone()
    }
}

fn serve(stream: TcpStream, log: &Mutex<Vec<Request>>, answer: &dyn Fn(&Request) -> Answer) {
    let mut lines = BufReader::new(&stream).lines().map_while(Result::ok);
    let Some(first) = lines.next() else { return };
    let path = first.split(' ').nth(1).unwrap_or_default().to_owned();
    let headers = lines
        .take_while(|line| !line.is_empty())
        .filter_map(|line| {
            let (name, value) = line.split_once(':')?;
            Some((name.to_ascii_lowercase(), value.trim().to_owned()))
        })
        .collect();
    let request = Request { path, headers };
    log.lock().unwrap().push(request.clone());
    let mut out = &stream;
    // Whoever asked may have gone away.
    match answer(&request) {
        Answer::Raw(bytes) => drop(out.write_all(&bytes)),
        Answer::Hang(bytes) => {
            drop(out.write_all(&bytes));
            thread::sleep(Duration::from_secs(60));
        }
    }
}

/// An answer with a status line, headers and a body of the length it says.
pub fn answer(status: &str, headers: &str, body: &[u8]) -> Answer {
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Length: {length}\r\n{headers}Connection: close\r\n\r\n"
    );
    Answer::Raw([head.as_bytes(), body].concat())
}

/// The file, or the part of it that the request asks for.
pub fn file(request: &Request, body: &[u8]) -> Answer {
    let from = request.headers.get("range").and_then(|range| {
        range
            .strip_prefix("bytes=")?
            .strip_suffix('-')?
            .parse()
            .ok()
    });
    match from {
        None => answer("200 OK", "", body),
        Some(from) => {
            let range = format!(
                "Content-Range: bytes {from}-{}/{}\r\n",
                body.len() - 1,
                body.len()
            );
            answer("206 Partial Content", &range, &body[from..])
        }
    }
}
