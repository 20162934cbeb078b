//! Agreement with PyTorch, by files that `xtask/python/mint_torch_bin.py` wrote with it.

use std::fs;
use std::path::{Path, PathBuf};

use peft_format::adapter::TORCH_WEIGHTS_NAME;
use peft_format::{AdapterFile, Checkpoint, SafetensorsWriter, TensorSpec};

use super::{NAME, golden, read, refused};

/// Every tensor of `expected` in `found`, bit by bit, through every way of reading.
fn assert_same(found: &Checkpoint, expected: &Checkpoint) {
    assert!(found.names().eq(expected.names()));
    for name in expected.names() {
        let want = expected.view(name).unwrap();
        assert_eq!(found.info(name), expected.info(name), "{name}");
        assert_eq!(*found.bytes(name).unwrap(), *want.bytes, "{name}");
        if let Some(floats) = want.to_f32() {
            let bits = |values: Vec<f32>| values.into_iter().map(f32::to_bits).collect::<Vec<_>>();
            assert_eq!(bits(found.to_f32(name).unwrap()), bits(floats), "{name}");
        }
        let view = found.view(name).unwrap();
        assert_eq!((view.dtype, view.shape), (want.dtype, want.shape), "{name}");
        assert_eq!(view.bytes, want.bytes, "{name}");
        // Once borrowed, a gathered tensor is kept.
        assert_eq!(*found.bytes(name).unwrap(), *want.bytes, "{name}");
    }
}

#[test]
fn both_formats_hold_what_torch_load_finds() {
    let expected = Checkpoint::open(&golden("expected.safetensors")).unwrap();
    assert!(expected.len() > 20);
    for name in ["zip.bin", "legacy.bin", "wrapped.bin"] {
        let found = Checkpoint::open(&golden(name)).unwrap();
        assert_same(&found, &expected);
        assert_eq!(found.metadata()["format"], "pt");
        assert_eq!(found.files().collect::<Vec<_>>(), [golden(name)]);
        let message = found.view("paramter").unwrap_err().to_string();
        assert!(message.contains("`parameter`"), "{message}");
    }
}

#[test]
fn any_name_will_do_if_the_bytes_are_pytorchs() {
    let dir = tempfile::tempdir().unwrap();
    for (from, to) in [("zip.bin", "weights"), ("legacy.bin", "albert.ckpt")] {
        fs::copy(golden(from), dir.path().join(to)).unwrap();
        assert!(Checkpoint::open(&dir.path().join(to)).unwrap().len() > 20);
    }
    // A safetensors file starts with its header's length, which may look like a pickle's first byte.
    let header = [&0x80u64.to_le_bytes()[..], b"{", &[b' '; 126], b"}"].concat();
    let path = dir.path().join("blob");
    fs::write(&path, header).unwrap();
    assert!(Checkpoint::open(&path).unwrap().is_empty());
    fs::copy(golden("zip.bin"), dir.path().join("x.safetensors")).unwrap();
    assert!(Checkpoint::open(&dir.path().join("x.safetensors")).is_err());
}

#[test]
fn storage_views_of_old_files() {
    let found = Checkpoint::open(&golden("view.bin")).unwrap();
    assert_eq!(found.to_f32("part").unwrap(), [2.0, 3.0, 4.0, 5.0]);
}

#[test]
fn contiguous_tensors_are_not_copied() {
    use std::borrow::Cow::{Borrowed, Owned};
    for file in ["zip.bin", "legacy.bin"] {
        let found = Checkpoint::open(&golden(file)).unwrap();
        let borrowed = |name| matches!(found.bytes(name).unwrap(), Borrowed(_));
        assert!(
            ["f32", "tied", "rows", "position_ids", "scalar", "empty"].map(borrowed) == [true; 6]
        );
        assert!(matches!(found.bytes("transposed").unwrap(), Owned(_)));
        let (base, tied) = (found.view("f32").unwrap(), found.view("tied").unwrap());
        assert_eq!(base.bytes.as_ptr(), tied.bytes.as_ptr());
    }
}

#[test]
fn shards_of_either_format() {
    let expected = Checkpoint::open(&golden("expected.safetensors")).unwrap();
    for path in [
        golden("sharded"),
        golden("sharded/pytorch_model.bin.index.json"),
    ] {
        let found = Checkpoint::open(&path).unwrap();
        assert_eq!(
            found.names().collect::<Vec<_>>(),
            ["f32", "i64", "tied", "transposed"]
        );
        for name in found.names() {
            assert_eq!(*found.bytes(name).unwrap(), *expected.bytes(name).unwrap());
        }
        assert!(
            found
                .file_of("i64")
                .unwrap()
                .ends_with("pytorch_model-00002-of-00002.bin")
        );
    }
}

#[test]
fn adapters_are_read_and_written_back_as_safetensors() {
    let adapter = AdapterFile::read(&golden("adapter")).unwrap();
    assert!(adapter.path().ends_with(TORCH_WEIGHTS_NAME));
    let keys = ["A", "B"].map(|n| format!("base_model.model.l.q.lora_{n}.weight"));
    assert!(adapter.tensors.keys().eq(&keys));
    assert_eq!(adapter.tensors[1].shape, [6, 5]);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("adapter_model.safetensors");
    adapter.write(&path).unwrap();
    let again = AdapterFile::read(dir.path()).unwrap();
    assert_eq!(
        (again.tensors, again.metadata),
        (adapter.tensors, adapter.metadata)
    );
    // Where there are both, safetensors go first.
    fs::copy(
        golden("adapter/adapter_model.bin"),
        dir.path().join(TORCH_WEIGHTS_NAME),
    )
    .unwrap();
    assert_eq!(AdapterFile::read(dir.path()).unwrap().path(), path);
}

#[test]
fn what_is_not_read_says_why() {
    let message = refused("deflate", &read("compressed.bin"));
    assert!(message.contains("`archive/byteorder`"), "{message}");
    refused("big-endian", &read("big.bin"));
    refused("neither a zip archive nor a pickle", b"weights");
    refused(
        "git lfs pull",
        b"version https://git-lfs.github.com/spec/v1\noid sha256:0",
    );
    refused("magic number", b"\x80\x02}.");
    refused("empty", b"");
}

/// With PEFT_FORMAT_TORCH_FILES=DIR, every DIR/X.bin against DIR/X.safetensors.
#[test]
fn real_files_agree_where_there_are_any() {
    let Some(folder) = std::env::var_os("PEFT_FORMAT_TORCH_FILES").map(PathBuf::from) else {
        return;
    };
    let files = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let files: Vec<_> = files
        .filter(|f| f.extension().is_some_and(|e| e == "bin"))
        .collect();
    assert!(!files.is_empty());
    for file in files {
        let started = std::time::Instant::now();
        let found = Checkpoint::open(&file).unwrap();
        let opened = started.elapsed();
        assert_same(
            &found,
            &Checkpoint::open(&file.with_extension("safetensors")).unwrap(),
        );
        println!(
            "{}: {} tensors agree, opened in {opened:?}",
            file.display(),
            found.len()
        );
    }
}

/// What merging does: every tensor of a PyTorch checkpoint into a safetensors file.
#[test]
fn a_checkpoint_is_written_as_safetensors() {
    let dir = tempfile::tempdir().unwrap();
    fs::copy(golden("zip.bin"), dir.path().join(NAME)).unwrap();
    let found = Checkpoint::open(dir.path()).unwrap();
    let specs = found.names().map(|name| {
        let info = found.info(name).unwrap();
        TensorSpec::new(name, info.dtype, info.shape)
    });
    let path: &Path = &dir.path().join("model.safetensors");
    let mut writer = SafetensorsWriter::create(path, specs.collect(), &found.metadata()).unwrap();
    let order: Vec<String> = writer.order().map(|spec| spec.name.clone()).collect();
    for name in order {
        writer.write(&name, &found.bytes(&name).unwrap()).unwrap();
    }
    writer.finish().unwrap();
    assert_same(&found, &Checkpoint::open(path).unwrap());
}
