//! Connections that are encrypted, and servers that are not whom they say.

use super::*;

/// The URL of a server with which connections are encrypted.
fn server() -> String {
    std::env::var("PEFT_TEST_POSTGRES_TLS").expect("PEFT_TEST_POSTGRES_TLS is not set")
}

fn refused(url: &str) -> String {
    let connected = url.parse::<Place>().and_then(|place| place.store());
    connected.err().expect("it connected").to_string()
}

/// A study of an encrypted connection is the same that a plain one finds, and the server says that it is encrypted.
#[test]
#[ignore = "needs PEFT_TEST_POSTGRES_TLS, the URL of a PostgreSQL server; `cargo xtask test --all` starts one"]
fn a_study_over_an_encrypted_connection() {
    let url = format!(
        "{}&application_name=encrypted",
        with_study(&server(), "tls")
    );
    let mut study = begin_at(&url, description(12)).unwrap();
    assert!(matches!(work(&mut study), Worked::Ended(_)));
    let plain = std::env::var("PEFT_TEST_POSTGRES").unwrap();
    let mut client = ::postgres::Client::connect(&plain, ::postgres::NoTls).unwrap();
    let query = "SELECT ssl FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE application_name = 'encrypted'";
    let found = client.query(query, &[]).unwrap();
    assert!(!found.is_empty(), "no connection is open");
    assert!(found.iter().all(|row| row.get::<_, bool>(0)));

    let (_, parameters) = url.split_once('?').unwrap();
    let name = parameters
        .split('&')
        .find(|one| one.starts_with("study="))
        .unwrap();
    let and = if plain.contains('?') { '&' } else { '?' };
    let looking = Study::look_in(store(&format!("{plain}{and}{name}"))).unwrap();
    same(&events(&study), &events(&looking));
}

/// Whoever cannot show that it is the server meant gets nothing, and the message says what to do.
#[test]
#[ignore = "needs PEFT_TEST_POSTGRES_TLS, the URL of a PostgreSQL server; `cargo xtask test --all` starts one"]
fn a_server_must_be_who_it_says() {
    let url = with_study(&server(), "stranger");
    for wrong in [
        url.replace("authority.pem", "stranger.pem"),
        // The server answers there, too, but its certificate is for a name.
        url.replace("@localhost", "@127.0.0.1"),
    ] {
        let error = refused(&wrong);
        assert!(
            error.contains("certificate") && error.contains("sslrootcert=FILE"),
            "{error}"
        );
    }
    // On a socket of its own machine a server never encrypts.
    let plain = std::env::var("PEFT_TEST_POSTGRES").unwrap();
    let parameters = url.split_once('?').unwrap().1;
    let error = refused(&format!("{plain}?{parameters}"));
    assert!(
        error.contains("does not support TLS") && error.contains("sslmode"),
        "{error}"
    );
}

#[test]
fn files_of_certificates_are_named_where_they_are_not() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let block =
        |text: &str| format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n");
    let absent = folder.path().join("absent.pem").display().to_string();
    for (file, reason) in [
        (absent, "No such file"),
        (write("empty.pem", "words"), "BEGIN CERTIFICATE"),
        (write("base.pem", &block("&&&&")), "expected PEM"),
        (write("der.pem", &block("AAAA")), "certificate 1"),
    ] {
        let url = format!("postgres://me@base/search?sslmode=require&sslrootcert={file}&study=a");
        let error = url.parse::<Address>().unwrap_err().to_string();
        assert!(error.contains(&file) && error.contains(reason), "{error}");
    }
    let unused = "postgres://me@base/search?sslrootcert=FILE&study=a";
    let error = unused.parse::<Address>().unwrap_err().to_string();
    assert!(error.contains("add sslmode=verify-full"), "{error}");
}
