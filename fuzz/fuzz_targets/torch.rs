//! Whatever a file of this kind says, its tensors are read or refused.
#![no_main]

use std::io::Write;

use libfuzzer_sys::fuzz_target;
use peft_format::Checkpoint;

fuzz_target!(|bytes: &[u8]| {
    let mut file = tempfile::Builder::new().suffix(".bin").tempfile().expect("a temporary file");
    file.write_all(bytes).expect("room for it");
    let Ok(checkpoint) = Checkpoint::open(file.path()) else {
        return;
    };
    for name in checkpoint.names() {
        if checkpoint.info(name).is_some_and(|info| info.shape.iter().product::<usize>() < 1 << 20) {
            let _ = checkpoint.to_f32(name);
        }
    }
});
