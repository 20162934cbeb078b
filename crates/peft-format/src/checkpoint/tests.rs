use std::collections::HashMap;
use std::fs;

use safetensors::tensor::TensorView as Official;

use super::*;

fn file(tensors: &[(&str, f32)]) -> Vec<u8> {
    let bytes: Vec<_> = tensors.iter().map(|(_, v)| v.to_le_bytes()).collect();
    let views = tensors.iter().zip(&bytes).map(|((name, _), b)| {
        (
            name.to_string(),
            Official::new(Dtype::F32, vec![1], b).unwrap(),
        )
    });
    safetensors::serialize(views, Some(HashMap::from([("format".into(), "pt".into())]))).unwrap()
}

fn folder(files: &[(&str, &[u8])]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, bytes) in files {
        fs::write(dir.path().join(name), bytes).unwrap();
    }
    dir
}

fn error(files: &[(&str, &[u8])]) -> String {
    Checkpoint::open(folder(files).path())
        .unwrap_err()
        .to_string()
}

#[test]
fn one_file_and_its_folder() {
    let dir = folder(&[
        ("model.safetensors", &file(&[("b", 2.0), ("a", 1.0)])),
        ("config.json", b"{}"),
    ]);
    for path in [dir.path().to_owned(), dir.path().join("model.safetensors")] {
        let model = Checkpoint::open(&path).unwrap();
        assert_eq!(model.names().collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(model.to_f32("b").unwrap(), [2.0]);
        assert_eq!(
            model.info("a"),
            Some(TensorInfo {
                dtype: Dtype::F32,
                shape: vec![1]
            })
        );
        assert_eq!(model.metadata()["format"], "pt");
        assert_eq!(model.config_path(), Some(&*dir.path().join("config.json")));
        assert_eq!(model.files().count(), 1);
        assert!(model.contains("a") && !model.contains("c") && model.info("c").is_none());
    }
}

#[test]
fn missing_tensors_suggest_names() {
    let dir = folder(&[(
        "model-00001-of-00001.safetensors",
        &file(&[("layer.query", 1.0)]),
    )]);
    let model = Checkpoint::open(dir.path()).unwrap();
    let message = model.view("layer.qurey").unwrap_err().to_string();
    assert!(message.contains("`layer.query`"), "{message}");
}

#[test]
fn shards_follow_the_index() {
    let (one, two) = (file(&[("a", 1.0)]), file(&[("b", 2.0), ("extra", 3.0)]));
    let index = br#"{"metadata":{},"weight_map":{"a":"1.safetensors","b":"2.safetensors"}}"#;
    let dir = folder(&[
        ("1.safetensors", &one),
        ("2.safetensors", &two),
        ("model.safetensors.index.json", index),
    ]);
    let model = Checkpoint::open(dir.path()).unwrap();
    assert_eq!(model.names().collect::<Vec<_>>(), ["a", "b", "extra"]);
    assert_eq!(model.to_f32("b").unwrap(), [2.0]);
    assert_eq!(
        model.file_of("a").unwrap(),
        dir.path().join("1.safetensors")
    );
    assert!(Checkpoint::open(&dir.path().join("model.safetensors.index.json")).is_ok());
}

#[test]
fn what_the_index_lists_and_no_shard_has_is_missed_when_it_is_asked_for() {
    let a = file(&[("embeddings", 1.0)]);
    let index = br#"{"weight_map":{"embeddings":"1.safetensors","decoder":"1.safetensors"}}"#;
    let dir = folder(&[
        ("1.safetensors", &a),
        ("model.safetensors.index.json", index),
    ]);
    let model = Checkpoint::open(dir.path()).unwrap();
    assert_eq!(model.names().collect::<Vec<_>>(), ["embeddings"]);
    let error = model.to_f32("decoder").unwrap_err().to_string();
    assert!(error.contains("no tensor `decoder`"), "{error}");
}

#[test]
fn wrapped_names_are_plain_names() {
    let wrapped = file(&[("_orig_mod.a", 1.0), ("_orig_mod.b._orig_mod.c", 2.0)]);
    let index = br#"{"weight_map":{"_orig_mod.a":"1.safetensors"}}"#;
    let dir = folder(&[
        ("1.safetensors", &wrapped),
        ("model.safetensors.index.json", index),
    ]);
    let model = Checkpoint::open(dir.path()).unwrap();
    assert_eq!(model.names().collect::<Vec<_>>(), ["a", "b.c"]);
    assert_eq!(model.to_f32("b.c").unwrap(), [2.0]);
    assert_eq!(model.view("a").unwrap().shape, [1]);
    assert!(!model.contains("_orig_mod.a"));
}

#[test]
fn pointers_of_git_lfs_are_called_so() {
    let pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n";
    for name in [
        "model.safetensors",
        "pytorch_model.bin",
        "model.safetensors.index.json",
    ] {
        let error = error(&[(name, pointer)]);
        assert!(error.contains("Git LFS pointer"), "{name}: {error}");
    }
}

#[test]
fn bad_indices_are_refused() {
    let (a, b) = (file(&[("a", 1.0)]), file(&[("b", 2.0)]));
    let with = |index: &str| {
        error(&[
            ("1.safetensors", &a),
            ("2.safetensors", &b),
            ("model.safetensors.index.json", index.as_bytes()),
        ])
    };
    let swapped = with(r#"{"weight_map":{"a":"2.safetensors","b":"1.safetensors"}}"#);
    assert!(swapped.contains("but it is in"), "{swapped}");
    let missing = with(r#"{"weight_map":{"a":"3.safetensors"}}"#);
    assert!(missing.contains("3.safetensors"), "{missing}");
    let escape = with(r#"{"weight_map":{"a":"../1.safetensors"}}"#);
    assert!(escape.contains("plain file name"), "{escape}");
    for bad in [
        "{}",
        r#"{"weight_map":{}}"#,
        r#"{"weight_map":{"a":1}}"#,
        "[",
        "[]",
    ] {
        assert!(with(bad).contains("index.json"), "{bad}");
    }
}

#[test]
fn a_tensor_in_two_shards_is_refused() {
    let a = file(&[("a", 1.0)]);
    let both = file(&[("a", 1.0), ("b", 2.0)]);
    let index = br#"{"weight_map":{"a":"1.safetensors","b":"2.safetensors"}}"#;
    let message = error(&[
        ("1.safetensors", &a),
        ("2.safetensors", &both),
        ("model.safetensors.index.json", index),
    ]);
    assert!(message.contains("also in"), "{message}");
}

#[test]
fn safetensors_go_before_pytorch_files() {
    let dir = folder(&[
        ("model.safetensors", &file(&[("a", 1.0)])),
        ("pytorch_model.bin", b"never looked at"),
    ]);
    assert!(Checkpoint::open(dir.path()).unwrap().contains("a"));
    fs::remove_file(dir.path().join("model.safetensors")).unwrap();
    let message = Checkpoint::open(dir.path()).unwrap_err().to_string();
    assert!(message.contains("pytorch_model.bin"), "{message}");
    assert!(message.contains("neither a zip archive"), "{message}");
}

#[test]
fn folders_without_safetensors_say_what_to_do() {
    assert!(error(&[("weights.pth", b"x")]).contains("weights.pth"));
    assert!(error(&[("adapter_model.bin", b"x")]).contains("adapter folder"));
    assert!(error(&[("adapter_model.safetensors", b"x")]).contains("adapter folder"));
    assert!(error(&[("model-00001-of-00002.safetensors", b"x")]).contains("index"));
    assert!(error(&[("other.safetensors", b"x")]).contains("other.safetensors"));
    assert!(error(&[]).contains("model.safetensors"));
    let gone = Checkpoint::open(Path::new("/nowhere/model"))
        .unwrap_err()
        .to_string();
    assert!(gone.contains("/nowhere/model"), "{gone}");
}
