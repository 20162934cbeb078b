//! Studies in a database: the same as in a folder, whatever is killed or cut. `PEFT_TEST_POSTGRES` is the URL of a server
//! in whose database tables may be made, without a study's name; `PEFT_TEST_POSTGRES_TLS` one of the same server with
//! `sslmode=verify-full` and `sslrootcert=…/authority.pem`, beside which is `stranger.pem`, the certificate of somebody who did
//! not sign the server's.

mod addresses;
mod cuts;
mod encryption;
mod hostile;
mod workers;

use std::time::Duration;

use peft_search::study::*;
use peft_search::*;

use crate::toy::*;

/// The URL of a study of this name, which no earlier test had.
fn url(name: &str) -> String {
    let server = std::env::var("PEFT_TEST_POSTGRES").expect("PEFT_TEST_POSTGRES is not set");
    with_study(&server, name)
}

fn with_study(server: &str, name: &str) -> String {
    let since = std::time::UNIX_EPOCH.elapsed().unwrap().as_nanos();
    let and = if server.contains('?') { '&' } else { '?' };
    format!("{server}{and}study={name}-{}-{since}", std::process::id())
}

fn store(url: &str) -> Box<dyn Store> {
    url.parse::<Place>().unwrap().store().unwrap()
}

fn begin_at(url: &str, description: Description) -> Result<Study, SearchError> {
    let study = Study::begin_in(store(url), description, problem())?;
    Ok(study.with_clock(|| 1.0))
}

fn work(study: &mut Study) -> Worked {
    let patience = Duration::from_millis(5);
    study.work(&mut train, patience, &mut |_| true).unwrap()
}

/// The events of a study, as lines.
fn events(study: &Study) -> Vec<String> {
    let events = study.events().iter();
    events
        .map(|event| serde_json::to_string(event).unwrap())
        .collect()
}

/// Shows the first difference, where there is one.
fn same(one: &[String], other: &[String]) {
    for (index, (one, other)) in one.iter().zip(other).enumerate() {
        assert_eq!(one, other, "line {index}");
    }
    assert_eq!(one.len(), other.len());
}

/// The lines of a journal that are not leases: those name processes.
fn lines(folder: &std::path::Path) -> Vec<String> {
    let text = std::fs::read_to_string(folder.join(JOURNAL)).unwrap();
    let kept = text.lines().filter(|line| !line.contains("\"lease\""));
    kept.map(str::to_owned).collect()
}

/// The journal is the folder's, and copies from one to the other are the same to the byte.
#[test]
#[ignore = "needs PEFT_TEST_POSTGRES, the URL of a PostgreSQL server; `cargo xtask test --all` starts one"]
fn a_database_holds_what_a_folder_holds() {
    let folders = [(); 3].map(|()| tempfile::tempdir().unwrap());
    let [folder, from_database, back] = folders.each_ref().map(|folder| folder.path());
    let mut in_folder = begin(folder, description(8)).unwrap();
    let first = url("first");
    let mut in_database = begin_at(&first, description(8)).unwrap();
    assert_eq!(work(&mut in_folder), work(&mut in_database));
    same(&events(&in_database), &events(&in_folder));
    assert_eq!(in_database.volumes(), in_folder.volumes());
    assert_eq!(in_database.status().unwrap(), in_folder.status().unwrap());

    let mut target = FolderStore::new(from_database).unwrap();
    let copied = in_database.copy_to(&mut target).unwrap();
    same(&lines(from_database), &lines(folder));
    let read = |folder: &std::path::Path, name| std::fs::read(folder.join(name)).unwrap();
    assert_eq!(read(from_database, DESCRIPTION), read(folder, DESCRIPTION));
    let second = url("second");
    let mut study = Study::look(from_database).unwrap();
    assert_eq!(study.copy_to(&mut *store(&second)).unwrap(), copied);
    let mut study = Study::look_in(store(&second)).unwrap();
    let mut target = FolderStore::new(back).unwrap();
    assert_eq!(study.copy_to(&mut target).unwrap(), copied);
    for name in [JOURNAL, DESCRIPTION] {
        assert_eq!(read(back, name), read(from_database, name));
    }
    // No study is lost to a copy, and whoever copied from it goes on.
    let error = study.copy_to(&mut target).unwrap_err().to_string();
    assert!(error.contains("holds one already"), "{error}");
    assert_eq!(events(&study), events(&in_folder));
}

/// A study is prolonged where it is, and none is begun on another's name.
#[test]
#[ignore = "needs PEFT_TEST_POSTGRES, the URL of a PostgreSQL server; `cargo xtask test --all` starts one"]
fn a_study_in_a_database_is_gone_on_with() {
    let url = url("longer");
    let none = Study::look_in(store(&url)).err().unwrap().to_string();
    assert!(none.contains("there is none at"), "{none}");
    work(&mut begin_at(&url, description(3)).unwrap());
    let mut longer = begin_at(&url, description(6)).unwrap();
    assert_eq!(
        work(&mut longer),
        Worked::Ended(Ending::Spent(Limit::Trials))
    );
    let folder = tempfile::tempdir().unwrap();
    let mut whole = begin(folder.path(), description(6)).unwrap();
    work(&mut whole);
    same(&events(&longer), &events(&whole));
    assert_eq!(longer.description(), whole.description());
    let other = Description {
        seed: 6,
        ..description(6)
    };
    let error = begin_at(&url, other).err().unwrap().to_string();
    assert!(
        error.contains("the seed of the search was 5, is 6"),
        "{error}"
    );
    let mut looking = Study::look_in(store(&url)).unwrap();
    let wanted = AutoPeft::BERT_BASE.published()[2].clone();
    looking.enqueue(wanted).unwrap();
    assert_eq!(longer.status().unwrap().queued, 1);
}

/// What cannot be reached says why, and no message has the password.
#[test]
fn a_server_that_is_not_there_is_told_of() {
    // A port that was free a moment ago.
    let port = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap().port()
    };
    let url = format!("postgres://me:secret@127.0.0.1:{port}/base?study=a");
    let place: Place = url.parse().unwrap();
    let error = place.store().err().unwrap();
    let text = format!("{error} {error:?} {place} {place:?}");
    assert!(
        text.contains("refused") && text.contains("is the server running"),
        "{text}"
    );
    assert!(text.contains(&format!("me@127.0.0.1:{port}")), "{text}");
    assert!(!text.contains("secret"), "{text}");
}
