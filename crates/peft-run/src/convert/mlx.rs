//! Adapters of MLX-LM.

use std::{collections::BTreeMap, path::Path};

use peft_format::mlx::{MlxAdapter, MlxModule};
use peft_models::ModelConfig;

use super::{Conversion, Factors, error};
use crate::RunError;

/// Write the folder's files; the error of each module.
pub fn write(
    conversion: &Conversion,
    all: &[Factors],
    folder: &Path,
) -> Result<BTreeMap<String, f64>, RunError> {
    let config = conversion.folder.config();
    let blocks = match config {
        ModelConfig::Decoder(config) => config.layers,
        ModelConfig::Mamba(config) => config.layers,
        ModelConfig::Encoder(_) => {
            let kind = config.model_type();
            return Err(RunError::setting(
                "`to`",
                format!(
                    "MLX-LM has no model of the kind `{kind}`: it is for models that generate text"
                ),
                "convert to lora, which Hugging Face PEFT loads",
            ));
        }
    };
    conversion.expect_factors_alone(
        "adapters of MLX-LM",
        "turn the merged folder into MLX's form with `mlx_lm.convert`",
    )?;
    conversion.expect_matrices(
        all,
        "adapters of MLX-LM",
        "turn the merged folder into MLX's form with `mlx_lm.convert`",
    )?;
    let modules = all.iter().map(|factors| {
        let module = MlxModule {
            pair: factors.pair(),
            lengths: factors.lengths.clone(),
        };
        (factors.module.clone(), module)
    });
    let from = &conversion.loaded.config;
    let dropout = from.fields().get("lora_dropout");
    MlxAdapter {
        blocks,
        base_model: from.base_model_name_or_path().map(str::to_owned),
        dropout: dropout.and_then(serde_json::Value::as_f64).unwrap_or(0.0),
        modules: modules.collect(),
    }
    .write(folder)?;
    error::of_folder(conversion, folder)
}
