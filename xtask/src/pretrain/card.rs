//! The card of a pretrained model.

use std::f64::consts::LN_2;
use std::fmt::Write;

use super::start::{SEED, VOCABULARY};
use super::{Family, LENGTH, RATE, ROWS, Trained, corpus};
use crate::study::mean;

/// Markdown that says how the model was made and what it is worth.
pub fn write(family: Family, trained: &Trained) -> String {
    let name = family.name();
    let shape = match family {
        Family::Mamba => {
            "2,890,496 values: 6 blocks, width 256, 512 channels of 16 states, step rank 16"
        }
        Family::Mamba2 => {
            "2,866,976 values: 6 blocks, width 256, 16 heads of 32 channels, 64 states, one group"
        }
    };
    let machine = &trained.begun.machine;
    let tokens = u64::from(trained.begun.steps) * u64::from(ROWS * LENGTH);
    let rounded = &trained.rounded;
    let bits = rounded.nats().iter().sum::<f64>() / LN_2 / trained.bytes as f64;
    let predicted: u32 = rounded.tokens.iter().sum();
    let time = match trained.contended {
        true => "other work shared the machine, so that its time is no measurement".to_owned(),
        false => format!("it took {:.0} minutes", trained.seconds / 60.0),
    };
    let mut text = format!(
        "# A small {}\n\n\
         <!-- Written by `cargo xtask pretrain {name}`; changes by hand are lost. -->\n\n\
         {shape}, a convolution of 4, {VOCABULARY} tokens, the head tied to them; bfloat16, for the tests and studies of this \
         repository. It knows a Bible and the sources of two packages, and is of no other use.\n\n\
         ## Text\n\n| text | licence |\n|---|---|\n",
        family.title()
    );
    for (origin, licence) in corpus::ORIGINS {
        let _ = writeln!(text, "| {origin} | {licence} |");
    }
    let _ = write!(
        text,
        "\nThe packages are pinned by sha256 in `xtask/src/pretrain/corpus.rs`, which also says what of them is fitted (13.7 MB) and \
         what is held out ({} bytes, whole documents). The tokenizer, `../tokenizer.json`, is a byte-level BPE of the text to fit \
         (`xtask/python/train_tokenizer.py`).\n\n\
         ## Training\n\n\
         All values, from random ones (seed {SEED}, spread as in transformers): {} steps of {ROWS} rows of {LENGTH} tokens, {tokens} \
         tokens, AdamW without weight decay at {RATE}, 100 steps of warm-up, a cosine to 0, gradient norm at most 1, seed 0, on one thread of \
         {} {} ({}), {}, commit {}; {time}.\n\n\
         | steps | loss of these steps, mean | loss of the selection text |\n|--:|--:|--:|\n",
        trained.bytes,
        trained.begun.steps,
        machine.system,
        machine.architecture,
        machine.processor,
        trained.begun.version,
        machine.commit,
    );
    let mut from = 0;
    for &(step, loss) in &trained.selection {
        let to = (step as usize).min(trained.losses.len());
        if to > from {
            let fitted = mean(&trained.losses[from..to]);
            let _ = writeln!(text, "| {}–{to} | {fitted:.4} | {loss:.4} |", from + 1);
        }
        from = to;
    }
    let _ = write!(
        text,
        "\n## The held-out text\n\n\
         In windows of {LENGTH} tokens, {predicted} tokens in all:\n\n\
         - rounded to bfloat16, as it is here: loss {:.4}, perplexity {:.3}, **{bits:.3} bits a byte**;\n\
         - before rounding: loss {:.4}, perplexity {:.3}.\n",
        rounded.perplexity().ln(),
        rounded.perplexity(),
        trained.held_out,
        trained.held_out.exp(),
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::Machine;
    use crate::pretrain::Begun;
    use crate::study::RowLosses;

    #[test]
    fn bits_are_of_bytes() {
        let trained = Trained {
            begun: Begun {
                steps: 4,
                version: "peft 0".into(),
                machine: Machine::look(),
            },
            contended: true,
            losses: vec![4.0, 2.0, 1.0, 1.0],
            selection: vec![(2, 2.5), (4, 1.5)],
            held_out: 1.0,
            seconds: 60.0,
            rounded: RowLosses {
                loss: vec![2.0 * LN_2; 2],
                tokens: vec![50, 50],
                ..RowLosses::default()
            },
            bytes: 100,
        };
        let card = write(Family::Mamba, &trained);
        assert!(card.contains("**2.000 bits a byte**") && card.contains("perplexity 4.000"));
        assert!(card.contains("| 1–2 | 3.0000 | 2.5000 |\n| 3–4 | 1.0000 | 1.5000 |"));
        assert!(card.contains("4096 tokens") && !card.contains("minutes"));
    }
}
