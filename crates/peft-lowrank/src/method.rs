use burn::{
    Tensor,
    module::Param,
    tensor::{Device, TensorData},
};
use peft_core::{
    AdapterError, AdapterSpec, DynAdapter, Fields, HostTensor, InitContext, Method, Site, SiteKind,
    Target, format::targets::PatternMap, kernels::key_of,
};
use serde_json::{Map, Value};

use crate::{
    Dora, Lora, LoraConfig, LoraInit, LowRank, OffsetLora,
    config::fault,
    dora,
    init::{self, Start},
    lora, offset,
    tokens::{self, TokenChoice, TokenRows},
};

const A: &str = "lora_A.weight";
const B: &str = "lora_B.weight";
const MAGNITUDE: &str = "lora_magnitude_vector";
/// A bias beside `B`.
const BIAS: &str = "lora_B.bias";
/// The factors at a table.
const TABLE_A: &str = "lora_embedding_A";
const TABLE_B: &str = "lora_embedding_B";
/// Rows of single tokens.
const TOKENS: &str = "token_adapter.trainable_tokens_delta";

/// What the factors of a site are called in a file.
fn names_of(kind: SiteKind) -> [&'static str; 2] {
    match kind {
        SiteKind::Embedding => [TABLE_A, TABLE_B],
        _ => [A, B],
    }
}

/// LoRA as a [`Method`]; with `use_dora`, DoRA; with `init_lora_weights`, PiSSA and OLoRA.
#[derive(Debug, Clone)]
pub struct LoraMethod {
    config: LoraConfig,
    init: LoraInit,
    ranks: PatternMap<usize>,
    alphas: PatternMap<f64>,
    tokens: Option<TokenChoice>,
}

impl LoraMethod {
    /// The name in settings and tables.
    pub const NAME: &'static str = "lora";
    /// The name in settings and tables with `use_dora`.
    pub const DORA: &'static str = "dora";
    /// `peft_type` in `adapter_config.json`, with `use_dora`, too.
    pub const PEFT_TYPE: &'static str = "LORA";

    /// LoRA with these settings.
    ///
    /// # Errors
    /// If the initialisation is one that is not known, or a pattern is no regular expression.
    pub fn new(config: LoraConfig) -> Result<Self, AdapterError> {
        let init = config.init()?;
        let ranks = config
            .rank_pattern
            .iter()
            .map(|(key, rank)| (key.clone(), *rank));
        let ranks = PatternMap::new("rank_pattern", ranks)?;
        let alphas = config
            .alpha_pattern
            .iter()
            .map(|(key, alpha)| (key.clone(), *alpha));
        let alphas = PatternMap::new("alpha_pattern", alphas)?;
        let tokens = TokenChoice::of(&config.trainable_token_indices)?;
        Ok(Self {
            config,
            init,
            ranks,
            alphas,
            tokens,
        })
    }

    /// LoRA with the settings of an `adapter_config.json`.
    ///
    /// # Errors
    /// If a value has the wrong type or makes no sense.
    pub fn from_json(map: &Map<String, Value>) -> Result<Self, AdapterError> {
        Self::new(LoraConfig::from_json(map)?)
    }

    /// DoRA with the settings of an `adapter_config.json`.
    ///
    /// # Errors
    /// If a value has the wrong type or makes no sense, or `use_dora` is false.
    pub fn dora(map: &Map<String, Value>) -> Result<Self, AdapterError> {
        let mut map = map.clone();
        if map.entry("use_dora").or_insert(Value::Bool(true)) == &Value::Bool(false) {
            return Err(AdapterError::Config {
                method: Self::DORA.into(),
                problem: "use_dora is false".into(),
                fix: "leave it out, or choose the method lora".into(),
            });
        }
        Self::from_json(&map)
    }

    /// The settings.
    pub fn settings(&self) -> &LoraConfig {
        &self.config
    }

    /// The rank of a module.
    ///
    /// # Errors
    /// If matching a pattern takes too long.
    pub fn rank_of(&self, module: &str) -> Result<usize, AdapterError> {
        Ok(self.ranks.get(module)?.copied().unwrap_or(self.config.r))
    }

    /// The factor `s` of a module: `α / r`, or `α / √r` when rank stabilised.
    ///
    /// # Errors
    /// If matching a pattern takes too long.
    pub fn scale_of(&self, module: &str) -> Result<f64, AdapterError> {
        let rank = self.rank_of(module)? as f64;
        let alpha = self
            .alphas
            .get(module)?
            .copied()
            .unwrap_or(self.config.lora_alpha);
        Ok(alpha
            / if self.config.use_rslora {
                rank.sqrt()
            } else {
                rank
            })
    }

    fn rules(&self, target: &Target) -> Result<LowRank, AdapterError> {
        Ok(LowRank {
            scale: self.scale_of(&target.path)?,
            dropout: self.config.lora_dropout,
            dropout_key: key_of(0, &target.path, 0),
            rate_of_b: self.config.loraplus_lr_ratio,
        })
    }

    fn dora_of(&self, [a, b]: [Tensor<2>; 2], magnitude: Tensor<1>, rules: LowRank) -> DynAdapter {
        DynAdapter::new(Dora {
            a: Param::from_tensor(a),
            b: Param::from_tensor(b),
            magnitude: Param::from_tensor(magnitude),
            rules,
            detach_norm: self.config.dora_detach_norm,
        })
    }

    /// The tokens of a target whose rows are trained one by one: one that a file or the settings have so.
    fn tokens_of(&self, target: &Target) -> Option<&[usize]> {
        let choice = self.tokens.as_ref()?;
        let of_tables = matches!(choice, TokenChoice::Input(_));
        let can = target.kind == SiteKind::Embedding || !of_tables;
        choice.tokens_of(&target.path).filter(|_| can)
    }

    /// Entries and width of what has rows of tokens.
    fn token_shape(target: &Target) -> [usize; 2] {
        match target.kind {
            SiteKind::Embedding => [target.in_features, target.out_features],
            _ => [target.out_features, target.in_features],
        }
    }

    /// Refuse settings that a table cannot have.
    fn expect_table(&self, target: &Target) -> Result<(), AdapterError> {
        if target.kind != SiteKind::Embedding {
            return Ok(());
        }
        let refused = [
            (self.init.is_offset(), "init_lora_weights"),
            (self.config.lora_bias, "lora_bias"),
            (
                self.config.use_dora && self.config.ensure_weight_tying,
                "use_dora with ensure_weight_tying",
            ),
        ];
        match refused.into_iter().find(|(given, _)| *given) {
            None => Ok(()),
            Some((_, setting)) => Err(fault(
                format!(
                    "`{}` is a table of vectors, for which {setting} has no meaning",
                    target.path
                ),
                "leave the setting out, or the table",
            )),
        }
    }

    /// LoRA of these factors, with a bias where the settings say so.
    fn lora_of(
        &self,
        [a, b]: [Tensor<2>; 2],
        rules: LowRank,
        bias: impl FnOnce() -> Tensor<1>,
    ) -> Lora {
        let lora = Lora::new(a, b, rules);
        match self.config.lora_bias {
            true => lora.with_bias(bias()),
            false => lora,
        }
    }

    /// Ranks of a file's factors over those that are trained: the start is held beside them, or not.
    fn held(&self) -> usize {
        if self.init.is_offset() { 2 } else { 1 }
    }
}

impl Method for LoraMethod {
    fn name(&self) -> &'static str {
        if self.config.use_dora {
            Self::DORA
        } else {
            Self::NAME
        }
    }

    fn peft_type(&self) -> &'static str {
        Self::PEFT_TYPE
    }

    fn config(&self) -> Map<String, Value> {
        self.config.to_json()
    }

    fn site_kinds(&self) -> &'static [SiteKind] {
        &[
            SiteKind::Linear,
            SiteKind::TransposedLinear,
            SiteKind::Embedding,
        ]
    }

    fn also_adapts(&self, sites: &[Site]) -> Result<Vec<String>, AdapterError> {
        match &self.tokens {
            None => Ok(Vec::new()),
            Some(choice) => choice.sites(sites),
        }
    }

    fn init(&self, target: &Target, start: &InitContext) -> Result<DynAdapter, AdapterError> {
        let options = (&start.weight.device(), target.dtype.into());
        if let Some(tokens) = self.tokens_of(target) {
            let rows = tokens::rows_of(start.weight, tokens, target.kind);
            let rows = Tensor::from_data(rows.convert_dtype(target.dtype.into()), options);
            return Ok(token_rows(rows, tokens, target));
        }
        self.expect_table(target)?;
        let rank = self.rank_of(&target.path)?;
        let rules = self.rules(target)?;
        let Start { a, b } = init::start(self.init, target, start, (rank, rules.scale))?;
        let a = Tensor::from_data(a, options);
        let b = match b {
            Some(b) => Tensor::from_data(b, options),
            None => Tensor::zeros([rank, target.out_features], options),
        };
        Ok(if self.config.use_dora {
            // Norms are taken without autodiff; on the weight's device they are trained.
            let lengths = dora::column_norms(start.weight, target.dtype).into_data();
            self.dora_of([a, b], Tensor::from_data(lengths, options), rules)
        } else if self.init.is_offset() {
            DynAdapter::new(OffsetLora::new(a, b, rules))
        } else {
            let zeros = || Tensor::zeros([target.out_features], options);
            DynAdapter::new(self.lora_of([a, b], rules, zeros))
        })
    }

    fn describe(&self, target: &Target) -> Result<AdapterSpec, AdapterError> {
        if let Some(tokens) = self.tokens_of(target) {
            let [_, width] = Self::token_shape(target);
            let rows = target.values_info(&[tokens.len(), width]);
            return Ok(AdapterSpec {
                cost: tokens::cost(tokens.len(), width),
                keeps_input: target.kind != SiteKind::Embedding,
                tensors: Fields::from([(TOKENS.to_owned(), rows)]),
            });
        }
        self.expect_table(target)?;
        let rank = self.rank_of(&target.path)?;
        let (inputs, outputs) = (target.in_features, target.out_features);
        let dropout = self.config.lora_dropout;
        let tensor = |shape: &[usize]| target.values_info(shape);
        let stored = self.held() * rank;
        let [name_a, name_b] = names_of(target.kind);
        let mut tensors = Fields::from([
            (name_a.to_owned(), tensor(&[stored, inputs])),
            (name_b.to_owned(), tensor(&[outputs, stored])),
        ]);
        let cost = if self.config.use_dora {
            tensors.insert(MAGNITUDE.to_owned(), tensor(&[outputs]));
            dora::cost
        } else if self.init.is_offset() {
            offset::cost
        } else {
            lora::cost
        };
        let mut cost = cost(rank, dropout, inputs, outputs);
        if self.config.lora_bias {
            tensors.insert(BIAS.to_owned(), tensor(&[outputs]));
            cost.parameters += outputs;
        }
        Ok(AdapterSpec {
            cost,
            // With dropout, what was left of the input is kept in its place.
            keeps_input: dropout == 0.0,
            tensors,
        })
    }

    fn suffixes(&self) -> &'static [&'static str] {
        match (self.config.use_dora, self.config.lora_bias) {
            (true, _) => &[A, B, TABLE_A, TABLE_B, TOKENS, MAGNITUDE],
            (false, true) => &[A, B, TABLE_A, TABLE_B, TOKENS, BIAS],
            (false, false) => &[A, B, TABLE_A, TABLE_B, TOKENS],
        }
    }

    /// Of PiSSA and OLoRA as PEFT saves them without conversion, for a base that it has changed.
    fn expect_own(
        &self,
        target: &Target,
        tensors: &Fields<HostTensor>,
    ) -> Result<(), AdapterError> {
        let bare = [self.rank_of(&target.path)?, target.in_features];
        if !self.init.is_offset() || tensors.get(A).is_none_or(|a| a.shape != bare) {
            return Ok(());
        }
        Err(fault(
            format!(
                "`{}` has no start beside its factors: it belongs to a base that PEFT has changed",
                target.tensor_name(A)
            ),
            "save it in PEFT with path_initial_model_for_weight_conversion, which makes LoRA of it",
        ))
    }

    fn restore(
        &self,
        target: &Target,
        tensors: &Fields<HostTensor>,
        device: &Device,
    ) -> Result<DynAdapter, AdapterError> {
        let options = (device, target.dtype.into());
        if tensors.contains_key(TOKENS)
            && let Some(tokens) = self.tokens_of(target)
        {
            let [_, width] = Self::token_shape(target);
            let rows = target.values(tensors, TOKENS, &[tokens.len(), width])?;
            return Ok(token_rows(Tensor::from_data(rows, options), tokens, target));
        }
        self.expect_table(target)?;
        let rank = self.rank_of(&target.path)?;
        let rules = self.rules(target)?;
        self.expect_own(target, tensors)?;
        let load = |suffix, shape| target.values_transposed(tensors, suffix, shape);
        let (inputs, outputs) = (target.in_features, target.out_features);
        let stored = self.held() * rank;
        let [name_a, name_b] = names_of(target.kind);
        let a = Tensor::<2>::from_data(load(name_a, [stored, inputs])?, options);
        let b = Tensor::<2>::from_data(load(name_b, [outputs, stored])?, options);
        Ok(if self.config.use_dora {
            let lengths = target.values(tensors, MAGNITUDE, &[outputs])?;
            self.dora_of([a, b], Tensor::from_data(lengths, options), rules)
        } else if self.init.is_offset() {
            let [now, start] = [0..rank, rank..stored].map(|part| {
                let a = a.clone().slice([0..inputs, part.clone()]);
                (a, b.clone().slice([part, 0..outputs]))
            });
            DynAdapter::new(OffsetLora::moved(now, start, rules))
        } else if self.config.lora_bias {
            let bias = target.values(tensors, BIAS, &[outputs])?;
            let bias = || Tensor::from_data(bias, options);
            DynAdapter::new(self.lora_of([a, b], rules, bias))
        } else {
            DynAdapter::new(Lora::new(a, b, rules))
        })
    }

    fn export(
        &self,
        target: &Target,
        mut fields: Fields<TensorData>,
    ) -> Result<Fields<HostTensor>, AdapterError> {
        let mut take = |field: &str, suffix: &str| target.to_store(&mut fields, field, suffix);
        if self.tokens_of(target).is_some() {
            return Ok(Fields::from([(TOKENS.to_owned(), take("rows", TOKENS)?)]));
        }
        let [name_a, name_b] = names_of(target.kind);
        // Rows of the rank, in either.
        let (mut a, mut b) = (take("a", name_a)?.transposed(), take("b", name_b)?);
        if self.init.is_offset() {
            a = stacked(a, take("start_a", name_a)?.transposed());
            b = stacked(b, take("start_b", name_b)?);
        }
        let mut out = Fields::from([(name_a.to_owned(), a), (name_b.to_owned(), b.transposed())]);
        if self.config.use_dora {
            out.insert(MAGNITUDE.to_owned(), take("magnitude", MAGNITUDE)?);
        }
        if self.config.lora_bias {
            out.insert(BIAS.to_owned(), take("bias", BIAS)?);
        }
        Ok(out)
    }
}

/// An adapter of the rows of tokens at a target.
fn token_rows(rows: Tensor<2>, tokens: &[usize], target: &Target) -> DynAdapter {
    let outputs = target.kind != SiteKind::Embedding;
    DynAdapter::new(TokenRows::new(rows, tokens.to_vec(), outputs))
}

/// The rows of both.
fn stacked(above: HostTensor, below: HostTensor) -> HostTensor {
    HostTensor {
        shape: vec![above.shape[0] + below.shape[0], above.shape[1]],
        bytes: [above.bytes, below.bytes].concat(),
        dtype: above.dtype,
    }
}
