use std::fs;
use std::io::Read;
use std::path::PathBuf;

use peft_format::atomic::write_atomic_bytes;

use super::client::{Client, remote};
use super::listing::Listing;
use super::{HubCache, RepoId, transfer};
use crate::HubError;

/// What the list of a model's files may be.
const LISTING_LIMIT: u64 = 16 << 20;

/// Brings a model into our own cache and tells its folder, with configuration, tokenizer and weights, or its GGUF file.
///
/// Files appear in full or not at all, and the revision leads to its folder only when all are there. What
/// is there already is not fetched again. `tell` hears what is fetched.
///
/// # Errors
/// If the hub does not answer, refuses, or serves other files than it lists.
pub fn download(
    client: &Client,
    id: &RepoId,
    cache: &HubCache,
    tell: &dyn Fn(&str),
) -> Result<PathBuf, HubError> {
    let model = id.name();
    let address = client.url(&format!(
        "api/models/{model}/revision/{}?blobs=true",
        id.revision()
    ));
    let mut answer = client.get(&address, 0, false)?;
    if !answer.status().is_success() {
        return Err(client.refusal(&address, answer.status().as_u16(), &model));
    }
    let mut text = String::new();
    answer
        .body_mut()
        .as_reader()
        .take(LISTING_LIMIT)
        .read_to_string(&mut text)
        .map_err(|error| remote(&address, format!("the list of files broke off ({error})")))?;
    let fault = |problem: String| remote(&address, problem);
    let listing = Listing::parse(&text).map_err(fault)?;
    let mut wanted = listing.wanted(id.gguf()).map_err(fault)?;

    let folder = cache.own().join(id.folder());
    let snapshot = folder.join("snapshots").join(&listing.sha);
    fs::create_dir_all(&snapshot).map_err(HubError::io("create", &snapshot))?;
    let mut next = 0;
    while next < wanted.len() {
        let entry = &wanted[next];
        let target = snapshot.join(&entry.name);
        if !target.exists() {
            let megabytes = entry.size as f64 / 1e6;
            tell(&format!(
                "fetching {model}: {} ({megabytes:.1} MB)",
                entry.name
            ));
        }
        let url = client.url(&format!("{model}/resolve/{}/{}", listing.sha, entry.name));
        transfer::fetch(client, &url, entry, &model, &target)?;
        if entry.name.ends_with(".index.json") {
            let index = fs::read_to_string(&target).map_err(HubError::io("read", &target))?;
            let shards = listing.shards(&index).map_err(fault)?;
            wanted.extend(shards);
        }
        next += 1;
    }
    let refs = folder.join("refs");
    fs::create_dir_all(&refs).map_err(HubError::io("create", &refs))?;
    write_atomic_bytes(&refs.join(id.revision()), listing.sha.as_bytes())?;
    Ok(match wanted.as_slice() {
        [entry] if entry.name.ends_with(".gguf") => snapshot.join(&entry.name),
        _ => snapshot,
    })
}
