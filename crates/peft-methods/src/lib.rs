#![warn(missing_docs)]
//! Every adapter method of the workspace, by name.
//!
//! Adding a method is one entry here; nothing else names it.

mod head;
mod sdlora;
mod several;
mod size;
mod sll;

use peft_additive::{
    BitFitMethod, BottleneckConfig, BottleneckKind, BottleneckMethod, Ia3Config, Ia3Method,
    NormTuningMethod, PTuningConfig, PTuningMethod, PrefixConfig, PrefixMethod, PromptConfig,
    PromptMethod, SerialParallelConfig, SerialParallelMethod, SsfConfig, SsfMethod,
};
use peft_config::{Setting, schema_of};
use peft_core::{AdapterError, Method, format::AdapterConfig};
use peft_lowrank::{
    AdaLoraConfig, AdaLoraMethod, DeepLoraConfig, DeepLoraMethod, LoraConfig, LoraMethod,
    LortaConfig, LortaMethod, SineLoraConfig, SineLoraMethod, VeraConfig, VeraMethod,
};
use peft_sparse::{
    MaskedConfig, MaskedKind, MaskedMethod, MePropConfig, MePropMethod, ShiraConfig, ShiraMethod,
    SiftConfig, SiftMethod, SmtConfig, SmtMethod, SparseGradConfig, SparseGradMethod, SpielConfig,
    SpielMethod,
};
use peft_spectral::{
    C3aConfig, C3aMethod, FourierFtConfig, FourierFtMethod, LocaConfig, LocaMethod, SelectedConfig,
    SelectedKind, SelectedMethod, WaveFtConfig, WaveFtMethod,
};
use peft_ssm::{
    AdditionalScanConfig, AffixConfig, ComponentsConfig, ComponentsMethod, ProDialConfig,
    ProDialMethod, SdLoraMethod, SdtConfig, SdtMethod, SllLoraMethod, StateKind, StateMethod,
};
use serde_json::{Map, Value, json};

pub use head::HeadMethod;
pub use several::SeveralMethod;

/// One method: what it is called and how it is configured.
#[derive(Debug, Clone, Copy)]
pub struct Entry {
    /// The name on the command line.
    pub name: &'static str,
    /// `peft_type` in `adapter_config.json`.
    pub peft_type: &'static str,
    /// A line about it, with its paper.
    pub summary: &'static str,
    /// The keys of `adapter_config.json` that it understands.
    pub keys: &'static [&'static str],
    /// Those of them that concern training only and are in no adapter's file. They take effect where an adapter
    /// is continued, too; all others that no file holds concern how an adapter starts.
    pub training_keys: &'static [&'static str],
    /// JSON Schema of the type of the settings, with their documentation.
    pub type_schema: fn() -> Value,
    /// Learning rate of adapters that does well without tuning.
    pub learning_rate: f64,
    /// The settings that do well without tuning.
    pub defaults: fn() -> Map<String, Value>,
    /// The method of such settings.
    pub build: Build,
}

/// Methods to which the first version computed other bits where it computed blocks again for their gradients.
const RECOMPUTED: [&str; 8] = [
    AdaLoraMethod::NAME,
    C3aMethod::NAME,
    DeepLoraMethod::NAME,
    FourierFtMethod::NAME,
    LocaMethod::NAME,
    LortaMethod::NAME,
    SelectedKind::Sdctft.name(),
    SelectedKind::Ssh.name(),
];

impl Entry {
    /// Whether runs that the first version began with `recompute` would go on to other bits.
    pub fn recomputed_otherwise(&self) -> bool {
        RECOMPUTED.contains(&self.name)
    }

    /// JSON Schema of the keys, with their documentation and the method's defaults.
    pub fn schema(&self) -> Value {
        let mut schema = (self.type_schema)();
        for (key, value) in (self.defaults)() {
            // Methods may share a type and differ in defaults.
            if let Some(Value::Object(field)) = schema["properties"].get_mut(&key) {
                field.insert("default".to_owned(), value);
            }
        }
        schema
    }

    /// The settings of a run, but for those that its user gives: where the learning rate is left to
    /// the method, its setting `scale_rate` is on, if it has one. It is always told where it is on by itself.
    pub fn defaults_at(&self, learning_rate: Option<f64>) -> Map<String, Value> {
        let mut settings = (self.defaults)();
        if self.keys.contains(&SCALE_RATE) && (learning_rate.is_none() || self.scales_by_itself()) {
            settings.insert(SCALE_RATE.to_owned(), Value::Bool(true));
        }
        settings
    }

    /// Whether a learning rate that is given is one for coefficients of an orthonormal transform, from which
    /// every module's own follows, unless `scale_rate` is off.
    pub fn scales_by_itself(&self) -> bool {
        self.training_keys.contains(&SCALE_RATE)
    }

    /// The keys, each with its flag, help, type and default.
    pub fn settings(&self) -> Vec<Setting> {
        Setting::all(&self.schema())
    }
}

/// The setting by which a method fits the learning rate to each module.
pub const SCALE_RATE: &str = "scale_rate";

/// Makes a method of its settings.
pub type Build = fn(&Map<String, Value>) -> Result<Box<dyn Method>, AdapterError>;

/// Learning rate of coefficients in an orthonormal basis; methods of other normalisations rescale it
/// themselves.
const SPECTRAL_RATE: f64 = 2e-2;

/// Learning rate of coefficients for methods whose setting `scale_rate` fits it to a weight's width and coefficients.
const SELECTED_RATE: f64 = 4e-2;

/// Learning rate of single entries of a weight.
const ENTRY_RATE: f64 = 2e-3;

/// All methods that adapt something of a model.
pub const METHODS: &[Entry] = &[
    Entry {
        name: LoraMethod::NAME,
        peft_type: LoraMethod::PEFT_TYPE,
        summary: "low-rank adaptation (2106.09685), rank-stabilised with use_rslora (2312.03732), LoRA+ \
                  with loraplus_lr_ratio (2402.12354)",
        keys: LoraConfig::KEYS,
        training_keys: LoraConfig::TRAINING_KEYS,
        type_schema: schema_of::<LoraConfig>,
        learning_rate: 2e-3,
        defaults: || LoraConfig::default().to_json(),
        build: |map| Ok(Box::new(LoraMethod::from_json(map)?)),
    },
    Entry {
        name: LoraMethod::DORA,
        peft_type: LoraMethod::PEFT_TYPE,
        summary: "LoRA with the lengths of the weight's outputs trained apart (2402.09353)",
        keys: LoraConfig::KEYS,
        training_keys: LoraConfig::TRAINING_KEYS,
        type_schema: schema_of::<LoraConfig>,
        learning_rate: 2e-3,
        defaults: || LoraConfig::dora().to_json(),
        build: |map| Ok(Box::new(LoraMethod::dora(map)?)),
    },
    Entry {
        name: AdaLoraMethod::NAME,
        peft_type: AdaLoraMethod::PEFT_TYPE,
        summary: "LoRA whose ranks are shared out over the weights while they are trained (2303.10512)",
        keys: AdaLoraConfig::KEYS,
        training_keys: &[],
        type_schema: schema_of::<AdaLoraConfig>,
        learning_rate: 2e-3,
        defaults: || AdaLoraConfig::default().to_json(),
        build: |map| Ok(Box::new(AdaLoraMethod::from_json(map)?)),
    },
    Entry {
        name: SineLoraMethod::NAME,
        peft_type: SineLoraMethod::PEFT_TYPE,
        summary: "low-rank factors below a sine, an update of full rank (2403.19243)",
        keys: SineLoraConfig::KEYS,
        training_keys: &[],
        type_schema: schema_of::<SineLoraConfig>,
        learning_rate: 1e-3,
        defaults: || SineLoraConfig::default().to_json(),
        build: |map| Ok(Box::new(SineLoraMethod::from_json(map)?)),
    },
    Entry {
        name: DeepLoraMethod::NAME,
        peft_type: DeepLoraMethod::PEFT_TYPE,
        summary: "a deep product in the subspaces of the first gradient (2406.04112)",
        keys: DeepLoraConfig::KEYS,
        training_keys: &[],
        type_schema: schema_of::<DeepLoraConfig>,
        learning_rate: 4e-3,
        defaults: || DeepLoraConfig::default().to_json(),
        build: |map| Ok(Box::new(DeepLoraMethod::from_json(map)?)),
    },
    Entry {
        name: VeraMethod::NAME,
        peft_type: VeraMethod::PEFT_TYPE,
        summary: "vectors between random projections that all layers share (2310.11454)",
        keys: VeraConfig::KEYS,
        training_keys: &[],
        type_schema: schema_of::<VeraConfig>,
        learning_rate: 1e-2,
        defaults: || VeraConfig::default().to_json(),
        build: |map| Ok(Box::new(VeraMethod::from_json(map)?)),
    },
    Entry {
        name: LortaMethod::NAME,
        peft_type: LortaMethod::PEFT_TYPE,
        summary: "one low-rank tensor for all layers, matrices and heads (2410.04060)",
        keys: LortaConfig::KEYS,
        training_keys: &[],
        type_schema: schema_of::<LortaConfig>,
        learning_rate: 1e-2,
        defaults: || LortaConfig::default().to_json(),
        build: |map| Ok(Box::new(LortaMethod::from_json(map)?)),
    },
    Entry {
        name: SelectedKind::Sdctft.name(),
        peft_type: SelectedKind::Sdctft.peft_type(),
        summary: "selective discrete cosine transform (2410.09103)",
        keys: SelectedConfig::KEYS,
        training_keys: &[],
        type_schema: schema_of::<SelectedConfig>,
        learning_rate: SELECTED_RATE,
        defaults: || SelectedMethod::defaults(SelectedKind::Sdctft),
        build: |map| {
            Ok(Box::new(SelectedMethod::from_json(
                SelectedKind::Sdctft,
                map,
            )?))
        },
    },
    Entry {
        name: SelectedKind::Ssh.name(),
        peft_type: SelectedKind::Ssh.peft_type(),
        summary: "sparse spectrum by the discrete Hartley transform (2502.05539)",
        keys: SelectedConfig::KEYS,
        training_keys: &[],
        type_schema: schema_of::<SelectedConfig>,
        learning_rate: SELECTED_RATE,
        defaults: || SelectedMethod::defaults(SelectedKind::Ssh),
        build: |map| Ok(Box::new(SelectedMethod::from_json(SelectedKind::Ssh, map)?)),
    },
    Entry {
        name: FourierFtMethod::NAME,
        peft_type: FourierFtMethod::PEFT_TYPE,
        summary: "random frequencies of the discrete Fourier transform (2405.03003)",
        keys: FourierFtConfig::KEYS,
        training_keys: FourierFtConfig::TRAINING_KEYS,
        type_schema: schema_of::<FourierFtConfig>,
        learning_rate: SPECTRAL_RATE,
        defaults: FourierFtMethod::defaults,
        build: |map| Ok(Box::new(FourierFtMethod::from_json(map)?)),
    },
    Entry {
        name: WaveFtMethod::NAME,
        peft_type: WaveFtMethod::PEFT_TYPE,
        summary: "random coefficients of a wavelet transform (2505.12532)",
        keys: WaveFtConfig::KEYS,
        training_keys: WaveFtConfig::TRAINING_KEYS,
        type_schema: schema_of::<WaveFtConfig>,
        learning_rate: SPECTRAL_RATE,
        defaults: WaveFtMethod::defaults,
        build: |map| Ok(Box::new(WaveFtMethod::from_json(map)?)),
    },
    Entry {
        name: LocaMethod::NAME,
        peft_type: LocaMethod::PEFT_TYPE,
        summary: "location-aware cosine adaptation: places are trained, too (2502.06820)",
        keys: LocaConfig::KEYS,
        training_keys: &[],
        type_schema: schema_of::<LocaConfig>,
        learning_rate: SPECTRAL_RATE,
        defaults: LocaMethod::defaults,
        build: |map| Ok(Box::new(LocaMethod::from_json(map)?)),
    },
    Entry {
        name: C3aMethod::NAME,
        peft_type: C3aMethod::PEFT_TYPE,
        summary: "circular convolution: circulant blocks (2407.19342)",
        keys: C3aConfig::KEYS,
        training_keys: C3aConfig::TRAINING_KEYS,
        type_schema: schema_of::<C3aConfig>,
        learning_rate: SPECTRAL_RATE,
        defaults: C3aMethod::defaults,
        build: |map| Ok(Box::new(C3aMethod::from_json(map)?)),
    },
    Entry {
        name: ShiraMethod::NAME,
        peft_type: ShiraMethod::PEFT_TYPE,
        summary: "sparse high-rank adapters: a fixed set of the weight's own entries (2406.13175)",
        keys: ShiraConfig::KEYS,
        training_keys: &[],
        type_schema: schema_of::<ShiraConfig>,
        learning_rate: ENTRY_RATE,
        defaults: ShiraMethod::defaults,
        build: |map| Ok(Box::new(ShiraMethod::from_json(map)?)),
    },
    Entry {
        name: SiftMethod::NAME,
        peft_type: SiftMethod::PEFT_TYPE,
        summary: "entries chosen by the first batch's gradient (2312.11875)",
        keys: SiftConfig::KEYS,
        training_keys: &[],
        type_schema: schema_of::<SiftConfig>,
        learning_rate: ENTRY_RATE,
        defaults: SiftMethod::defaults,
        build: |map| Ok(Box::new(SiftMethod::from_json(map)?)),
    },
    Entry {
        name: SpielMethod::NAME,
        peft_type: SpielMethod::PEFT_TYPE,
        summary: "entries that come and go, by what rows and columns saw of gradients (2401.16405)",
        keys: SpielConfig::KEYS,
        training_keys: &[],
        type_schema: schema_of::<SpielConfig>,
        learning_rate: ENTRY_RATE,
        defaults: SpielMethod::defaults,
        build: |map| Ok(Box::new(SpielMethod::from_json(map)?)),
    },
    Entry {
        name: SmtMethod::NAME,
        peft_type: SmtMethod::PEFT_TYPE,
        summary: "sparse matrix tuning: the blocks of largest gradient in the whole model (2405.15525)",
        keys: SmtConfig::KEYS,
        training_keys: &[],
        type_schema: schema_of::<SmtConfig>,
        learning_rate: 4e-3,
        defaults: SmtMethod::defaults,
        build: |map| Ok(Box::new(SmtMethod::from_json(map)?)),
    },
    Entry {
        name: SparseGradMethod::NAME,
        peft_type: SparseGradMethod::PEFT_TYPE,
        summary: "the weight's strongest entries in a basis of its gradients (2410.07383)",
        keys: SparseGradConfig::KEYS,
        training_keys: &[],
        type_schema: schema_of::<SparseGradConfig>,
        learning_rate: ENTRY_RATE,
        defaults: SparseGradMethod::defaults,
        build: |map| Ok(Box::new(SparseGradMethod::from_json(map)?)),
    },
    Entry {
        name: MaskedKind::Gmt.name(),
        peft_type: MaskedKind::Gmt.peft_type(),
        summary: "gradient-mask tuning: all entries, of each step's gradients the largest (2406.15330)",
        keys: MaskedConfig::KEYS,
        training_keys: &[],
        type_schema: schema_of::<MaskedConfig>,
        learning_rate: 1e-4,
        defaults: || MaskedMethod::defaults(MaskedKind::Gmt),
        build: |map| Ok(Box::new(MaskedMethod::from_json(MaskedKind::Gmt, map)?)),
    },
    Entry {
        name: MaskedKind::TopkGrad.name(),
        peft_type: MaskedKind::TopkGrad.peft_type(),
        summary: "all entries, of each step's gradients the largest hundredth, which SparseGrad's paper \
                  (2410.07383) calls meProp",
        keys: MaskedConfig::KEYS,
        training_keys: &[],
        type_schema: schema_of::<MaskedConfig>,
        learning_rate: 2e-4,
        defaults: || MaskedMethod::defaults(MaskedKind::TopkGrad),
        build: |map| {
            Ok(Box::new(MaskedMethod::from_json(
                MaskedKind::TopkGrad,
                map,
            )?))
        },
    },
    Entry {
        name: MePropMethod::NAME,
        peft_type: MePropMethod::PEFT_TYPE,
        summary: "all entries, of the outputs' gradients the largest (1706.06197)",
        keys: MePropConfig::KEYS,
        training_keys: &[],
        type_schema: schema_of::<MePropConfig>,
        learning_rate: 4e-4,
        defaults: MePropMethod::defaults,
        build: |map| Ok(Box::new(MePropMethod::from_json(map)?)),
    },
    Entry {
        name: BottleneckMethod::NAME,
        peft_type: BottleneckMethod::PEFT_TYPE,
        summary: "narrow modules inserted in every block (1902.00751, 2005.00247)",
        keys: BottleneckConfig::KEYS,
        training_keys: &[],
        type_schema: schema_of::<BottleneckConfig>,
        learning_rate: 1e-3,
        defaults: || BottleneckConfig::default().to_json(),
        build: |map| {
            let kind = BottleneckKind::Serial;
            Ok(Box::new(BottleneckMethod::from_json(kind, map)?))
        },
    },
    Entry {
        name: BottleneckKind::Parallel.name(),
        peft_type: BottleneckKind::Parallel.peft_type(),
        summary: "narrow modules beside the feed-forward part of every block (2110.04366)",
        keys: BottleneckConfig::KEYS,
        training_keys: &[],
        type_schema: schema_of::<BottleneckConfig>,
        learning_rate: 1e-3,
        defaults: || BottleneckConfig::parallel().to_json(),
        build: |map| {
            let kind = BottleneckKind::Parallel;
            Ok(Box::new(BottleneckMethod::from_json(kind, map)?))
        },
    },
    Entry {
        name: SerialParallelMethod::NAME,
        peft_type: SerialParallelMethod::PEFT_TYPE,
        summary: "AutoPEFT's narrow modules after and beside the feed-forward part (2301.12132)",
        keys: SerialParallelConfig::KEYS,
        training_keys: &[],
        type_schema: schema_of::<SerialParallelConfig>,
        learning_rate: 1e-3,
        defaults: || SerialParallelConfig::default().to_json(),
        build: |map| Ok(Box::new(SerialParallelMethod::from_json(map)?)),
    },
    Entry {
        name: BitFitMethod::NAME,
        peft_type: BitFitMethod::PEFT_TYPE,
        summary: "biases, and nothing else (2106.10199)",
        keys: &[],
        training_keys: &[],
        type_schema: no_settings,
        learning_rate: 4e-3,
        defaults: Map::new,
        build: |_| Ok(Box::new(BitFitMethod)),
    },
    Entry {
        name: Ia3Method::NAME,
        peft_type: Ia3Method::PEFT_TYPE,
        summary: "factors on keys, values and the feed-forward part's inner activation (2205.05638)",
        keys: Ia3Config::KEYS,
        training_keys: &[],
        type_schema: schema_of::<Ia3Config>,
        learning_rate: 1e-2,
        defaults: || Ia3Config::default().to_json(),
        build: |map| Ok(Box::new(Ia3Method::from_json(map)?)),
    },
    Entry {
        name: NormTuningMethod::NAME,
        peft_type: NormTuningMethod::PEFT_TYPE,
        summary: "the norms, and nothing else (2312.11420)",
        keys: &[],
        training_keys: &[],
        type_schema: no_settings,
        learning_rate: 4e-3,
        defaults: Map::new,
        build: |_| Ok(Box::new(NormTuningMethod)),
    },
    Entry {
        name: SsfMethod::NAME,
        peft_type: SsfMethod::PEFT_TYPE,
        summary: "scales and shifts of what layers and norms give (2210.08823)",
        keys: SsfConfig::KEYS,
        training_keys: &[],
        type_schema: schema_of::<SsfConfig>,
        learning_rate: 4e-3,
        defaults: || SsfConfig::default().to_json(),
        build: |map| Ok(Box::new(SsfMethod::from_json(map)?)),
    },
    Entry {
        name: PrefixMethod::NAME,
        peft_type: PrefixMethod::PEFT_TYPE,
        summary: "trained keys and values before those of every sequence (2101.00190)",
        keys: PrefixConfig::KEYS,
        training_keys: &[],
        type_schema: schema_of::<PrefixConfig>,
        learning_rate: 1e-2,
        defaults: || PrefixConfig::default().to_json(),
        build: |map| Ok(Box::new(PrefixMethod::from_json(map)?)),
    },
    Entry {
        name: PromptMethod::NAME,
        peft_type: PromptMethod::PEFT_TYPE,
        summary: "trained rows before the embedded tokens of every sequence (2104.08691)",
        keys: PromptConfig::KEYS,
        training_keys: &[],
        type_schema: schema_of::<PromptConfig>,
        learning_rate: 1e-2,
        defaults: || PromptConfig::default().to_json(),
        build: |map| Ok(Box::new(PromptMethod::from_json(map)?)),
    },
    Entry {
        name: PTuningMethod::NAME,
        peft_type: PTuningMethod::PEFT_TYPE,
        summary: "such rows, made by a network while they are trained (2103.10385)",
        keys: PTuningConfig::KEYS,
        training_keys: &[],
        type_schema: schema_of::<PTuningConfig>,
        learning_rate: 1e-3,
        defaults: || PTuningConfig::default().to_json(),
        build: |map| Ok(Box::new(PTuningMethod::from_json(map)?)),
    },
    Entry {
        name: SdtMethod::NAME,
        peft_type: SdtMethod::PEFT_TYPE,
        summary: "a few states of a few channels of a state-space model, chosen by a warm-up (2410.09016)",
        keys: SdtConfig::KEYS,
        training_keys: &[],
        type_schema: schema_of::<SdtConfig>,
        learning_rate: 1e-2,
        defaults: || SdtConfig::default().to_json(),
        build: |map| Ok(Box::new(SdtMethod::from_json(map)?)),
    },
    Entry {
        name: SdLoraMethod::NAME,
        peft_type: SdLoraMethod::PEFT_TYPE,
        summary: "sdt beside LoRA on the projections of a state-space model: SDLoRA (2410.09016)",
        keys: sdlora::KEYS,
        training_keys: LoraConfig::TRAINING_KEYS,
        type_schema: sdlora::schema,
        learning_rate: 2e-3,
        defaults: sdlora::defaults,
        build: sdlora::build,
    },
    Entry {
        name: ComponentsMethod::NAME,
        peft_type: ComponentsMethod::PEFT_TYPE,
        summary: "chosen components of a state-space model, in full or by LoRA on pieces of projections (2410.09016)",
        keys: ComponentsConfig::KEYS,
        training_keys: &[],
        type_schema: schema_of::<ComponentsConfig>,
        learning_rate: 1e-3,
        defaults: || ComponentsConfig::default().to_json(),
        build: |map| Ok(Box::new(ComponentsMethod::from_json(map)?)),
    },
    Entry {
        name: ComponentsMethod::LORAP_X,
        peft_type: ComponentsMethod::PEFT_TYPE,
        summary: "LoRA on the half of in_proj that a state-space model's convolution reads: LoRAp(X) (2411.03855)",
        keys: ComponentsConfig::KEYS,
        training_keys: &[],
        type_schema: schema_of::<ComponentsConfig>,
        learning_rate: 1e-3,
        defaults: || ComponentsConfig::lorap_x().to_json(),
        build: |map| Ok(Box::new(ComponentsMethod::from_json(map)?)),
    },
    Entry {
        name: SllLoraMethod::NAME,
        peft_type: LoraMethod::PEFT_TYPE,
        summary: "LoRA on the tokens' table and the large layers of a state-space model, its rank by the width (2406.00209)",
        keys: LoraConfig::KEYS,
        training_keys: LoraConfig::TRAINING_KEYS,
        type_schema: schema_of::<LoraConfig>,
        learning_rate: 1e-3,
        defaults: sll::defaults,
        build: sll::build,
    },
    Entry {
        name: ProDialMethod::NAME,
        peft_type: ProDialMethod::PEFT_TYPE,
        summary: "near-diagonal transforms of projections beside low-rank updates (2411.15224)",
        keys: ProDialConfig::KEYS,
        training_keys: &[],
        type_schema: schema_of::<ProDialConfig>,
        learning_rate: 1e-3,
        defaults: || ProDialConfig::default().to_json(),
        build: |map| Ok(Box::new(ProDialMethod::from_json(map)?)),
    },
    Entry {
        name: StateKind::InitialState.name(),
        peft_type: StateKind::InitialState.peft_type(),
        summary: "the state that every sequence starts from (2410.09016)",
        keys: StateMethod::keys(StateKind::InitialState),
        training_keys: &[],
        type_schema: no_settings,
        learning_rate: 1e-3,
        defaults: || StateMethod::defaults(StateKind::InitialState),
        build: |map| {
            Ok(Box::new(StateMethod::from_json(
                StateKind::InitialState,
                map,
            )?))
        },
    },
    Entry {
        name: StateKind::StateOffset.name(),
        peft_type: StateKind::StateOffset.peft_type(),
        summary: "what is added where states are read, of every state or of every channel (2503.03499)",
        keys: StateMethod::keys(StateKind::StateOffset),
        training_keys: &[],
        type_schema: no_settings,
        learning_rate: 1e-3,
        defaults: || StateMethod::defaults(StateKind::StateOffset),
        build: |map| {
            Ok(Box::new(StateMethod::from_json(
                StateKind::StateOffset,
                map,
            )?))
        },
    },
    Entry {
        name: StateKind::AdditionalScan.name(),
        peft_type: StateKind::AdditionalScan.peft_type(),
        summary: "more states beside those of a state-space model (2411.03855)",
        keys: StateMethod::keys(StateKind::AdditionalScan),
        training_keys: &[],
        type_schema: schema_of::<AdditionalScanConfig>,
        learning_rate: 4e-3,
        defaults: || StateMethod::defaults(StateKind::AdditionalScan),
        build: |map| {
            Ok(Box::new(StateMethod::from_json(
                StateKind::AdditionalScan,
                map,
            )?))
        },
    },
    Entry {
        name: StateKind::Affix.name(),
        peft_type: StateKind::Affix.peft_type(),
        summary: "rows before every sequence in every state space (2411.03855)",
        keys: StateMethod::keys(StateKind::Affix),
        training_keys: &[],
        type_schema: schema_of::<AffixConfig>,
        learning_rate: 1e-3,
        defaults: || StateMethod::defaults(StateKind::Affix),
        build: |map| Ok(Box::new(StateMethod::from_json(StateKind::Affix, map)?)),
    },
];

fn no_settings() -> Value {
    json!({ "type": "object", "properties": {} })
}

/// Training without an adapter, which [`METHODS`] and what goes through them leave out.
pub const HEAD: Entry = Entry {
    name: HeadMethod::NAME,
    peft_type: HeadMethod::PEFT_TYPE,
    summary: "no adapter: only the head is trained, at its own rate, for comparison",
    keys: &[],
    training_keys: &[],
    type_schema: no_settings,
    learning_rate: 2e-3,
    defaults: Map::new,
    build: |_| Ok(Box::new(HeadMethod)),
};

/// Several of [`METHODS`] in one adapter, which has no settings without its parts.
pub const SEVERAL: Entry = Entry {
    name: SeveralMethod::NAME,
    peft_type: SeveralMethod::PEFT_TYPE,
    summary: "several methods in one adapter, each on modules of its own",
    keys: SeveralMethod::KEYS,
    training_keys: &[],
    type_schema: SeveralMethod::schema,
    learning_rate: several::RATE,
    defaults: Map::new,
    build: |map| Ok(Box::new(SeveralMethod::from_json(map)?)),
};

/// All that a run may be asked for: [`METHODS`], [`SEVERAL`] of them, and [`HEAD`].
pub fn selectable() -> impl Iterator<Item = &'static Entry> {
    METHODS.iter().chain([&SEVERAL, &HEAD])
}

/// The method called `name` on the command line.
///
/// # Errors
/// If there is none; the error names those that exist.
pub fn by_name(name: &str) -> Result<&'static Entry, AdapterError> {
    find(name, |entry| entry.name)
}

/// The method of a `peft_type`.
///
/// # Errors
/// If there is none; the error names those that exist.
pub fn by_peft_type(peft_type: &str) -> Result<&'static Entry, AdapterError> {
    find(peft_type, |entry| entry.peft_type)
}

/// As [`by_peft_type`], of a file, which the error names.
fn of_config(config: &AdapterConfig) -> Result<&'static Entry, AdapterError> {
    by_peft_type(config.peft_type()).map_err(|error| match error {
        AdapterError::Config {
            method,
            problem: _,
            fix,
        } => AdapterError::Config {
            method: config.path().display().to_string(),
            problem: format!("its `peft_type` is `{method}`, which is none that is known"),
            fix: fix.replace("choose one of", "known are"),
        },
        other => other,
    })
}

/// The method of an adapter's configuration.
///
/// # Errors
/// If it is not known, or the configuration asks of it what it cannot do.
pub fn from_config(config: &AdapterConfig) -> Result<Box<dyn Method>, AdapterError> {
    let entry = of_config(config)?;
    config.reject_unsupported(entry.keys)?;
    let method = (entry.build)(&config.fields_as_saved())?;
    Ok(method.of_files().unwrap_or(method))
}

fn find(wanted: &str, key: fn(&Entry) -> &'static str) -> Result<&'static Entry, AdapterError> {
    let same = |entry: &&Entry| key(entry).eq_ignore_ascii_case(wanted);
    selectable().find(same).ok_or_else(|| AdapterError::Config {
        method: wanted.to_owned(),
        problem: "no such method".into(),
        fix: format!("choose one of {}", names(key).join(", ")),
    })
}

/// What the methods are called, each name once.
fn names(key: fn(&Entry) -> &'static str) -> Vec<&'static str> {
    let mut names: Vec<&str> = Vec::new();
    for name in selectable().map(key) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_that_is_not_known_is_told_with_its_file_and_those_that_are() {
        let error = by_peft_type("LOHA").unwrap_err().to_string();
        let (_, known) = error.split_once("choose one of ").unwrap();
        let known: Vec<&str> = known.split(", ").collect();
        assert_eq!(
            known.iter().filter(|name| **name == "LORA").count(),
            1,
            "{error}"
        );
        let folder = tempfile::tempdir().unwrap();
        let text = r#"{"peft_type": "LOHA", "target_modules": ["query"]}"#;
        std::fs::write(folder.path().join("adapter_config.json"), text).unwrap();
        let config = AdapterConfig::read(folder.path()).unwrap();
        let error = from_config(&config).unwrap_err().to_string();
        assert!(
            error.starts_with(&*config.path().to_string_lossy()),
            "{error}"
        );
        assert!(
            error.contains("`peft_type` is `LOHA`") && error.contains("ADALORA"),
            "{error}"
        );
    }

    #[test]
    fn settings_of_training_are_in_no_file() {
        for entry in METHODS {
            let Ok(method) = (entry.build)(&(entry.defaults)()) else {
                panic!("{}", entry.name);
            };
            let told = method.config();
            for key in entry.training_keys {
                assert!(
                    entry.keys.contains(key) && !told.contains_key(*key),
                    "{key}"
                );
            }
        }
    }

    #[test]
    fn every_key_of_a_method_is_a_setting_with_help() {
        for entry in METHODS {
            let settings = entry.settings();
            let mut keys: Vec<&str> = settings.iter().map(|one| one.key.as_str()).collect();
            let mut known = entry.keys.to_vec();
            keys.sort_unstable();
            known.sort_unstable();
            assert_eq!(keys, known, "{}", entry.name);
            for setting in &settings {
                assert!(!setting.help.is_empty(), "{}: {}", entry.name, setting.key);
                if let Some(default) = &setting.default {
                    assert!(setting.kind.admits(default), "{}: {setting:?}", entry.name);
                }
            }
        }
    }
}
