//! PyTorch files: agreement with `torch.load`, and what happens to damaged and malicious ones.

mod build;
mod fuzz;
mod goldens;
mod pickles;
mod zips;

use std::fs;
use std::path::{Path, PathBuf};

use peft_format::Checkpoint;

const NAME: &str = "pytorch_model.bin";

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/goldens/torch_bin")
        .join(name)
}

fn read(name: &str) -> Vec<u8> {
    fs::read(golden(name)).unwrap()
}

/// Opens the bytes as a file in `dir` and reads all there is.
fn open(dir: &Path, bytes: &[u8]) -> Result<usize, String> {
    let path = dir.join(NAME);
    // A file that is truncated and written again is flushed to the disk by some file systems.
    let _ = fs::remove_file(&path);
    fs::write(&path, bytes).unwrap();
    let model = Checkpoint::open(&path).map_err(|e| e.to_string())?;
    for name in model.names() {
        let info = model.info(name).unwrap();
        assert_eq!(Some(model.bytes(name).unwrap().len()), info.byte_len());
        let view = model.view(name).unwrap();
        assert_eq!(*view.bytes, *model.bytes(name).unwrap());
        assert_eq!(view.bytes.len(), view.elements() * view.dtype.bitsize() / 8);
        let _ = model.to_f32(name);
    }
    Ok(model.len())
}

fn accepted(bytes: &[u8]) -> usize {
    open(tempfile::tempdir().unwrap().path(), bytes).unwrap()
}

/// The message with which the bytes are refused; it has to name the file and to contain `clue`.
fn refused(clue: &str, bytes: &[u8]) -> String {
    let message = open(tempfile::tempdir().unwrap().path(), bytes).expect_err(clue);
    assert!(message.contains(NAME), "{message}");
    assert!(message.contains(clue), "expected `{clue}` in: {message}");
    assert!(message.len() < 1200, "{} characters", message.len());
    message
}
