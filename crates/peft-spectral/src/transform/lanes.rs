//! Transforms of sixteen lines side by side.

use peft_fft::{Bin, LANES, LaneFft, LaneWork, Lanes, num_complex::Complex};

use super::{Scratch, Transform, lines::Kind};
use crate::Real;

/// Work space of one thread.
pub(crate) struct LaneScratch<T> {
    side_by_side: Option<SideBySide<T>>,
    /// For transforms that know single lines only.
    single: Option<Single<T>>,
}

struct SideBySide<T> {
    line: Vec<Lanes<T>>,
    bins: Vec<Bin<T>>,
    work: LaneWork<T>,
}

struct Single<T> {
    scratch: Scratch<T>,
    features: Vec<T>,
    wide: Vec<T>,
}

impl<T: Real> Transform<T> {
    pub(crate) fn lane_scratch(&self) -> LaneScratch<T> {
        let side_by_side = self.lane_fft().map(|fft| SideBySide {
            line: vec![[T::zero(); LANES]; fft.len()],
            bins: vec![Bin::zero(); fft.bins()],
            work: fft.work(),
        });
        let copies = matches!(self.kind, Kind::Copy);
        let single = (side_by_side.is_none() && !copies).then(|| Single {
            scratch: self.scratch(),
            features: vec![T::zero(); self.features()],
            wide: vec![T::zero(); self.width()],
        });
        LaneScratch {
            side_by_side,
            single,
        }
    }

    fn lane_fft(&self) -> Option<&LaneFft<T>> {
        match &self.kind {
            Kind::Cosine(fft) | Kind::Hartley(fft) | Kind::Fourier(fft) => fft.lanes.as_ref(),
            Kind::Copy | Kind::Filter(_) => None,
        }
    }

    /// `out = x Bᵀ` of every lane.
    #[inline(always)]
    pub(crate) fn analyse_lanes(
        &self,
        x: &[Lanes<T>],
        out: &mut [Lanes<T>],
        scratch: &mut LaneScratch<T>,
    ) {
        let (Some(fft), Some(space)) = (self.lane_fft(), &mut scratch.side_by_side) else {
            let Some(single) = &mut scratch.single else {
                return out.copy_from_slice(x);
            };
            for lane in 0..LANES {
                take(x, lane, &mut single.features);
                self.analyse_line(&single.features, &mut single.wide, &mut single.scratch);
                put(&single.wide, lane, out);
            }
            return;
        };
        let n = fft.len();
        match &self.kind {
            Kind::Cosine(plan) => {
                // Even places, then odd ones backwards (Makhoul).
                for (j, &x) in x.iter().enumerate() {
                    space.line[if j % 2 == 0 { j / 2 } else { n - 1 - j / 2 }] = x;
                }
                fft.analyse(&space.line, &mut space.bins, &mut space.work);
                for (k, (bin, twiddle)) in space.bins.iter().zip(&plan.twiddles).enumerate() {
                    let (low, high) = split(*bin, *twiddle);
                    // Bin 0 gives one value, and so does the middle one of an even length.
                    if k > 0 {
                        out[n - k] = high;
                    }
                    out[k] = low;
                }
            }
            Kind::Hartley(plan) => {
                fft.analyse(x, &mut space.bins, &mut space.work);
                for (k, bin) in space.bins.iter().enumerate() {
                    if k > 0 {
                        out[n - k] = both(*bin, |re, im| (re + im) * plan.unit);
                    }
                    out[k] = both(*bin, |re, im| (re - im) * plan.unit);
                }
            }
            Kind::Fourier(plan) => {
                fft.analyse(x, &mut space.bins, &mut space.work);
                let (cos, sin) = out.split_at_mut(n);
                for (k, bin) in space.bins.iter().enumerate() {
                    if k > 0 {
                        cos[n - k] = both(*bin, |re, _| re * plan.unit);
                        sin[n - k] = both(*bin, |_, im| im * plan.unit);
                    }
                    cos[k] = both(*bin, |re, _| re * plan.unit);
                    sin[k] = both(*bin, |_, im| -(im * plan.unit));
                }
                // Sine rows of self-conjugate frequencies are zero, not rounding.
                sin[0] = [T::zero(); LANES];
                if n.is_multiple_of(2) {
                    sin[n / 2] = [T::zero(); LANES];
                }
            }
            Kind::Copy | Kind::Filter(_) => unreachable!("no FFT"),
        }
    }

    /// `out = z B` of every lane.
    #[inline(always)]
    pub(crate) fn synthesise_lanes(
        &self,
        z: &[Lanes<T>],
        out: &mut [Lanes<T>],
        scratch: &mut LaneScratch<T>,
    ) {
        let (Some(fft), Some(space)) = (self.lane_fft(), &mut scratch.side_by_side) else {
            let Some(single) = &mut scratch.single else {
                return out.copy_from_slice(z);
            };
            for lane in 0..LANES {
                take(z, lane, &mut single.wide);
                self.synthesise_line(&single.wide, &mut single.features, &mut single.scratch);
                put(&single.features, lane, out);
            }
            return;
        };
        let n = fft.len();
        let half = T::of(0.5);
        match &self.kind {
            Kind::Cosine(plan) => {
                let twiddles = plan.twiddles.iter().copied();
                for (k, (bin, twiddle)) in space.bins.iter_mut().zip(twiddles).enumerate() {
                    if k == 0 {
                        *bin = Bin::zero();
                        for (re, &value) in bin.re.iter_mut().zip(&z[0]) {
                            *re = value * twiddle.re;
                        }
                        continue;
                    }
                    let (low, high) = (z[k], z[n - k]);
                    for i in 0..LANES {
                        // (low − i high) / 2, times the conjugate twiddle.
                        let (re, im) = (low[i] * half, high[i] * half);
                        bin.re[i] = re * twiddle.re - im * twiddle.im;
                        bin.im[i] = -(re * twiddle.im) - im * twiddle.re;
                    }
                }
                fft.synthesise(&space.bins, &mut space.line, &mut space.work);
                for (j, out) in out.iter_mut().enumerate() {
                    *out = space.line[if j % 2 == 0 { j / 2 } else { n - 1 - j / 2 }];
                }
            }
            // Its own inverse.
            Kind::Hartley(_) => self.analyse_lanes(z, out, scratch),
            Kind::Fourier(plan) => {
                let (cos, sin) = z.split_at(n);
                let scale = plan.unit * half;
                for (k, bin) in space.bins.iter_mut().enumerate() {
                    let partner = (n - k) % n;
                    let [a, b] = [cos[k], cos[partner]];
                    let [c, d] = [sin[partner], sin[k]];
                    for i in 0..LANES {
                        bin.re[i] = (a[i] + b[i]) * scale;
                        bin.im[i] = (c[i] - d[i]) * scale;
                    }
                }
                fft.synthesise(&space.bins, out, &mut space.work);
            }
            Kind::Copy | Kind::Filter(_) => unreachable!("no FFT"),
        }
    }
}

/// Values `k` and `n − k` of the cosine transform.
#[inline(always)]
fn split<T: Real>(bin: Bin<T>, twiddle: Complex<T>) -> (Lanes<T>, Lanes<T>) {
    let (mut low, mut high) = ([T::zero(); LANES], [T::zero(); LANES]);
    for i in 0..LANES {
        low[i] = bin.re[i] * twiddle.re - bin.im[i] * twiddle.im;
        high[i] = -(bin.re[i] * twiddle.im + bin.im[i] * twiddle.re);
    }
    (low, high)
}

#[inline(always)]
fn both<T: Real>(bin: Bin<T>, of: impl Fn(T, T) -> T) -> Lanes<T> {
    let mut out = [T::zero(); LANES];
    for (out, (&re, &im)) in out.iter_mut().zip(bin.re.iter().zip(&bin.im)) {
        *out = of(re, im);
    }
    out
}

fn take<T: Copy>(lanes: &[Lanes<T>], lane: usize, line: &mut [T]) {
    for (value, lanes) in line.iter_mut().zip(lanes) {
        *value = lanes[lane];
    }
}

fn put<T: Copy>(line: &[T], lane: usize, lanes: &mut [Lanes<T>]) {
    for (lanes, &value) in lanes.iter_mut().zip(line) {
        lanes[lane] = value;
    }
}
