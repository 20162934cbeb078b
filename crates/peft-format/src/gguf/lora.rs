//! LoRA adapters as llama.cpp loads them.

use std::path::{Path, PathBuf};

use indexmap::IndexMap;

use super::model::change;
use super::{Architecture, GgufFile, GgufTensorSpec, GgufValue, GgufWriter, HeadCounts};
use crate::blocks::BlockType;
use crate::error::{FormatError, Result, shorten};
use crate::lora::LoraPair;

const TYPE: &str = "general.type";
const ARCHITECTURE: &str = "general.architecture";
const KIND: &str = "adapter.type";
const ALPHA: &str = "adapter.lora.alpha";

/// The pairs of an adapter by the path of their module in Hugging Face's model, such as
/// `model.layers.0.self_attn.q_proj`, and with the rows in its order.
#[derive(Debug, Clone, PartialEq)]
pub struct GgufLora {
    /// The architecture of the base model.
    pub architecture: Architecture,
    /// The pairs in file order.
    pub pairs: IndexMap<String, LoraPair>,
}

impl GgufLora {
    /// Reads an adapter, which does not hold the heads of its base model.
    ///
    /// # Errors
    /// Those of [`GgufFile::open`], and [`FormatError`] for a file that is no LoRA adapter, one that
    /// must be invoked by tokens (aLoRA), an architecture or a tensor that is not read, and factors
    /// that do not fit each other or the heads.
    pub fn read(path: &Path, heads: HeadCounts) -> Result<Self> {
        let file = GgufFile::open(path)?;
        let architecture = check_kind(&file)?;
        let alpha = file.float(ALPHA)?.unwrap_or(0.0);
        let mut pairs = IndexMap::new();
        for (name, _) in file.tensors() {
            let Some(base) = name.strip_suffix(".lora_a") else {
                if let Some(base) = name.strip_suffix(".lora_b") {
                    file.tensor(&format!("{base}.lora_a"))?;
                    continue;
                }
                let found = "another tensor".into();
                return Err(refuse(
                    path,
                    name,
                    "the factors of LoRA alone".into(),
                    found,
                ));
            };
            let module = base.strip_suffix(".weight").unwrap_or(base);
            let Some(hf) = architecture.hf_module(module).filter(|_| fits(module)) else {
                let expected = format!(
                    "a matrix of a block, or the head, of the architecture `{}`",
                    architecture.name()
                );
                return Err(refuse(path, name, expected, "another".into()));
            };
            pairs.insert(hf, pair(&file, architecture, heads, base, alpha)?);
        }
        Ok(Self {
            architecture,
            pairs,
        })
    }

    /// Writes an adapter in `f32`, with one `alpha` for all pairs: that of the first, which is
    /// `scale rank`. Where another pair's differs, the quotient goes into its `B`.
    ///
    /// # Errors
    /// [`FormatError::Write`] for a module that is no matrix of a block and not the head (which must
    /// not be tied to the embedding: llama.cpp has no adapter of such a one), factors that do not fit each
    /// other or the heads, scales of 0 (which llama.cpp takes for 1), and an adapter without pairs;
    /// [`FormatError::Io`].
    pub fn write(&self, path: &Path, heads: HeadCounts) -> Result<()> {
        let wrong = |tensor: &str, expected: &str, found: String| FormatError::Write {
            path: path.to_owned(),
            tensor: shorten(tensor),
            expected: expected.into(),
            found,
        };
        let Some(first) = self.pairs.values().next() else {
            return Err(wrong("lora_a", "at least one pair", "none".into()));
        };
        let alpha = first.alpha();
        let (mut specs, mut factors) = (Vec::new(), Vec::new());
        for (module, pair) in &self.pairs {
            let Some(name) = self.architecture.gguf_module(module).filter(|n| fits(n)) else {
                let expected = format!(
                    "a matrix of a block, or the head, of the architecture `{}`",
                    self.architecture.name()
                );
                return Err(wrong(module, &expected, "another module".into()));
            };
            if !pair.scale.is_finite() || pair.scale == 0.0 {
                let found = pair.scale.to_string();
                return Err(wrong(module, "a finite scale other than 0", found));
            }
            let order = Order::of(self.architecture, &name, heads);
            let whole = |(_, rows): &(usize, usize)| order.is_none_or(|order| order.divides(*rows));
            let Some((columns, rows)) = pair.sizes().filter(whole) else {
                let expected = "A [rank, in] and B [out, rank], rows of q and k in whole heads";
                let found = format!(
                    "rank {}, {} values and {}",
                    pair.rank,
                    pair.a.len(),
                    pair.b.len()
                );
                return Err(wrong(module, expected, found));
            };
            let b = bytes(&pair.b_times(pair.alpha() / alpha));
            let b = match order {
                Some(order) => order.written(&b, 4 * pair.rank),
                None => b,
            };
            for (letter, shape, bytes) in [
                ("a", vec![pair.rank, columns], bytes(&pair.a)),
                ("b", vec![rows, pair.rank], b),
            ] {
                specs.push(GgufTensorSpec {
                    name: format!("{name}.weight.lora_{letter}"),
                    kind: BlockType::F32,
                    shape,
                });
                factors.push(bytes);
            }
        }
        let metadata = [
            (ARCHITECTURE, self.architecture.name().into()),
            (TYPE, "adapter".into()),
            (KIND, "lora".into()),
            (ALPHA, GgufValue::F32(alpha)),
        ];
        let mut writer = GgufWriter::create(path, &metadata, specs.clone())?;
        for (spec, bytes) in specs.iter().zip(&factors) {
            writer.write(&spec.name, bytes)?;
        }
        writer.finish()
    }
}

fn bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}

/// Matrices of blocks and the head, which must be one of its own: llama.cpp has no adapter of a tied one.
/// The embedding's factors are stored the other way round.
fn fits(module: &str) -> bool {
    module == "output" || module.starts_with("blk.") && !module.ends_with("norm")
}

/// How llama.cpp orders the rows of a module, where it has an order of its own.
#[derive(Debug, Clone, Copy)]
enum Order {
    /// The halves of each of so many heads by turns.
    Interleaved(usize),
    /// All queries, all keys, all values, and not those of each of so many heads together.
    ByPart(usize),
}

impl Order {
    fn of(architecture: Architecture, module: &str, heads: HeadCounts) -> Option<Self> {
        use Architecture::{GptNeoX, Granite, Llama, SmolLm3};
        match (architecture, module.rsplit('.').next()?) {
            (Llama | Granite | SmolLm3, "attn_q") => Some(Self::Interleaved(heads.query)),
            (Llama | Granite | SmolLm3, "attn_k") => Some(Self::Interleaved(heads.key_value)),
            (GptNeoX, "attn_qkv") => Some(Self::ByPart(heads.query)),
            _ => None,
        }
    }

    fn heads(self) -> usize {
        match self {
            Self::Interleaved(heads) | Self::ByPart(heads) => heads,
        }
    }

    /// Whether so many rows are whole heads.
    fn divides(self, rows: usize) -> bool {
        let parts = match self {
            Self::Interleaved(_) => 2,
            Self::ByPart(_) => 3,
        };
        let unit = self.heads().checked_mul(parts).filter(|unit| *unit > 0);
        unit.is_some_and(|unit| rows.is_multiple_of(unit))
    }

    /// Rows of so many bytes in llama.cpp's order.
    fn written(self, bytes: &[u8], row_bytes: usize) -> Vec<u8> {
        match self {
            Self::Interleaved(heads) => change::interleave(bytes, heads, row_bytes),
            Self::ByPart(heads) => change::by_part(bytes, heads, row_bytes),
        }
    }

    /// Rows of so many bytes in Hugging Face's order.
    fn read(self, bytes: &[u8], row_bytes: usize) -> Vec<u8> {
        match self {
            Self::Interleaved(heads) => change::undo_interleaving(bytes, heads, row_bytes),
            Self::ByPart(heads) => change::by_head(bytes, heads, row_bytes),
        }
    }
}

fn check_kind(file: &GgufFile) -> Result<Architecture> {
    let wrong = |found: String, fix: &str| FormatError::WrongKind {
        path: file.path().to_owned(),
        expected: "a LoRA adapter in GGUF form",
        found,
        fix: fix.into(),
    };
    for (key, expected) in [(TYPE, "adapter"), (KIND, "lora")] {
        let found = file.text(key)?;
        if found != Some(expected) {
            let found = found.map_or("missing".into(), |v| format!("`{}`", shorten(v)));
            let fix = "give the file of the adapter";
            return Err(wrong(format!("`{key}` is {found}"), fix));
        }
    }
    if file.value("adapter.alora.invocation_tokens").is_some() {
        return Err(wrong(
            "it acts only after its invocation tokens (aLoRA)".into(),
            "use a plain LoRA",
        ));
    }
    let name = file.required(
        ARCHITECTURE,
        "the name of an architecture",
        file.text(ARCHITECTURE)?,
    )?;
    Architecture::from_name(name).ok_or_else(|| {
        let known: Vec<&str> = Architecture::ALL.iter().map(|a| a.name()).collect();
        wrong(
            format!("`{ARCHITECTURE}` is `{}`", shorten(name)),
            &format!("use an adapter of {}", known.join(", ")),
        )
    })
}

fn pair(
    file: &GgufFile,
    architecture: Architecture,
    heads: HeadCounts,
    base: &str,
    alpha: f32,
) -> Result<LoraPair> {
    let (a, b) = (format!("{base}.lora_a"), format!("{base}.lora_b"));
    let shapes = (&file.tensor(&a)?.shape[..], &file.tensor(&b)?.shape[..]);
    let ([rank, _], [rows, same]) = shapes else {
        let found = format!("{:?} and {:?}", shapes.0, shapes.1);
        return Err(refuse(file.path(), &a, "two matrices".into(), found));
    };
    if rank != same {
        let expected = format!("B of {rank} columns, the rank of A");
        return Err(refuse(file.path(), &b, expected, same.to_string()));
    }
    let module = base.strip_suffix(".weight").unwrap_or(base);
    let mut values = file.to_f32(&b)?;
    if let Some(order) = Order::of(architecture, module, heads) {
        if !order.divides(*rows) {
            let expected = format!("rows in whole heads, {} of them", order.heads());
            return Err(refuse(file.path(), &b, expected, rows.to_string()));
        }
        let ordered = order.read(&bytes(&values), 4 * rank);
        BlockType::F32.decode(&ordered, &mut values);
    }
    Ok(LoraPair {
        rank: *rank,
        a: file.to_f32(&a)?,
        b: values,
        // As llama.cpp: without an alpha the product is taken as it is.
        scale: if alpha == 0.0 {
            1.0
        } else {
            alpha / *rank as f32
        },
    })
}

fn refuse(path: &Path, tensor: &str, expected: String, found: String) -> FormatError {
    FormatError::Tensor {
        path: PathBuf::from(path),
        tensor: shorten(tensor),
        expected,
        found,
        fix: "use an adapter that llama.cpp's `convert_lora_to_gguf.py` wrote, or convert it again",
    }
}
