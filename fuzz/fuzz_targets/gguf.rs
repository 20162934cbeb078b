//! Whatever a GGUF file says, it is read or refused: metadata, tensors under Hugging Face's names, blocks, tokenizer.
#![no_main]

use peft_format::gguf;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let read = peft_fuzz::read(bytes, ".gguf", |checkpoint, name| {
        let _ = (checkpoint.kind(name), checkpoint.stored_as(name));
    });
    if let Some(checkpoint) = read {
        let _ = checkpoint.config();
        if let Some(model) = checkpoint.gguf() {
            let _ = gguf::tokenizer::read(model.file());
        }
    }
});
