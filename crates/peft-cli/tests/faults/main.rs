//! Faults that users of other tools reported, tried on this one: what is refused, and with which words.

#[path = "../common/mod.rs"]
mod common;
mod files;
mod heads;
mod messages;
mod outputs;

use std::fs;
use std::path::Path;

use common::done;
use serde_json::Value;

/// Copies the files of a folder.
fn copy(from: &Path, to: &str) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        if entry.path().is_file() {
            fs::copy(entry.path(), Path::new(to).join(entry.file_name())).unwrap();
        }
    }
}

/// Changes a JSON file.
fn edit(path: &str, change: impl Fn(&mut serde_json::Map<String, Value>)) {
    let mut value: Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    change(value.as_object_mut().unwrap());
    fs::write(path, value.to_string()).unwrap();
}

fn train<'a>(model: &'a str, data: &'a str, output: &'a str, flags: &[&'a str]) -> Vec<&'a str> {
    let paths = [
        "train", "--model", model, "--data", data, "--output", output,
    ];
    let quick = ["--steps", "2", "--max-length", "16", "--threads", "1"];
    [&paths[..], &quick, flags].concat()
}

fn predict(model: &str, data: &str, flags: &[&str]) -> Value {
    let out = done(&[&["predict", "--model", model, "--data", data], flags].concat());
    serde_json::from_str(out.lines().next().unwrap()).unwrap()
}
