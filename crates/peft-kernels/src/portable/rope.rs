use burn::tensor::Tensor;

/// [`rope`](crate::rope) by Burn's operations.
pub fn rope(x: Tensor<2>, cos: Tensor<2>, sin: Tensor<2>, heads: usize) -> Tensor<2> {
    let ([rows, width], [_, half]) = (x.dims(), cos.dims());
    let d = width / heads;
    let [cos, sin] = [cos, sin].map(|table| {
        let table = table.reshape([rows, 1, half]);
        table.expand([rows, heads, half])
    });
    let x = x.reshape([rows, heads, d]);
    let part = |from: usize, to: usize| x.clone().slice([0..rows, 0..heads, from..to]);
    let (first, second) = (part(0, half), part(half, 2 * half));
    let mut parts = vec![
        first.clone() * cos.clone() - second.clone() * sin.clone(),
        second * cos + first * sin,
    ];
    if d > 2 * half {
        parts.push(part(2 * half, d));
    }
    Tensor::cat(parts, 2).reshape([rows, width])
}
