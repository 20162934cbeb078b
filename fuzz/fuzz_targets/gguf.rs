//! Whatever a GGUF file says, it is read or refused: metadata, tensors under Hugging Face's names, blocks, tokenizer.
#![no_main]

use std::io::Write;

use libfuzzer_sys::fuzz_target;
use peft_format::{Checkpoint, gguf};

fuzz_target!(|bytes: &[u8]| {
    let mut file = tempfile::Builder::new().suffix(".gguf").tempfile().expect("a temporary file");
    file.write_all(bytes).expect("room for it");
    let Ok(checkpoint) = Checkpoint::open(file.path()) else {
        return;
    };
    let _ = checkpoint.config();
    for name in checkpoint.names() {
        let _ = (checkpoint.info(name), checkpoint.kind(name), checkpoint.stored_as(name));
        // Names and shapes of a small file may promise more than there is memory.
        if checkpoint.info(name).is_some_and(|info| info.shape.iter().product::<usize>() < 1 << 20) {
            let _ = checkpoint.to_f32(name);
        }
    }
    if let Some(model) = checkpoint.gguf() {
        let _ = gguf::tokenizer::read(model.file());
    }
});
