//! Single files out of zip and tar archives. Only entries named in our code are read, into memory and
//! up to a limit: what an archive says about paths, links and sizes never reaches the disk.

use std::io::{Cursor, Read};

use anyhow::{Context, Result, bail, ensure};
use flate2::read::GzDecoder;

/// The largest file that is expected is the model, 91 MB.
const LIMIT: u64 = 200 << 20;

/// One file of a zip archive.
pub fn from_zip(archive: &[u8], name: &str) -> Result<Vec<u8>> {
    let mut zip = zip::ZipArchive::new(Cursor::new(archive)).context("not a zip archive")?;
    let entry = zip
        .by_name(name)
        .with_context(|| format!("the archive has no {name}"))?;
    read_limited(entry, name)
}

/// One file of a gzip-compressed tar archive.
pub fn from_tar_gz(archive: &[u8], name: &str) -> Result<Vec<u8>> {
    let mut tar = tar::Archive::new(GzDecoder::new(archive).take(LIMIT));
    for entry in tar.entries().context("not a tar archive")? {
        let entry = entry.context("the tar archive is damaged or too large")?;
        if entry.path_bytes() == name.as_bytes() {
            return read_limited(entry, name);
        }
    }
    bail!("the archive has no {name}")
}

fn read_limited(reader: impl Read, name: &str) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    reader
        .take(LIMIT + 1)
        .read_to_end(&mut bytes)
        .with_context(|| format!("{name} is damaged"))?;
    ensure!(
        bytes.len() as u64 <= LIMIT,
        "{name} is larger than {LIMIT} bytes"
    );
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_what_is_no_archive_or_lacks_the_file() {
        assert!(from_zip(b"not a zip", "a").is_err());
        assert!(from_tar_gz(b"not a tar", "a").is_err());
        let empty = tar::Builder::new(Vec::new()).into_inner().unwrap();
        let mut packed = Vec::new();
        flate2::read::GzEncoder::new(empty.as_slice(), flate2::Compression::fast())
            .read_to_end(&mut packed)
            .unwrap();
        assert_eq!(
            from_tar_gz(&packed, "a").unwrap_err().to_string(),
            "the archive has no a"
        );
    }

    #[test]
    fn stops_at_the_limit() {
        let error = read_limited(std::io::repeat(0), "endless").unwrap_err();
        assert!(error.to_string().contains("larger than"));
    }
}
