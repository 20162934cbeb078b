//! Hugging Face PEFT's `adapter_config.json`.

mod builder;
mod check;
mod fields;
mod targets;

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

pub use builder::AdapterConfigBuilder;
pub use check::{COMMON_KEYS, peft_has, peft_knows};

use crate::atomic::write_atomic_bytes;
use crate::error::{FormatError, Result};
use crate::gguf;
use crate::json;
use crate::targets::TargetSpec;
use crate::{adapterhub, mlx};

/// Name of the configuration in an adapter folder.
pub const CONFIG_NAME: &str = "adapter_config.json";

/// An adapter configuration: every key of the file in its order, and the common ones understood.
///
/// The fields are private so that the typed part cannot drift from the keys that are written back;
/// change a value with [`set`](Self::set).
#[derive(Debug, Clone, PartialEq)]
pub struct AdapterConfig {
    path: PathBuf,
    fields: Map<String, Value>,
    peft_type: String,
    task_type: Option<String>,
    base_model: Option<String>,
    inference_mode: bool,
    target: TargetSpec,
}

impl AdapterConfig {
    /// Reads `adapter_config.json` from an adapter folder, or the file itself; one of MLX-LM or AdapterHub is given
    /// in PEFT's words, see [`mlx`] and [`adapterhub`].
    ///
    /// # Errors
    /// [`FormatError`] naming the file and the key.
    pub fn read(path: &Path) -> Result<Self> {
        let path = if path.is_dir() {
            path.join(CONFIG_NAME)
        } else if path.is_file() && gguf::locate(path)?.is_some() {
            return Err(FormatError::WrongKind {
                path: path.to_owned(),
                expected: "an adapter folder with `adapter_config.json`",
                found: "it is a GGUF file".into(),
                fix: "give the folder of a PEFT adapter; a GGUF file can be the base model".into(),
            });
        } else {
            path.to_owned()
        };
        let fields = json::read_object::<Value>(&path)?.into_iter().collect();
        if adapterhub::is_config(&fields) {
            return Self::from_fields(&path, adapterhub::config(&path, &fields)?);
        }
        match mlx::is_config(&fields) {
            true => Self::from_fields(&path, mlx::config(&path, &fields)?),
            false => Self::from_fields(&path, fields),
        }
    }

    /// Understands JSON text; `path` appears in errors only.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn parse(path: &Path, text: &str) -> Result<Self> {
        let fields = json::parse_object::<Value>(path, text.as_bytes())?;
        Self::from_fields(path, fields.into_iter().collect())
    }

    /// Understands keys and values; `path` appears in errors only.
    ///
    /// # Errors
    /// [`FormatError::Field`] for a common key of the wrong type, [`FormatError::Target`] for a
    /// pattern that does not compile.
    pub fn from_fields(path: &Path, fields: Map<String, Value>) -> Result<Self> {
        let mut config = Self {
            path: path.to_owned(),
            fields,
            peft_type: String::new(),
            task_type: None,
            base_model: None,
            inference_mode: false,
            target: TargetSpec::new(crate::targets::TargetModules::Unspecified),
        };
        config.understand()?;
        Ok(config)
    }

    /// Starts a minimal configuration, see [`AdapterConfigBuilder`].
    pub fn builder(peft_type: &str) -> AdapterConfigBuilder {
        AdapterConfigBuilder::new(peft_type)
    }

    /// `peft_type` in upper case, such as `LORA`.
    pub fn peft_type(&self) -> &str {
        &self.peft_type
    }

    /// `task_type`, such as `SEQ_CLS`.
    pub fn task_type(&self) -> Option<&str> {
        self.task_type.as_deref()
    }

    /// `base_model_name_or_path`; an empty string counts as none.
    pub fn base_model_name_or_path(&self) -> Option<&str> {
        self.base_model.as_deref()
    }

    /// `inference_mode`.
    pub fn inference_mode(&self) -> bool {
        self.inference_mode
    }

    /// Targets, exclusions, layer filter and `modules_to_save`, compiled once to check them.
    pub fn target(&self) -> &TargetSpec {
        &self.target
    }

    /// `modules_to_save`, empty if the key is null or missing.
    pub fn modules_to_save(&self) -> &[String] {
        &self.target.modules_to_save
    }

    /// Every key as it was read, in file order.
    pub fn fields(&self) -> &Map<String, Value> {
        &self.fields
    }

    /// The file that this was read from; a label for one that was built.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Sets a key, checking the whole again; on an error nothing changes.
    ///
    /// # Errors
    /// As [`from_fields`](Self::from_fields).
    pub fn set(&mut self, key: &str, value: impl Into<Value>) -> Result<()> {
        let mut fields = self.fields.clone();
        fields.insert(key.to_owned(), value.into());
        *self = Self::from_fields(&self.path, fields)?;
        Ok(())
    }

    /// The file's text: all keys in their order, indented by two as PEFT does.
    pub fn write_to_string(&self) -> String {
        // `Value`'s alternate form is `to_string_pretty` without its impossible error.
        format!("{:#}", Value::Object(self.fields.clone()))
    }

    /// Writes `adapter_config.json` into a folder, atomically.
    ///
    /// # Errors
    /// [`FormatError::Io`].
    pub fn write(&self, folder: &Path) -> Result<()> {
        write_atomic_bytes(&folder.join(CONFIG_NAME), self.write_to_string().as_bytes())
    }

    fn understand(&mut self) -> Result<()> {
        match self.opt_string_field("peft_type")? {
            Some(kind) if !kind.is_empty() => self.peft_type = kind.to_ascii_uppercase(),
            _ => {
                return Err(self.field_error("peft_type", "an adapter type such as \"LORA\""));
            }
        }
        self.task_type = self.opt_string_field("task_type")?.map(str::to_owned);
        let base = self.opt_string_field("base_model_name_or_path")?;
        self.base_model = base.filter(|b| !b.is_empty()).map(str::to_owned);
        self.inference_mode = self.opt_bool_field("inference_mode")?.unwrap_or(false);
        self.target = targets::read(self)?;
        self.target.compile()?;
        Ok(())
    }

    pub(crate) fn field_error(&self, key: &str, expected: impl Into<String>) -> FormatError {
        FormatError::Field {
            path: self.path.clone(),
            key: key.to_owned(),
            expected: expected.into(),
            found: self
                .fields
                .get(key)
                .map_or("no such key".into(), check::short_value),
        }
    }
}

#[cfg(test)]
mod tests;
