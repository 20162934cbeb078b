//! Connections that are cut at any moment.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};

use ::postgres::Config;
use ::postgres::config::Host;

use super::*;

/// Two ends of a connection to the server, over TCP or a socket of this machine.
enum Server {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Server {
    fn connect(config: &Config) -> Self {
        let port = config.get_ports().first().copied().unwrap_or(5432);
        match &config.get_hosts()[0] {
            Host::Tcp(host) => Self::Tcp(TcpStream::connect((host.as_str(), port)).unwrap()),
            Host::Unix(folder) => {
                let path = folder.join(format!(".s.PGSQL.{port}"));
                Self::Unix(UnixStream::connect(path).unwrap())
            }
        }
    }

    fn clone(&self) -> Self {
        match self {
            Self::Tcp(stream) => Self::Tcp(stream.try_clone().unwrap()),
            Self::Unix(stream) => Self::Unix(stream.try_clone().unwrap()),
        }
    }

    fn read(&mut self, bytes: &mut [u8]) -> usize {
        match self {
            Self::Tcp(stream) => stream.read(bytes).unwrap_or(0),
            Self::Unix(stream) => stream.read(bytes).unwrap_or(0),
        }
    }

    fn write(&mut self, bytes: &[u8]) -> bool {
        match self {
            Self::Tcp(stream) => stream.write_all(bytes).is_ok(),
            Self::Unix(stream) => stream.write_all(bytes).is_ok(),
        }
    }

    fn close(&self) {
        let _ = match self {
            Self::Tcp(stream) => stream.shutdown(Shutdown::Both),
            Self::Unix(stream) => stream.shutdown(Shutdown::Both),
        };
    }
}

/// What is between workers and the server: after a number of messages, in either direction, one of them is swallowed and
/// its connection is cut.
struct Way {
    left: AtomicI64,
    cuts: AtomicUsize,
    seed: u64,
}

impl Way {
    /// Whether a message arrives.
    fn passes(&self) -> bool {
        if self.left.fetch_sub(1, Ordering::SeqCst) > 0 {
            return true;
        }
        let cuts = self.cuts.fetch_add(1, Ordering::SeqCst) as u64;
        let draw = (cuts + 1)
            .wrapping_mul(self.seed)
            .wrapping_mul(0x9e37_79b9_7f4a_7c15)
            >> 33;
        self.left.store(60 + (draw % 90) as i64, Ordering::SeqCst);
        false
    }

    fn serve(self: Arc<Self>, config: Config) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let (client, server) = (client.unwrap(), Server::connect(&config));
                for up in [true, false] {
                    let (mut client, mut server) = (client.try_clone().unwrap(), server.clone());
                    let way = self.clone();
                    std::thread::spawn(move || {
                        let mut bytes = vec![0; 1 << 16];
                        loop {
                            let count = match up {
                                true => client.read(&mut bytes).unwrap_or(0),
                                false => server.read(&mut bytes),
                            };
                            let sent = count > 0
                                && way.passes()
                                && match up {
                                    true => server.write(&bytes[..count]),
                                    false => client.write_all(&bytes[..count]).is_ok(),
                                };
                            if !sent {
                                let _ = client.shutdown(Shutdown::Both);
                                server.close();
                                return;
                            }
                        }
                    });
                }
            }
        });
        port
    }
}

/// Messages lost anywhere, commits and their answers among them: nothing is lost, and nothing is written twice.
#[test]
#[ignore = "needs PEFT_TEST_POSTGRES, the URL of a PostgreSQL server; `cargo xtask test --all` starts one"]
fn a_study_whose_connection_is_cut_anywhere_is_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let mut calm = begin(folder.path(), description(8)).unwrap();
    work(&mut calm);
    let server = std::env::var("PEFT_TEST_POSTGRES").expect("PEFT_TEST_POSTGRES is not set");
    let config: Config = server.parse().unwrap();
    for seed in 1..=4 {
        let way = Arc::new(Way {
            left: AtomicI64::new(100),
            cuts: AtomicUsize::new(0),
            seed,
        });
        let port = way.clone().serve(config.clone());
        let login = match (config.get_user(), config.get_password()) {
            (Some(user), Some(password)) => {
                format!("{user}:{}@", String::from_utf8_lossy(password))
            }
            (Some(user), None) => format!("{user}@"),
            (None, _) => String::new(),
        };
        let base = config.get_dbname().unwrap_or("postgres");
        let url = with_study(&format!("postgres://{login}127.0.0.1:{port}/{base}"), "cut");
        let mut study = begin_at(&url, description(8)).unwrap();
        work(&mut study);
        same(&events(&study), &events(&calm));
        assert!(way.cuts.load(Ordering::SeqCst) > 10, "seed {seed}");
    }
}
