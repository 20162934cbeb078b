//! What the blocks keep and compute for a token, and how many tokens there are.

use peft_core::{AdapterSpec, is_saved};
use peft_models::{EncoderConfig, ModelFolder, ModelLayout};

use crate::{BaseDtype, RunConfig, RunError, session::Data};

/// Everything that estimates are made of.
pub struct Work {
    pub config: EncoderConfig,
    /// The blocks in the order in which they are applied.
    pub blocks: Vec<Block>,
    /// Whether blocks are computed a second time.
    pub recompute: bool,
    /// Batches of a step.
    pub parts: usize,
    /// The batch with the most tokens.
    pub largest: Batch,
    /// A batch on average.
    pub mean: Batch,
    /// Bytes of the weights as they are kept.
    pub weights: usize,
    /// The most bytes of weights while they are loaded: one that is narrowed is there twice.
    pub loading: usize,
    /// Bytes of the checkpoint's files, which are mapped while the model is loaded.
    pub mapped: usize,
    /// Bytes of the tokenized rows.
    pub rows: usize,
    /// Rows of an evaluation, and their longest.
    pub longest: usize,
    pub selection_rows: usize,
}

/// Rows that are computed together.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Batch {
    pub tokens: usize,
    /// Sum of the squares of the lengths.
    pub squares: f64,
}

/// Values and operations of one block for a token.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Block {
    /// Values kept between the passes, but for the block's input.
    pub kept: usize,
    /// The same where gradients go through the block's input whatever it holds, as they do when blocks
    /// are recomputed one by one.
    pub kept_alone: usize,
    /// Whether the block's input is kept.
    pub keeps_input: bool,
    /// Whether the input of the last product is among what is kept.
    pub keeps_wide: bool,
    /// Operations of the products, forward.
    pub forward: f64,
    /// The same backward, and those of the adapters both ways.
    pub backward: f64,
    /// Whether anything goes backward through the attention.
    pub tracked: bool,
}

impl Work {
    pub fn new(
        run: &RunConfig,
        folder: &ModelFolder,
        layout: &ModelLayout,
        specs: &[Option<AdapterSpec>],
        saved: &[String],
        data: Option<&Data>,
    ) -> Result<Self, RunError> {
        let config = folder.config().clone();
        // A layer trained in full keeps its input, as most adapters do, and adds nothing to it.
        let in_full =
            |place: usize| is_saved(&format!("{}.weight", layout.linears[place].path), saved);
        let mut tracked = false;
        let mut blocks = Vec::with_capacity(config.layers);
        for depth in 0..config.layers {
            let places = layout.blocks[depth % layout.blocks.len()];
            let linears = places.map(|place| Linear {
                inputs: layout.linears[place].matrix()[0],
                outputs: layout.linears[place].matrix()[1],
                adapter: specs[place].as_ref(),
                in_full: in_full(place),
            });
            blocks.push(Block::of(&config, &linears, &mut tracked));
        }
        let longest = run.max_length.min(config.max_length());
        let full = Batch {
            tokens: run.batch_size.saturating_mul(longest),
            squares: run.batch_size as f64 * (longest as f64).powi(2),
        };
        let (largest, mean) = match data {
            None => (full, full),
            Some(data) => batches(run, data)?,
        };
        let lengths = data.map(|data| data.select.lengths());
        let longest = lengths.and_then(|l| l.into_iter().max()).unwrap_or(longest);
        let narrow = match run.base_dtype {
            Some(BaseDtype::F16 | BaseDtype::Bf16) => 2,
            Some(BaseDtype::F32) | None => 4,
        };
        let head = |name: &str| {
            layout
                .heads
                .iter()
                .any(|head| name.starts_with(&format!("{head}.")))
        };
        let (mut weights, mut loading) = (0, 0);
        for (name, shape) in &layout.parameters {
            let values: usize = shape.iter().product();
            let narrowed = narrow < 4 && shape.len() == 2 && !head(name);
            weights += values * if narrowed { narrow } else { 4 };
            loading = loading.max(weights + if narrowed { 4 * values } else { 0 });
        }
        let checkpoint = folder.checkpoint();
        let mapped = checkpoint
            .names()
            .filter_map(|name| checkpoint.info(name)?.byte_len());
        Ok(Self {
            blocks,
            recompute: run.recompute,
            parts: run.grad_accumulation,
            largest,
            mean,
            weights,
            loading,
            mapped: mapped.sum(),
            rows: data.map_or(0, Data::resident),
            longest,
            selection_rows: data.map_or(usize::MAX, |data| data.select.len()),
            config,
        })
    }
}

/// The largest batch of the first epoch, and the mean of all its batches.
fn batches(run: &RunConfig, data: &Data) -> Result<(Batch, Batch), RunError> {
    let lengths = data.fit.lengths();
    let plan = data.fit.plan(run.batch_size, run.seed, 0)?;
    let (mut largest, mut mean) = (Batch::default(), Batch::default());
    for rows in plan.iter_from(0) {
        let tokens = rows.iter().map(|row| lengths[*row]).sum();
        let squares = rows.iter().map(|row| (lengths[*row] as f64).powi(2)).sum();
        if tokens > largest.tokens {
            largest = Batch { tokens, squares };
        }
        mean.tokens += tokens;
        mean.squares += squares;
    }
    let count = plan.len().max(1);
    mean.tokens = mean.tokens.div_ceil(count);
    mean.squares /= count as f64;
    Ok((largest, mean))
}

/// One of the six products of a block.
#[derive(Clone, Copy)]
struct Linear<'a> {
    inputs: usize,
    outputs: usize,
    adapter: Option<&'a AdapterSpec>,
    in_full: bool,
}

impl Linear<'_> {
    /// Whether its own gradients need its input.
    fn keeps_input(&self) -> bool {
        self.in_full || self.adapter.is_some_and(|spec| spec.keeps_input)
    }

    fn trained(&self) -> bool {
        self.in_full || self.adapter.is_some()
    }

    fn product(&self) -> f64 {
        2.0 * (self.inputs * self.outputs) as f64
    }
}

impl Block {
    /// Follows the forward pass of a block; `tracked` tells whether gradients go to its input, and is
    /// told whether they go to its output.
    fn of(config: &EncoderConfig, linears: &[Linear; 6], tracked: &mut bool) -> Self {
        let kept_alone = Self::pass(config, linears, true).0.kept;
        let (block, output) = Self::pass(config, linears, *tracked);
        *tracked = output;
        Self {
            kept_alone,
            ..block
        }
    }

    fn pass(config: &EncoderConfig, linears: &[Linear; 6], input: bool) -> (Self, bool) {
        let (hidden, wide) = (config.hidden_size, config.intermediate_size);
        let [query, key, value, output, up, down] = linears;
        let mut block = Self {
            keeps_input: [query, key, value].iter().any(|l| l.keeps_input()),
            keeps_wide: down.keeps_input(),
            ..Self::default()
        };
        let kept_if = |kept: bool, values: usize| if kept { values } else { 0 };
        // Attention keeps its three inputs, its output, and a number for each head.
        let attended = input || [query, key, value].iter().any(|l| l.trained());
        block.kept += kept_if(attended, 4 * hidden + config.heads);
        block.kept += kept_if(!attended && output.keeps_input(), hidden);
        // Norms keep their sum, the nonlinearity its input.
        let normed = attended || output.trained();
        block.kept += kept_if(normed, hidden) + kept_if(up.keeps_input(), hidden);
        let widened = normed || up.trained();
        block.kept += kept_if(widened, wide) + kept_if(down.keeps_input(), wide);
        let last = widened || down.trained();
        block.kept += kept_if(last, hidden);
        block.tracked = attended;

        let inputs = [input, input, input, attended, normed, widened];
        for (linear, tracked) in linears.iter().zip(inputs) {
            let adapter = linear.adapter.map(|spec| spec.cost).unwrap_or_default();
            block.kept += adapter.saved_per_row;
            block.forward += linear.product();
            block.backward += adapter.flops_per_row as f64;
            block.backward += f64::from(u8::from(tracked)) * linear.product();
            block.backward += f64::from(u8::from(linear.in_full)) * linear.product();
        }
        (block, last)
    }
}
