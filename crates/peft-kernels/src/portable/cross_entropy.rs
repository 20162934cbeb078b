use burn::tensor::{DType, IndexingUpdateOp, Int, Tensor, activation};

/// [`cross_entropy`](crate::cross_entropy) by Burn's operations.
pub fn cross_entropy(logits: Tensor<2>, targets: Tensor<1, Int>) -> Tensor<1> {
    let [rows, _] = logits.dims();
    log_softmax(logits)
        .gather(1, targets.reshape([rows, 1]))
        .mean()
        .neg()
}

/// Classes that are summed up at a time: sums of Burn's on wgpu may leave out what is beyond 2¹⁶ values.
const CLASSES: usize = 1 << 16;

/// `ln softmax` of every row.
fn log_softmax(logits: Tensor<2>) -> Tensor<2> {
    let classes = logits.dims()[1];
    if classes <= CLASSES {
        return activation::log_softmax(logits, 1);
    }
    let parts = |of: &dyn Fn(Tensor<2>) -> Tensor<2>| {
        let starts = (0..classes).step_by(CLASSES);
        let part = |from: usize| logits.clone().narrow(1, from, CLASSES.min(classes - from));
        Tensor::cat(starts.map(|from| of(part(from))).collect(), 1)
    };
    let most = parts(&|part| part.max_dim(1)).max_dim(1).detach();
    let sum = parts(&|part| (part - most.clone()).exp().sum_dim(1)).sum_dim(1);
    logits - most - sum.log()
}

/// Logits that exist at a time: 32 MiB of `f32`.
const LOGITS: usize = 8 << 20;

/// [`head_cross_entropy`](crate::head_cross_entropy) by Burn's operations.
pub fn head_cross_entropy(
    hidden: Tensor<2>,
    weight: Tensor<2>,
    targets: Tensor<1, Int>,
    softcap: Option<f64>,
    scale: f64,
) -> Tensor<1> {
    let ([rows, _], [_, classes]) = (hidden.dims(), weight.dims());
    let narrow: DType = hidden.dtype();
    let wide = match narrow {
        DType::F64 => DType::F64,
        _ => DType::F32,
    };
    let (for_hidden, for_weight) = (hidden.is_tracked(), weight.is_tracked());
    // Burn would keep the logits of all parts; their gradients are formed here, and handed to it below.
    let [h, w] = [&hidden, &weight].map(|x| x.clone().without_autodiff());
    let run = rows.div_ceil(rows.div_ceil((LOGITS / classes).max(1)));
    let mut loss: Option<Tensor<1>> = None;
    let (mut to_hidden, mut to_weight) = (Vec::new(), None);
    for from in (0..rows).step_by(run) {
        let to = rows.min(from + run);
        let h = h.clone().slice(from..to);
        let targets = targets.clone().slice(from..to).reshape([to - from, 1]);
        let logits = h.clone().matmul(w.clone()).cast(wide).mul_scalar(scale);
        let bounded = softcap.map(|cap| logits.clone().mul_scalar(cap.recip()).tanh());
        let logits = match (&bounded, softcap) {
            (Some(bounded), Some(cap)) => bounded.clone().mul_scalar(cap),
            _ => logits,
        };
        let log_probability = log_softmax(logits);
        let found = log_probability.clone().gather(1, targets.clone());
        let part = found.sum().div_scalar(-(rows as f64));
        loss = Some(match loss {
            Some(loss) => loss + part,
            None => part,
        });
        if !for_hidden && !for_weight {
            continue;
        }
        let minus_one = Tensor::ones([to - from, 1], (&h.device(), wide)).neg();
        let slopes = (log_probability.exp()).scatter(1, targets, minus_one, IndexingUpdateOp::Add);
        let slopes = match bounded {
            Some(bounded) => slopes * (bounded.clone() * bounded).neg().add_scalar(1.0),
            None => slopes,
        };
        let slopes = slopes.cast(narrow);
        // The factor comes last: half precision would lose small numbers.
        let factor = scale / rows as f64;
        if for_hidden {
            let part = slopes.clone().matmul(w.clone().transpose());
            to_hidden.push(part.cast(wide).mul_scalar(factor));
        }
        if for_weight {
            let part = (h.transpose().matmul(slopes).cast(wide)).mul_scalar(factor);
            to_weight = Some(match to_weight {
                Some(sum) => sum + part,
                None => part,
            });
        }
    }
    let mut loss = loss.expect("at least one row");
    let to_hidden = for_hidden.then(|| Tensor::cat(to_hidden, 0));
    for (x, slopes) in [(hidden, to_hidden), (weight, to_weight)] {
        if let Some(slopes) = slopes {
            // Adds zero, with the gradient of the loss.
            let linear = (x.cast(wide) * slopes).sum();
            let value = linear.clone().without_autodiff();
            loss = loss + (linear - value);
        }
    }
    loss
}
