//! LoRA adapters as llama.cpp loads them.

use std::path::{Path, PathBuf};

use indexmap::IndexMap;

use super::model::change;
use super::{Architecture, GgufFile, GgufTensorSpec, GgufValue, GgufWriter, HeadCounts};
use crate::blocks::BlockType;
use crate::error::{FormatError, Result, shorten};

const TYPE: &str = "general.type";
const ARCHITECTURE: &str = "general.architecture";
const KIND: &str = "adapter.type";
const ALPHA: &str = "adapter.lora.alpha";

/// The two factors of an update `W + scale B A`.
#[derive(Debug, Clone, PartialEq)]
pub struct LoraPair {
    /// The rank.
    pub rank: usize,
    /// `A`, `[rank, in]`, row-major.
    pub a: Vec<f32>,
    /// `B`, `[out, rank]`, row-major.
    pub b: Vec<f32>,
    /// What the product is multiplied with, `alpha / rank` of the pair.
    pub scale: f32,
}

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
                    "a matrix inside a block of the architecture `{}`",
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
    /// [`FormatError::Write`] for a module that the architecture does not have in a block (llama.cpp
    /// loads no adapter of a head or an embedding with these names), factors that do not fit each
    /// other or the heads, scales that are not above 0, and an adapter without pairs;
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
        let alpha = first.scale * first.rank as f32;
        let (mut specs, mut factors) = (Vec::new(), Vec::new());
        for (module, pair) in &self.pairs {
            let Some(name) = self.architecture.gguf_module(module).filter(|n| fits(n)) else {
                let expected = format!(
                    "a matrix inside a block of the architecture `{}`",
                    self.architecture.name()
                );
                return Err(wrong(module, &expected, "another module".into()));
            };
            if !(pair.scale.is_finite() && pair.scale > 0.0) {
                let found = pair.scale.to_string();
                return Err(wrong(module, "a finite scale above 0", found));
            }
            let sizes = pair.sizes();
            let heads = permuted(self.architecture, &name, heads);
            let even = |rows: usize| heads.is_none_or(|h| h > 0 && rows.is_multiple_of(2 * h));
            let Some((columns, rows)) = sizes.filter(|(_, rows)| even(*rows)) else {
                let expected = "A [rank, in] and B [out, rank], rows of q and k in whole heads";
                let found = format!(
                    "rank {}, {} values and {}",
                    pair.rank,
                    pair.a.len(),
                    pair.b.len()
                );
                return Err(wrong(module, expected, found));
            };
            let own = pair.scale * pair.rank as f32;
            let fold = if own == alpha { 1.0 } else { own / alpha };
            let b: Vec<f32> = pair.b.iter().map(|v| v * fold).collect();
            let b = bytes(&b);
            let b = match heads {
                Some(heads) => change::interleave(&b, heads, 4 * pair.rank),
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

impl LoraPair {
    /// Columns of `A` and rows of `B`; `None` unless both are whole and not empty.
    fn sizes(&self) -> Option<(usize, usize)> {
        let sizes = (
            self.a.len().checked_div(self.rank)?,
            self.b.len().checked_div(self.rank)?,
        );
        let whole = sizes.0 * self.rank == self.a.len() && sizes.1 * self.rank == self.b.len();
        (whole && sizes.0 > 0 && sizes.1 > 0).then_some(sizes)
    }
}

fn bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}

/// Only modules of blocks: the embedding's factors are stored the other way round, and llama.cpp
/// knows no adapter of a tied head.
fn fits(module: &str) -> bool {
    module.starts_with("blk.") && !module.ends_with("norm")
}

/// The heads of a module whose rows llama.cpp has in another order.
fn permuted(architecture: Architecture, module: &str, heads: HeadCounts) -> Option<usize> {
    match module.rsplit('.').next() {
        Some("attn_q") if architecture == Architecture::Llama => Some(heads.query),
        Some("attn_k") if architecture == Architecture::Llama => Some(heads.key_value),
        _ => None,
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
    if let Some(heads) = permuted(architecture, module, heads) {
        if heads == 0 || !rows.is_multiple_of(2 * heads) {
            let expected = format!("rows in {heads} heads of an even size");
            return Err(refuse(file.path(), &b, expected, rows.to_string()));
        }
        let order = change::undo_interleaving(&bytes(&values), heads, 4 * rank);
        BlockType::F32.decode(&order, &mut values);
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
