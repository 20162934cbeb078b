use burn::tensor::Device;
use peft_kernels::*;

use crate::Bench;
use crate::bench::Work::Flops;

pub fn run(bench: &mut Bench) {
    let sizes = bench.sizes;
    let (batch, length, heads) = (sizes.batch, sizes.length, sizes.heads);
    let device = Device::flex();
    let layout = RowLayout::new((0..=batch).map(|i| i * length).collect(), &device);
    let options = |dropout| AttentionOptions {
        dropout,
        ..AttentionOptions::new(heads, heads, 0.125)
    };
    let rule = Dropout {
        probability: 0.1,
        key: 1,
    };
    let shape = [sizes.rows(), sizes.d()];
    let name = format!("attention {batch}×{length}, {heads}×64");
    let product = |keys: usize| 2 * batch * heads * length * keys * 64;
    for (name, dropout) in [
        (name.clone(), None),
        (format!("{name}, dropout"), Some(rule)),
    ] {
        let options = options(dropout);
        bench.both(
            &name,
            &|x| attention(x[0].clone(), x[1].clone(), x[2].clone(), &layout, &options),
            &|x| portable::attention(x[0].clone(), x[1].clone(), x[2].clone(), &layout, &options),
            &[shape; 3],
            [Flops(2 * product(length)), Flops(5 * product(length))],
        );
    }
    let (prefix, options) = (20, options(None));
    let split = |x: &[burn::tensor::Tensor<2>]| AttentionPrefix {
        keys: x[3].clone(),
        values: x[4].clone(),
    };
    bench.both(
        &format!("{name}, prefix of {prefix}"),
        &|x| {
            let [q, k, v] = [0, 1, 2].map(|i| x[i].clone());
            prefix_attention(q, k, v, split(&x), &layout, &options)
        },
        &|x| {
            let [q, k, v] = [0, 1, 2].map(|i| x[i].clone());
            portable::prefix_attention(q, k, v, split(&x), &layout, &options)
        },
        &[
            shape,
            shape,
            shape,
            [prefix, sizes.d()],
            [prefix, sizes.d()],
        ],
        [
            Flops(2 * product(length + prefix)),
            Flops(5 * product(length + prefix)),
        ],
    );
}
