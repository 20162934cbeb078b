//! Whatever a file of this kind says, its tensors are read or refused.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    peft_fuzz::read(bytes, ".safetensors", |_, _| ());
});
