//! Adapters of llama.cpp.

use std::{collections::BTreeMap, path::Path};

use burn::tensor::{Tensor, TensorData};
use peft_format::{
    GgufLora,
    gguf::{Architecture, HeadCounts},
};
use peft_models::ModelConfig;

use super::{Conversion, Factors, error};
use crate::RunError;

/// The file in the folder.
pub const NAME: &str = "adapter.gguf";

/// Write the file; the error of each module.
pub fn write(
    conversion: &Conversion,
    all: &[Factors],
    folder: &Path,
) -> Result<BTreeMap<String, f64>, RunError> {
    let config = conversion.folder.config();
    let kind = config.model_type();
    let Some(architecture) = Architecture::from_model_type(kind) else {
        let known: Vec<&str> = Architecture::ALL.iter().map(|known| known.name()).collect();
        return Err(RunError::setting(
            "`to`",
            format!("no GGUF adapter is written for a model of the kind `{kind}`"),
            format!(
                "convert to lora, which Hugging Face PEFT loads; architectures with GGUF adapters are {}",
                known.join(", ")
            ),
        ));
    };
    conversion.expect_factors_alone(
        "llama.cpp's adapters",
        "turn the merged folder into a GGUF file with llama.cpp's `convert_hf_to_gguf.py`",
    )?;
    let heads = match config {
        ModelConfig::Decoder(config) => HeadCounts {
            query: config.heads,
            key_value: config.kv_heads,
        },
        _ => HeadCounts {
            query: 0,
            key_value: 0,
        },
    };
    conversion.expect_matrices(
        all,
        "llama.cpp's adapters",
        "turn the merged folder into a GGUF file with llama.cpp's `convert_hf_to_gguf.py`",
    )?;
    let pairs = all.iter();
    let pairs = pairs.map(|factors| (factors.module.clone(), factors.pair()));
    let path = folder.join(NAME);
    let adapter = GgufLora {
        architecture,
        pairs: pairs.collect(),
    };
    adapter.write(&path, heads)?;
    let back = GgufLora::read(&path, heads)?;
    error::measured(conversion, |target| {
        let Some(pair) = back.pairs.get(&target.path) else {
            return Ok(None);
        };
        let (inputs, outputs) = (target.in_features, target.out_features);
        let tensor = |values: &[f32], shape: [usize; 2]| {
            let data = TensorData::new(values.to_vec(), shape);
            let options = (conversion.options.device, target.dtype.into());
            Tensor::<2>::from_data(data, options).transpose()
        };
        let a = tensor(&pair.a, [pair.rank, inputs]);
        let b = tensor(&pair.b, [outputs, pair.rank]);
        Ok(Some(a.matmul(b).mul_scalar(pair.scale)))
    })
}
