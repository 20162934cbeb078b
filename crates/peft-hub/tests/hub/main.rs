//! Downloads from a hub on this machine: honest, slow, broken and hostile.

mod server;

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use peft_hub::{Client, HubCache, HubError, Limits, RepoId, download, sha256};
use serde_json::{Value, json};

use server::{Answer, Request, Server, answer, file};

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
const SECRET: &str = "hf_secret_of_the_test";

fn weights() -> Vec<u8> {
    (0..300_000u32).map(|i| (i % 251) as u8).collect()
}

/// The list of files with sizes, and sha256 where the hub has one.
fn listing(files: &[(&str, &[u8], bool)]) -> Vec<u8> {
    let siblings: Vec<Value> = files
        .iter()
        .map(|(name, bytes, large)| {
            let lfs = large.then(|| json!({"sha256": sha256(bytes), "size": bytes.len()}));
            json!({"rfilename": name, "size": bytes.len(), "lfs": lfs})
        })
        .collect();
    json!({"sha": COMMIT, "siblings": siblings})
        .to_string()
        .into_bytes()
}

fn honest(request: &Request) -> Answer {
    let files: [(&str, &[u8], bool); 2] = [
        ("config.json", b"{}", false),
        ("model.safetensors", &weights(), true),
    ];
    if request.path.starts_with("/api/models/") {
        return answer("200 OK", "", &listing(&files));
    }
    let name = request.path.rsplit('/').next().unwrap_or_default();
    match files.iter().find(|(known, ..)| *known == name) {
        Some((_, bytes, _)) => file(request, bytes),
        None => answer("404 Not Found", "", b""),
    }
}

fn client(server: &Server) -> Client {
    let limits = Limits {
        connect: Duration::from_secs(2),
        silence: Duration::from_millis(700),
    };
    Client::new(&server.endpoint, Some(SECRET.into()), limits).unwrap()
}

fn fetch(server: &Server, cache: &Path) -> Result<std::path::PathBuf, HubError> {
    let id: RepoId = "org/model".parse().unwrap();
    download(
        &client(server),
        &id,
        &HubCache::new(cache, Vec::new()),
        &|_| {},
    )
}

/// A download that must fail and leave nothing that would be taken for a model.
#[track_caller]
fn refused(answer: impl Fn(&Request) -> Answer + Send + Sync + 'static) -> String {
    let cache = tempfile::tempdir().unwrap();
    let error = fetch(&Server::start(answer), cache.path()).unwrap_err();
    let id: RepoId = "org/model".parse().unwrap();
    assert_eq!(HubCache::new(cache.path(), Vec::new()).find(&id), None);
    let text = format!("{error} {error:?}");
    assert!(!text.contains(SECRET), "{text}");
    error.to_string()
}

fn to_weights(request: &Request) -> bool {
    request.path.ends_with("model.safetensors")
}

#[test]
fn a_model_is_fetched_once_and_found_again() {
    let cache = tempfile::tempdir().unwrap();
    let server = Server::start(honest);
    let folder = fetch(&server, cache.path()).unwrap();
    assert_eq!(
        fs::read(folder.join("model.safetensors")).unwrap(),
        weights()
    );
    assert!(server.seen().iter().all(|request| {
        request.headers.get("authorization") == Some(&format!("Bearer {SECRET}"))
    }));
    let id: RepoId = "org/model".parse().unwrap();
    let found = HubCache::new(cache.path(), Vec::new()).find(&id);
    assert_eq!(found.as_ref(), Some(&folder));
    let before = server.seen().len();
    assert_eq!(fetch(&server, cache.path()).unwrap(), folder);
    assert_eq!(
        server.seen().len(),
        before + 1,
        "more than the list was asked for"
    );
    let left: Vec<_> = fs::read_dir(&folder)
        .unwrap()
        .flatten()
        .map(|e| e.file_name())
        .collect();
    assert_eq!(left.len(), 2, "{left:?}");
}

#[test]
fn a_gguf_file_is_fetched_alone_and_found_again() {
    let cache = tempfile::tempdir().unwrap();
    let server = Server::start(|request| {
        let bytes = weights();
        let files: [(&str, &[u8], bool); 3] = [
            ("config.json", b"{}", false),
            ("m-Q4_K_M.gguf", &bytes, true),
            ("m-Q8_0.gguf", &bytes, true),
        ];
        match request.path.ends_with("m-Q4_K_M.gguf") {
            true => file(request, &bytes),
            false => answer("200 OK", "", &listing(&files)),
        }
    });
    let hub = HubCache::new(cache.path(), Vec::new());
    let get = |name: &str| {
        let id: RepoId = name.parse().unwrap();
        download(&client(&server), &id, &hub, &|_| {}).map(|path| (path, hub.find(&id)))
    };
    let several = get("org/model").unwrap_err().to_string();
    assert!(
        several.contains("m-Q4_K_M.gguf, m-Q8_0.gguf") && several.contains("name:Q4_K_M"),
        "{several}"
    );
    let (path, found) = get("org/model:q4_k_m").unwrap();
    assert!(path.ends_with("m-Q4_K_M.gguf"), "{}", path.display());
    assert_eq!(fs::read(&path).unwrap(), weights());
    assert_eq!(found, Some(path));
    assert!(get("org/model:Q5_0").is_err());
}

#[test]
fn a_line_that_breaks_is_gone_on_with() {
    let cache = tempfile::tempdir().unwrap();
    let asked = AtomicUsize::new(0);
    let server = Server::start(move |request| {
        if to_weights(request) && asked.fetch_add(1, Ordering::SeqCst) < 2 {
            // All is promised, a third of it comes.
            let Answer::Raw(bytes) = file(request, &weights()) else {
                unreachable!()
            };
            return Answer::Raw(bytes[..bytes.len() / 3].to_vec());
        }
        honest(request)
    });
    let folder = fetch(&server, cache.path()).unwrap();
    assert_eq!(
        fs::read(folder.join("model.safetensors")).unwrap(),
        weights()
    );
    let ranges = server
        .seen()
        .iter()
        .filter(|r| r.headers.contains_key("range"))
        .count();
    assert_eq!(ranges, 2);
}

#[test]
fn a_later_run_goes_on_too() {
    let cache = tempfile::tempdir().unwrap();
    let broken = Server::start(|request| match to_weights(request) {
        true => match (
            request.headers.contains_key("range"),
            file(request, &weights()),
        ) {
            (false, Answer::Raw(bytes)) => Answer::Raw(bytes[..100_000].to_vec()),
            _ => answer("500 Internal Server Error", "", b""),
        },
        false => honest(request),
    });
    let error = fetch(&broken, cache.path()).unwrap_err().to_string();
    assert!(error.contains("status 500"), "{error}");
    let server = Server::start(honest);
    let folder = fetch(&server, cache.path()).unwrap();
    assert_eq!(
        fs::read(folder.join("model.safetensors")).unwrap(),
        weights()
    );
    assert!(
        server
            .seen()
            .iter()
            .any(|r| r.headers.contains_key("range"))
    );
}

#[test]
fn shards_are_fetched_by_their_index() {
    let index = br#"{"weight_map": {"a": "m-1.safetensors", "b": "m-2.safetensors"}}"#;
    let server = Server::start(move |request| {
        let files: [(&str, &[u8], bool); 4] = [
            ("config.json", b"{}", false),
            ("model.safetensors.index.json", index, false),
            ("m-1.safetensors", b"one", true),
            ("m-2.safetensors", b"two", true),
        ];
        if request.path.starts_with("/api/") {
            return answer("200 OK", "", &listing(&files));
        }
        let found = files
            .iter()
            .find(|(name, ..)| request.path.ends_with(&format!("/{name}")));
        file(request, found.unwrap().1)
    });
    let cache = tempfile::tempdir().unwrap();
    let folder = fetch(&server, cache.path()).unwrap();
    assert_eq!(fs::read(folder.join("m-2.safetensors")).unwrap(), b"two");
}

#[test]
fn wrong_content_is_refused() {
    let error = refused(|request| match to_weights(request) {
        true => file(request, &vec![7; 300_000]),
        false => honest(request),
    });
    assert!(error.contains("sha256"), "{error}");
    let error = refused(|request| match to_weights(request) {
        true => file(request, &weights()[1..]),
        false => honest(request),
    });
    assert!(error.contains("299999 bytes"), "{error}");
    // No length is announced and more comes than was listed.
    let error = refused(|request| match to_weights(request) {
        true => {
            let head = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n";
            Answer::Raw([head.as_slice(), &vec![0; 1 << 20]].concat())
        }
        false => honest(request),
    });
    assert!(error.contains("the hub's list says 300000"), "{error}");
}

#[test]
fn silence_ends_in_time_with_a_message() {
    let error = refused(|_| Answer::Hang(Vec::new()));
    assert!(
        error.contains("no answer in time") && error.contains("HTTPS_PROXY"),
        "{error}"
    );
    let error = refused(
        |request| match (to_weights(request), file(request, &weights())) {
            (true, Answer::Raw(bytes)) if !request.headers.contains_key("range") => {
                Answer::Hang(bytes[..1000].to_vec())
            }
            (true, _) => Answer::Hang(Vec::new()),
            (false, _) => honest(request),
        },
    );
    assert!(error.contains("no answer in time"), "{error}");
}

#[test]
fn refusals_say_what_to_do() {
    let error = refused(|_| answer("401 Unauthorized", "", b"who are you"));
    assert!(
        error.contains("HF_TOKEN") && error.contains("org/model"),
        "{error}"
    );
    let error = refused(|_| answer("404 Not Found", "", b""));
    assert!(error.contains("no `org/model`"), "{error}");
    let error = refused(|_| answer("200 OK", "", b"<html>"));
    assert!(error.contains("makes no sense"), "{error}");
    let error = refused(|_| Answer::Raw(b"SSH-2.0-OpenSSH\r\n".to_vec()));
    assert!(error.contains("by hand"), "{error}");
}

#[test]
fn elsewhere_the_token_is_not_sent_and_only_vouched_files_are_taken() {
    let store = Server::start(|request| file(request, &weights()));
    let address = store.endpoint.clone();
    let server = Server::start(move |request| match to_weights(request) {
        true => {
            let to = format!("Location: {address}/signed?secret=1\r\n");
            answer("302 Found", &to, b"")
        }
        false => honest(request),
    });
    let cache = tempfile::tempdir().unwrap();
    fetch(&server, cache.path()).unwrap();
    assert!(
        store
            .seen()
            .iter()
            .all(|request| !request.headers.contains_key("authorization"))
    );
    assert_eq!(store.seen().len(), 1);

    let address = store.endpoint.clone();
    let error = refused(move |request| match request.path.ends_with("config.json") {
        true => answer(
            "302 Found",
            &format!("Location: {address}/config.json?key=k\r\n"),
            b"",
        ),
        false => honest(request),
    });
    assert!(
        error.contains("does not vouch") && !error.contains("key=k"),
        "{error}"
    );
    let error = refused(|_| answer("302 Found", "Location: /again\r\n", b""));
    assert!(error.contains("redirects too often"), "{error}");
    let error = refused(|_| answer("302 Found", "Location: file:///etc/passwd\r\n", b""));
    assert!(error.contains("redirects to no address"), "{error}");
}

#[test]
fn names_that_lead_out_of_the_folder_are_refused() {
    let error = refused(|request| {
        let index = br#"{"weight_map": {"a": "../../../escape.bin"}}"#;
        let files: [(&str, &[u8], bool); 3] = [
            ("config.json", b"{}", false),
            ("model.safetensors.index.json", index, false),
            ("../../../escape.bin", b"x", true),
        ];
        if request.path.starts_with("/api/") {
            return answer("200 OK", "", &listing(&files));
        }
        match request.path.ends_with("index.json") {
            true => file(request, index),
            false => file(request, b"{}"),
        }
    });
    assert!(error.contains("escape.bin"), "{error}");
    let error = refused(|_| {
        let body = json!({"sha": "../../../../tmp", "siblings": []}).to_string();
        answer("200 OK", "", body.as_bytes())
    });
    assert!(error.contains("names no commit"), "{error}");
}
