//! Stacks of selective state spaces.

use super::{
    BlockDescription, Description, Flow, HeadKind, InputSlot, Part, PartKind, Role, SlotPart,
};
use crate::{MambaConfig, work::MambaFlow};

/// The release of the first implementation.
const ALIASES: &[(&str, &str)] = &[("backbone.embeddings.weight", "backbone.embedding.weight")];

pub fn describe(config: &MambaConfig, head: HeadKind) -> Result<Description, String> {
    if let HeadKind::Sequence { .. } = head {
        return Err("`mamba` has no head that scores a sequence in transformers".into());
    }
    let (hidden, channels) = (config.hidden_size, config.channels);
    let (states, rank) = (config.states, config.step_rank);
    let mut after = vec![Part::norm(
        "backbone.norm",
        "backbone.norm_f",
        hidden,
        false,
    )];
    let mut head_modules: &[&str] = &[];
    if !config.tied {
        let widths = [hidden, config.vocab_size];
        after.push(Part::linear("head", "lm_head", Role::Head, widths, false));
        head_modules = &["lm_head"];
    }
    let linear = Part::linear;
    let parameter = |path: &str, name: &str, role, shape: &[usize]| {
        Part::new(path, name, role, PartKind::Parameter, shape, false)
    };
    let parts = vec![
        Part::norm("norm", "norm", hidden, false),
        linear(
            "in_proj",
            "mixer.in_proj",
            Role::SsmIn,
            [hidden, 2 * channels],
            config.bias,
        ),
        Part::new(
            "conv",
            "mixer.conv1d",
            Role::SsmConv,
            PartKind::Conv1d,
            &[channels, 1, config.kernel],
            config.conv_bias,
        ),
        linear(
            "x_proj",
            "mixer.x_proj",
            Role::SsmX,
            [channels, rank + 2 * states],
            false,
        ),
        linear(
            "dt_proj",
            "mixer.dt_proj",
            Role::SsmDt,
            [rank, channels],
            true,
        ),
        parameter("a_log", "mixer.A_log", Role::SsmA, &[channels, states]),
        parameter("d", "mixer.D", Role::SsmD, &[channels]),
        linear(
            "out_proj",
            "mixer.out_proj",
            Role::SsmOut,
            [channels, hidden],
            config.bias,
        ),
    ];
    let slot = |name, widths: &[usize]| SlotPart {
        name,
        widths: widths.to_vec(),
    };
    let block = |index| BlockDescription {
        index,
        path: "backbone.layers.{}".into(),
        name: "backbone.layers.{}".into(),
        parts: parts.clone(),
        slots: vec![
            slot("before_state", &[hidden]),
            slot("state_start", &[channels, states]),
            slot("conv_start", &[config.kernel - 1, channels]),
            slot("affix", &[channels]),
            slot("more_states", &[channels, states]),
            slot("state_readout", &[channels, states]),
            slot("state_output", &[channels]),
            slot("after_state", &[hidden]),
        ],
        flow: Flow::Mamba(MambaFlow {
            hidden,
            channels,
            states,
            rank,
            kernel: config.kernel,
        }),
    };
    Ok(Description {
        model_type: "mamba".into(),
        class: "Mamba".into(),
        classes: &[],
        prefix: "backbone.".into(),
        head,
        input: config.into(),
        hidden_size: hidden,
        before: vec![Part::table(
            "backbone.embedding",
            "backbone.embeddings",
            Role::Embedding,
            [config.vocab_size, hidden],
        )],
        blocks: (0..config.layers).map(block).collect(),
        depth: config.layers,
        prompt: InputSlot::new("backbone", "backbone.", hidden),
        after,
        embeddings: "backbone.embeddings".into(),
        head_modules,
        aliases: ALIASES,
        passed_over: &["lm_head."],
    })
}
