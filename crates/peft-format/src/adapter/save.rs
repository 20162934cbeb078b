//! Saving an adapter folder.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;

use indexmap::IndexMap;

use super::WEIGHTS_NAME;
use super::file::{pt_metadata, write_tensors};
use crate::HostTensor;
use crate::atomic::{AtomicDir, temporary, write_atomic_bytes};
use crate::config::{AdapterConfig, CONFIG_NAME};
use crate::error::{FormatError, Result};
use crate::writer::{TensorSpec, file_size};

/// Writes `adapter_config.json` and `adapter_model.safetensors`, and nothing else.
///
/// A folder that is new, or that holds just these two files, is replaced as a whole, see
/// [`AtomicDir`]. In a folder with other things in it, which stay, the two files are replaced one
/// by one: if the configuration is unchanged by one rename; otherwise the old configuration goes
/// first and the new one comes last, so that a crash never leaves weights beside a configuration
/// that does not describe them.
///
/// # Errors
/// [`FormatError::Write`] if bytes and shape of a tensor disagree, [`FormatError::Io`].
pub fn save_adapter(
    folder: &Path,
    config: &AdapterConfig,
    tensors: &IndexMap<String, HostTensor>,
) -> Result<()> {
    let write = |path: &Path| write_tensors(path, tensors, &pt_metadata());
    if holds_only_an_adapter(folder)? {
        let dir = AtomicDir::create(folder)?;
        write(&dir.path().join(WEIGHTS_NAME))?;
        config.write(dir.path())?;
        return dir.commit();
    }
    let text = config.write_to_string();
    let config_path = folder.join(CONFIG_NAME);
    let unchanged = fs::read(&config_path).is_ok_and(|old| old == text.as_bytes());
    if unchanged {
        return write(&folder.join(WEIGHTS_NAME));
    }
    // Everything that can fail for want of space happens before the old configuration goes.
    let fresh = temporary(&folder.join(WEIGHTS_NAME))?;
    write(&fresh)?;
    match fs::remove_file(&config_path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            let _ = fs::remove_file(&fresh); // the first error is the one to tell
            return Err(FormatError::io("replace", &config_path)(e));
        }
        _ => {}
    }
    fs::rename(&fresh, folder.join(WEIGHTS_NAME)).map_err(FormatError::io("write", folder))?;
    write_atomic_bytes(&config_path, text.as_bytes())
}

/// Size in bytes of the weight file that [`save_adapter`] would write of these tensors.
///
/// # Errors
/// [`FormatError::Write`] for names or shapes that no file holds.
pub fn adapter_size(tensors: Vec<TensorSpec>) -> Result<u64> {
    file_size(tensors, &pt_metadata())
}

/// True for a folder that is missing or holds nothing but the two files.
fn holds_only_an_adapter(folder: &Path) -> Result<bool> {
    if folder.file_name().is_none() {
        return Ok(false); // `.` and the like cannot be renamed
    }
    AtomicDir::recover(folder)?;
    if !folder.exists() {
        return Ok(true);
    }
    if !folder.is_dir() || folder.is_symlink() {
        // A link is written through, not replaced; a file is refused further down.
        return Ok(folder.is_file());
    }
    for entry in fs::read_dir(folder).map_err(FormatError::io("list", folder))? {
        let entry = entry.map_err(FormatError::io("list", folder))?;
        if ![CONFIG_NAME, WEIGHTS_NAME]
            .map(OsStr::new)
            .contains(&&*entry.file_name())
        {
            return Ok(false);
        }
    }
    Ok(true)
}
