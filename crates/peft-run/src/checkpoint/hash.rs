//! sha256, in lower-case hexadecimal.

use std::{
    fs::File,
    io::{self, Read},
    path::Path,
};

use sha2::{Digest, Sha256};

/// Of some bytes, one after another.
pub fn bytes<'a>(parts: impl Iterator<Item = &'a [u8]>) -> String {
    let mut digest = Sha256::new();
    parts.for_each(|part| digest.update(part));
    hex(&digest.finalize())
}

/// Of all of a file; its length comes first.
pub fn file(path: &Path) -> io::Result<(u64, String)> {
    let mut digest = Sha256::new();
    let length = feed(&mut digest, &mut File::open(path)?)?;
    Ok((length, hex(&digest.finalize())))
}

fn feed(digest: &mut Sha256, source: &mut dyn Read) -> io::Result<u64> {
    let (mut buffer, mut length) = (vec![0; 1 << 16], 0);
    loop {
        match source.read(&mut buffer) {
            Ok(0) => return Ok(length),
            Ok(count) => {
                digest.update(&buffer[..count]);
                length += count as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_byte_shows() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        std::fs::write(&path, b"").unwrap();
        assert_eq!(file(&path).unwrap(), (0, empty.to_owned()));
        let mut content: Vec<u8> = (0..200_000u32).map(|i| i as u8).collect();
        std::fs::write(&path, &content).unwrap();
        let before = file(&path).unwrap();
        assert_eq!(before.1, bytes(content.chunks(7)));
        content[50_003] ^= 1;
        std::fs::write(&path, &content).unwrap();
        assert_ne!(file(&path).unwrap(), before);
        assert!(file(&dir.path().join("b")).is_err());
    }
}
