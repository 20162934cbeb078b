use peft_kernels::*;

use crate::Bench;
use crate::bench::Work::Bytes;

pub fn run(bench: &mut Bench) {
    let (rows, d, ffn) = (bench.sizes.rows(), bench.sizes.d(), bench.sizes.ffn);
    let (wide, row) = (rows * ffn * 4, rows * d * 4);
    for (name, kind) in [
        ("gelu", Activation::Gelu(GeluKind::Erf)),
        ("gelu by tanh", Activation::Gelu(GeluKind::Tanh)),
        ("silu", Activation::Silu),
    ] {
        bench.both(
            &format!("{name} {rows}×{ffn}"),
            &|mut x| match kind {
                Activation::Gelu(kind) => gelu(x.remove(0), kind),
                Activation::Silu => silu(x.remove(0)),
            },
            &|mut x| portable::activation(x.remove(0), kind),
            &[[rows, ffn]],
            [Bytes(2 * wide), Bytes(3 * wide)],
        );
    }
    let kind = Activation::Silu;
    bench.both(
        &format!("gated silu {rows}×{ffn}"),
        &|mut x| gated(x.remove(0), x.remove(0), kind),
        &|mut x| portable::gated(x.remove(0), x.remove(0), kind),
        &[[rows, ffn], [rows, ffn]],
        [Bytes(3 * wide), Bytes(5 * wide)],
    );
    let kind = Activation::Gelu(GeluKind::Erf);
    bench.both(
        &format!("bias and gelu {rows}×{ffn}"),
        &|mut x| bias_activation(x.remove(0), x.remove(0).flatten(0, 1), kind),
        &|mut x| portable::bias_activation(x.remove(0), x.remove(0).flatten(0, 1), kind),
        &[[rows, ffn], [1, ffn]],
        // The gradient to the bias reads that of the sum again.
        [Bytes(2 * wide), Bytes(4 * wide)],
    );
    let rule = Dropout {
        probability: 0.1,
        key: 1,
    };
    bench.both(
        &format!("dropout {rows}×{d}"),
        &|mut x| dropout(x.remove(0), rule),
        &|mut x| portable::dropout(x.remove(0), rule),
        &[[rows, d]],
        [Bytes(2 * row), Bytes(2 * row)],
    );
    let scores = rows * bench.sizes.heads;
    let (length, bytes) = (bench.sizes.length, scores * bench.sizes.length * 4);
    bench.both(
        &format!("softmax {scores}×{length}"),
        &|mut x| softmax(x.remove(0)),
        &|mut x| portable::softmax(x.remove(0)),
        &[[scores, length]],
        [Bytes(2 * bytes), Bytes(3 * bytes)],
    );
}
