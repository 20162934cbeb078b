//! Single files out of archives. Only entries named in our code are read, into memory and up to a
//! limit: what an archive says about paths, links and sizes never reaches the disk.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use crate::HubError;

/// The largest file that is expected is a model of 98 MB.
const LIMIT: u64 = 200 << 20;

/// One file of a zip archive.
///
/// # Errors
/// If the archive cannot be read, lacks the file, or the file is damaged or too large.
pub fn from_zip(archive: &Path, name: &str) -> Result<Vec<u8>, HubError> {
    let fault = |problem: String| HubError::Archive {
        archive: archive.display().to_string(),
        problem,
    };
    let file = File::open(archive).map_err(HubError::io("read", archive))?;
    let mut zip =
        zip::ZipArchive::new(file).map_err(|error| fault(format!("no zip archive ({error})")))?;
    let entry = zip
        .by_name(name)
        .map_err(|error| fault(format!("no {name} in it ({error})")))?;
    read_limited(entry, name).map_err(fault)
}

/// All bytes of an entry of an archive, up to 200 MiB.
///
/// # Errors
/// What is wrong with the entry, in words.
pub fn read_limited(reader: impl Read, name: &str) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    reader
        .take(LIMIT + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| format!("{name} is damaged ({error})"))?;
    if bytes.len() as u64 > LIMIT {
        return Err(format!("{name} is larger than {LIMIT} bytes"));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn reads_what_is_named_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.zip");
        let mut zip = zip::ZipWriter::new(File::create(&path).unwrap());
        let options = zip::write::SimpleFileOptions::default();
        for name in ["../../escape", "good"] {
            zip.start_file(name, options).unwrap();
            zip.write_all(name.as_bytes()).unwrap();
        }
        zip.finish().unwrap();
        assert_eq!(from_zip(&path, "good").unwrap(), b"good");
        let error = from_zip(&path, "missing").unwrap_err().to_string();
        assert!(error.contains("no missing in it"), "{error}");
        std::fs::write(&path, "not a zip").unwrap();
        let error = from_zip(&path, "good").unwrap_err().to_string();
        assert!(error.contains("no zip archive"), "{error}");
        // The archive is all that is there.
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn stops_at_the_limit() {
        let error = read_limited(std::io::repeat(0), "endless").unwrap_err();
        assert!(error.contains("larger than"), "{error}");
    }
}
