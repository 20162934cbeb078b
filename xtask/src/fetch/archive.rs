//! Single files out of gzip-compressed tar archives, as [`peft_hub::from_zip`] takes them out of zips.

use std::io::Read;

use anyhow::{Context, Result, bail};
use flate2::read::GzDecoder;
use peft_hub::read_limited;

/// What a whole archive may unpack to.
const LIMIT: u64 = 200 << 20;

/// One file of a gzip-compressed tar archive.
pub fn from_tar_gz(archive: impl Read, name: &str) -> Result<Vec<u8>> {
    let mut tar = tar::Archive::new(GzDecoder::new(archive).take(LIMIT));
    for entry in tar.entries().context("not a tar archive")? {
        let entry = entry.context("the tar archive is damaged or too large")?;
        if entry.path_bytes() == name.as_bytes() {
            return read_limited(entry, name).map_err(anyhow::Error::msg);
        }
    }
    bail!("the archive has no {name}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_what_is_no_archive_or_lacks_the_file() {
        assert!(from_tar_gz(&b"not a tar"[..], "a").is_err());
        let empty = tar::Builder::new(Vec::new()).into_inner().unwrap();
        let mut packed = Vec::new();
        flate2::read::GzEncoder::new(empty.as_slice(), flate2::Compression::fast())
            .read_to_end(&mut packed)
            .unwrap();
        assert_eq!(
            from_tar_gz(packed.as_slice(), "a").unwrap_err().to_string(),
            "the archive has no a"
        );
    }
}
