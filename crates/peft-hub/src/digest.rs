use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use sha2::{Digest, Sha256};

use crate::HubError;

/// sha256 in lower-case hexadecimal.
pub fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// sha256 of a file, read in pieces; `None` where there is no such file.
///
/// # Errors
/// [`HubError::Io`] if it is there and cannot be read.
pub fn sha256_of(path: &Path) -> Result<Option<String>, HubError> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(HubError::io("read", path)(error)),
    };
    let (mut digest, mut buffer) = (Sha256::new(), vec![0; 1 << 16]);
    loop {
        match file.read(&mut buffer).map_err(HubError::io("read", path))? {
            0 => return Ok(Some(hex(&digest.finalize()))),
            count => digest.update(&buffer[..count]),
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
    fn a_file_has_the_digest_of_its_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("abc");
        assert_eq!(sha256_of(&path).unwrap(), None);
        std::fs::write(&path, "abc").unwrap();
        let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(sha256_of(&path).unwrap().as_deref(), Some(expected));
        assert_eq!(sha256(b"abc"), expected);
        assert!(sha256_of(folder.path()).is_err());
    }
}
