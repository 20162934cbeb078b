//! Where predictions are written.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use peft_run::core::format::atomic::write_atomic;

/// Longest beginning of a file that is looked at.
const HEAD: u64 = 1 << 16;

/// A place that may be written to.
pub enum Place {
    /// A file that appears, or is replaced, as a whole.
    File(PathBuf),
    /// A device or a pipe, which takes what is written to it.
    Stream(PathBuf),
}

impl Place {
    /// Refuses a file that holds something: the data, or what `peft predict` did not write, in any case;
    /// predictions, unless they may be replaced.
    pub fn find(path: &Path, data: &Path, overwrite: bool) -> Result<Self> {
        let shown = path.display();
        let metadata = match path.metadata() {
            Ok(metadata) => metadata,
            Err(_) if path.symlink_metadata().is_err() => return Ok(Self::File(path.to_owned())),
            Err(error) => return Err(error).with_context(|| format!("--output {shown}")),
        };
        if metadata.is_dir() {
            bail!("--output {shown}: it is a folder; give the path of a file");
        }
        if !metadata.is_file() {
            return Ok(Self::Stream(path.to_owned()));
        }
        // A link means what it leads to.
        let target = std::fs::canonicalize(path).with_context(|| format!("--output {shown}"))?;
        if std::fs::canonicalize(data).is_ok_and(|data| is_same(&data, &target)) {
            bail!("--output {shown}: it is the file of --data; choose another file");
        }
        match (metadata.len(), overwrite) {
            (0, _) => Ok(Self::File(target)),
            _ if !are_predictions(&target) => bail!(
                "--output {shown}: it holds something else than predictions, which would be replaced; \
                 choose another file"
            ),
            (_, false) => bail!(
                "--output {shown}: it holds predictions; add --overwrite to replace them, or choose \
                 another file"
            ),
            (_, true) => Ok(Self::File(target)),
        }
    }

    /// Writes with `fill`, in a folder that need not be there; a file is there as a whole or not at all.
    pub fn write(&self, fill: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<()> {
        let (Self::File(path) | Self::Stream(path)) = self;
        let written = match self {
            Self::File(path) => path
                .parent()
                .map_or(Ok(()), std::fs::create_dir_all)
                .map_err(anyhow::Error::from)
                .and_then(|()| Ok(write_atomic(path, fill)?)),
            Self::Stream(path) => {
                let open = OpenOptions::new().write(true).open(path);
                let stream = open.and_then(|stream| fill(&mut BufWriter::new(stream)));
                stream.map_err(anyhow::Error::from)
            }
        };
        written.with_context(|| format!("writing {}", path.display()))
    }
}

/// Whether two paths are one file, if under two names.
fn is_same(one: &Path, other: &Path) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        let place = |path: &Path| path.metadata().map(|file| (file.dev(), file.ino())).ok();
        place(one).is_some() && place(one) == place(other)
    }
    #[cfg(not(unix))]
    {
        one == other
    }
}

/// Whether a file begins with a line that `peft predict` writes.
fn are_predictions(path: &Path) -> bool {
    let mut line = String::new();
    let file = File::open(path).map(|file| BufReader::new(file.take(HEAD)));
    let read = file.and_then(|mut file| file.read_line(&mut line));
    let parsed = serde_json::from_str::<serde_json::Value>(&line);
    let object = parsed.is_ok_and(|value| value.get("index").is_some_and(|i| i.is_u64()));
    // The header of csv.
    let heads = line.trim_end().split(',').collect::<Vec<_>>();
    let table = matches!(
        heads[..],
        [
            "index",
            "id" | "label" | "labels" | "value" | "tags" | "tokens",
            ..
        ]
    );
    read.is_ok() && (object || table)
}
