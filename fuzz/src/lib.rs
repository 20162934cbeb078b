//! What the targets share.

use std::io::Write;

use peft_format::Checkpoint;

/// Opens bytes as a checkpoint of a kind of file, and reads what fits into memory of its tensors; gives it back if it was
/// one.
pub fn read(bytes: &[u8], suffix: &str, tensor: impl Fn(&Checkpoint, &str)) -> Option<Checkpoint> {
    let mut file = tempfile::Builder::new()
        .suffix(suffix)
        .tempfile()
        .expect("a temporary file");
    file.write_all(bytes).expect("room for it");
    let checkpoint = Checkpoint::open(file.path()).ok()?;
    for name in checkpoint.names() {
        tensor(&checkpoint, name);
        // Names and shapes of a small file may promise more than there is memory.
        let values = checkpoint.info(name).map(|info| info.shape.iter().product::<usize>());
        if values.is_some_and(|values| values < 1 << 20) {
            let _ = checkpoint.to_f32(name);
        }
    }
    Some(checkpoint)
}
