//! NF4 weights as bitsandbytes stores them: the codes under the weight's name, `[n/2, 1]` bytes, and
//! the scales and their description beside it.
//!
//! | key | content |
//! |---|---|
//! | `X.weight` | u8, two codes a byte |
//! | `X.weight.absmax` | f32, or u8 codes where the scales are quantised themselves |
//! | `X.weight.quant_map` | f32, the 16 values of the codebook |
//! | `X.weight.nested_absmax`, `.nested_quant_map` | f32, the scales of the scales and their 256 values |
//! | `X.weight.quant_state.bitsandbytes__nf4` | u8, JSON: type, block sizes, shape, offset |

use serde_json::{Map, Value as Json};

use crate::blocks::{BlockType, nf4};
use crate::checkpoint::{Checkpoint, TensorInfo};
use crate::error::{FormatError, Result, shorten};
use crate::json::parse_object;
use crate::shared::SharedBytes;
use crate::stored::StoredTensor;
use safetensors::Dtype;

/// The endings that bitsandbytes adds to a weight's name.
const PARTS: [&str; 4] = [
    ".absmax",
    ".quant_map",
    ".nested_absmax",
    ".nested_quant_map",
];
const STATE: &str = ".quant_state.bitsandbytes__";
const FIX: &str = "download the file again, or quantise the model again with bitsandbytes";

/// True if a checkpoint holds a weight as NF4 codes.
pub(crate) fn is_coded(checkpoint: &Checkpoint, name: &str) -> bool {
    checkpoint.contains(&format!("{name}{STATE}nf4"))
}

/// The tensors of the file that make up a weight in NF4 codes.
pub(crate) fn parts(checkpoint: &Checkpoint, name: &str) -> Vec<String> {
    let endings = ["", PARTS[0], PARTS[1], PARTS[2], PARTS[3]];
    let all = endings.map(|ending| format!("{name}{ending}")).into_iter();
    let all = all.chain([format!("{name}{STATE}nf4")]);
    all.filter(|part| checkpoint.contains(part)).collect()
}

/// How [`Checkpoint::stored`] gives a weight in NF4 codes: its scales are not read.
pub(crate) fn kind(checkpoint: &Checkpoint, name: &str) -> Option<BlockType> {
    let reader = Reader { checkpoint };
    let described = reader.describe(name).ok()??;
    Some(match described.is_blocks() {
        true => BlockType::Nf4,
        false => BlockType::F32,
    })
}

/// The name of the weight that a tensor describes, if it is one that only describes another one's codes.
pub(crate) fn described(name: &str) -> Option<&str> {
    let part = PARTS.iter().find_map(|part| name.strip_suffix(part));
    part.or_else(|| Some(name.split_once(STATE)?.0))
}

/// A weight in NF4.
#[derive(Debug, Clone)]
pub struct Nf4Tensor {
    /// Dimensions of the weight, outermost first.
    pub shape: Vec<usize>,
    /// Two codes a byte in row-major order, the first in the high nibble.
    pub codes: SharedBytes,
    /// One scale a block, no longer quantised.
    pub absmax: Vec<f32>,
    /// What the codes stand for.
    pub codebook: [f32; 16],
    /// Elements of a block.
    pub block: usize,
}

impl Nf4Tensor {
    /// The elements: `codebook[q] absmax`, a product of `f32`.
    pub fn to_f32(&self) -> Vec<f32> {
        let len = self.shape.iter().product();
        nf4::decode(&self.codes, &self.absmax, &self.codebook, self.block, len)
    }

    /// The weight as blocks of [`BlockType::Nf4`], `None` where its rows are not whole blocks of 64, or its codes stand for
    /// other values than [`nf4::CODEBOOK`].
    pub fn blocks(&self) -> Option<StoredTensor> {
        if !is_blocks(&self.shape, self.block, &self.codebook) {
            return None;
        }
        let bytes = nf4::interleaved(&self.codes, &self.absmax)?;
        Some(StoredTensor {
            kind: BlockType::Nf4,
            shape: self.shape.clone(),
            bytes: bytes.into(),
            transposed: false,
        })
    }

    /// The shape of a weight, if a checkpoint holds it as NF4 codes and says it.
    pub(crate) fn shape_of(checkpoint: &Checkpoint, name: &str) -> Option<Vec<usize>> {
        let state = format!("{name}{STATE}nf4");
        if !checkpoint.contains(&state) {
            return None;
        }
        let reader = Reader { checkpoint };
        reader.shape(&state, &reader.state(&state).ok()?).ok()
    }

    pub(crate) fn read(checkpoint: &Checkpoint, name: &str) -> Result<Option<Self>> {
        let reader = Reader { checkpoint };
        let Some(described) = reader.describe(name)? else {
            return Ok(None);
        };
        let elements: usize = described.shape.iter().product(); // counted when it was read
        let codes = reader.typed(name, Dtype::U8, elements.div_ceil(2))?;
        let absmax = reader.scales(name, &described, elements.div_ceil(described.block))?;
        Ok(Some(Self {
            shape: described.shape,
            codes,
            absmax,
            codebook: described.codebook,
            block: described.block,
        }))
    }
}

/// Whether codes are those of [`BlockType::Nf4`].
fn is_blocks(shape: &[usize], block: usize, codebook: &[f32; 16]) -> bool {
    let usual = block == nf4::BLOCK && *codebook == nf4::CODEBOOK;
    usual && (shape.last()).is_some_and(|width| width.is_multiple_of(nf4::BLOCK))
}

/// What the parts of a weight say of its codes and scales.
struct Described {
    state: String,
    fields: Map<String, Json>,
    shape: Vec<usize>,
    block: usize,
    codebook: [f32; 16],
}

impl Described {
    fn is_blocks(&self) -> bool {
        is_blocks(&self.shape, self.block, &self.codebook)
    }
}

struct Reader<'a> {
    checkpoint: &'a Checkpoint,
}

impl Reader<'_> {
    fn wrong(&self, tensor: &str, expected: &str, found: String) -> FormatError {
        let path = self.checkpoint.file_of(tensor);
        FormatError::Tensor {
            path: path.unwrap_or(self.checkpoint.path()).to_owned(),
            tensor: shorten(tensor),
            expected: expected.into(),
            found,
            fix: FIX,
        }
    }

    fn describe(&self, name: &str) -> Result<Option<Described>> {
        let state = format!("{name}{STATE}nf4");
        let other = format!("{name}{STATE}fp4");
        if self.checkpoint.contains(&other) {
            return Err(self.wrong(&other, "NF4", "FP4".into()));
        }
        if !self.checkpoint.contains(&state) {
            return Ok(None);
        }
        let fields = self.state(&state)?;
        let kind = fields.get("quant_type").and_then(Json::as_str);
        if kind != Some("nf4") {
            let found = format!("{kind:?}");
            return Err(self.wrong(&state, "`quant_type` nf4", shorten(&found)));
        }
        let map = self.floats(&format!("{name}.quant_map"), 16)?;
        let mut codebook = [0.0; 16];
        codebook.copy_from_slice(&map);
        Ok(Some(Described {
            shape: self.shape(&state, &fields)?,
            block: self.block(&state, &fields, "blocksize")?,
            codebook,
            state,
            fields,
        }))
    }

    fn state(&self, name: &str) -> Result<Map<String, Json>> {
        let bytes = self.checkpoint.bytes(name)?;
        let path = self.checkpoint.file_of(name);
        let path = path.unwrap_or(self.checkpoint.path());
        Ok(parse_object(path, &bytes)?.into_iter().collect())
    }

    fn shape(&self, state: &str, description: &Map<String, Json>) -> Result<Vec<usize>> {
        let found = description.get("shape");
        let sizes = found.and_then(Json::as_array).and_then(|sizes| {
            let size = |v: &Json| usize::try_from(v.as_u64()?).ok().filter(|&d| d > 0);
            sizes.iter().map(size).collect::<Option<Vec<_>>>()
        });
        let counted = sizes.filter(|sizes| {
            let elements = sizes.iter().try_fold(1usize, |n, &d| n.checked_mul(d));
            elements.is_some_and(|n| n.checked_mul(4).is_some())
        });
        counted.ok_or_else(|| {
            let found = shorten(&found.unwrap_or(&Json::Null).to_string());
            self.wrong(state, "`shape`, a list of sizes", found)
        })
    }

    fn block(&self, state: &str, description: &Map<String, Json>, key: &str) -> Result<usize> {
        let found = description.get(key).unwrap_or(&Json::Null);
        match found.as_u64().filter(|&n| n > 0 && n <= 1 << 20) {
            Some(block) => Ok(block as usize),
            None => {
                let expected = format!("`{key}` of 1 to 2^20");
                Err(self.wrong(state, &expected, shorten(&found.to_string())))
            }
        }
    }

    /// The bytes of a tensor of a type and a number of elements, whatever its shape.
    fn typed(&self, name: &str, dtype: Dtype, elements: usize) -> Result<SharedBytes> {
        let bytes = self.checkpoint.raw_shared(name)?;
        let info: Option<TensorInfo> = self.checkpoint.raw_info(name);
        let found = info.map_or(String::new(), |info| {
            if info.dtype == dtype && info.shape.iter().product::<usize>() == elements {
                String::new()
            } else {
                format!("{} {:?}", info.dtype, info.shape)
            }
        });
        if found.is_empty() {
            return Ok(bytes);
        }
        let expected = format!("{elements} elements of {dtype}");
        Err(self.wrong(name, &expected, shorten(&found)))
    }

    fn floats(&self, name: &str, elements: usize) -> Result<Vec<f32>> {
        let bytes = self.typed(name, Dtype::F32, elements)?;
        let chunks = bytes.as_chunks::<4>().0;
        Ok(chunks
            .iter()
            .map(|chunk| f32::from_le_bytes(*chunk))
            .collect())
    }

    fn scales(&self, name: &str, described: &Described, blocks: usize) -> Result<Vec<f32>> {
        let Described { state, fields, .. } = described;
        let absmax = format!("{name}.absmax");
        let nested = format!("{name}.nested_absmax");
        if !self.checkpoint.contains(&nested) {
            return self.floats(&absmax, blocks);
        }
        let codes = self.typed(&absmax, Dtype::U8, blocks)?;
        let block = self.block(state, fields, "nested_blocksize")?;
        let scales = self.floats(&nested, blocks.div_ceil(block))?;
        let values = self.floats(&format!("{name}.nested_quant_map"), 256)?;
        let mut map = [0.0; 256];
        map.copy_from_slice(&values);
        let offset = fields.get("nested_offset").unwrap_or(&Json::Null);
        let Some(offset) = offset.as_f64() else {
            let found = shorten(&offset.to_string());
            return Err(self.wrong(state, "`nested_offset`, a number", found));
        };
        Ok(nf4::decode_nested(
            &codes,
            &scales,
            &map,
            block,
            offset as f32,
        ))
    }
}
