//! What this machine does in a second, measured once and kept.

use std::{
    collections::BTreeMap,
    fs,
    path::PathBuf,
    time::{Duration, Instant},
};

use burn::{
    Tensor,
    tensor::{Device, TensorData},
};
use peft_core::kernels::{layer_norm, linear, normal};
use peft_format::atomic::write_atomic_bytes;
use serde::{Deserialize, Serialize};

use crate::{
    ComputeType, Computing, DeviceChoice, RunError, SelectedDevice, cache_folder, event::fault,
};

const NAME: &str = "calibration.json";
const LIMIT: u64 = 1 << 20;

/// How long each of the two measurements goes on.
const MEASURED: Duration = Duration::from_millis(500);

/// What a machine does in a second.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Rates {
    /// Floating-point operations in products of matrices.
    pub operations_per_s: f64,
    /// Bytes read and written by what goes over its values once.
    pub bytes_per_s: f64,
}

impl Rates {
    /// The rates that were measured on this machine with products of this type, as many threads and this version; none if
    /// none were, or what was kept of them is broken.
    pub fn cached(device: DeviceChoice, compute: ComputeType) -> Option<Self> {
        let mut all = kept(&place()?);
        if all.is_empty() {
            return None;
        }
        all.remove(&key(&device.select().ok()?, compute))
    }
}

/// Measure the rates of a device, with products of a type, for about a second, and keep them in the cache.
///
/// # Errors
/// If the device is not there, or the cache cannot be written.
pub fn calibrate(choice: DeviceChoice, compute: ComputeType) -> Result<Rates, RunError> {
    let selected = choice.select()?.computing(compute)?;
    let _computing = Computing::begin(compute);
    let rates = measure(&selected.device);
    let Some(path) = place() else {
        return Err(RunError::setting(
            "`calibrate`",
            "there is no place for the cache",
            "set PEFT_CACHE to a folder",
        ));
    };
    let mut all = kept(&path);
    all.insert(key(&selected, compute), rates);
    let folder = path.parent().unwrap_or(&path);
    fs::create_dir_all(folder).map_err(|error| fault(folder, &error))?;
    let text = serde_json::to_string_pretty(&all).unwrap_or_default() + "\n";
    write_atomic_bytes(&path, text.as_bytes())?;
    Ok(rates)
}

fn place() -> Option<PathBuf> {
    Some(cache_folder()?.join(NAME))
}

/// All machines' rates; nothing where the file is missing or broken, for it can be measured again.
fn kept(path: &PathBuf) -> BTreeMap<String, Rates> {
    let small = fs::metadata(path).is_ok_and(|m| m.is_file() && m.len() <= LIMIT);
    let text = small.then(|| fs::read_to_string(path).ok()).flatten();
    let all: Option<BTreeMap<String, Rates>> =
        text.and_then(|text| serde_json::from_str(&text).ok());
    let mut all = all.unwrap_or_default();
    let sound = |rate: f64| rate.is_finite() && rate > 0.0;
    all.retain(|_, rates| sound(rates.operations_per_s) && sound(rates.bytes_per_s));
    all
}

/// Processor, threads, device, type of products and version.
fn key(selected: &SelectedDevice, compute: ComputeType) -> String {
    // What follows is why the device was chosen.
    let ends = [", ", ": "].map(|end| selected.reason.find(end));
    let end = ends.into_iter().flatten().min();
    let device = &selected.reason[..end.unwrap_or(selected.reason.len())];
    let profile = if cfg!(debug_assertions) { " dev" } else { "" };
    let products = match compute {
        ComputeType::F32 => "",
        ComputeType::Bf16 => " in bf16",
    };
    format!(
        "{}; {} threads; {device}{products}; peft {}{profile}",
        processor(),
        rayon::current_num_threads(),
        env!("CARGO_PKG_VERSION"),
    )
}

/// The processor and its threads, in words.
pub(crate) fn machine() -> String {
    format!("{}, {} threads", processor(), rayon::current_num_threads())
}

fn processor() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = text
        .lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(field, _)| field.trim() == "model name")
        .map(|(_, name)| name.trim().to_owned());
    name.unwrap_or_else(|| std::env::consts::ARCH.to_owned())
}

/// The sizes are those of a small encoder's batch.
fn measure(device: &Device) -> Rates {
    let matrix = |rows: usize, columns: usize| -> Tensor<2> {
        let values = normal(0, rows * columns);
        Tensor::from_data(TensorData::new(values, [rows, columns]), device)
    };
    let (tokens, width) = (1024, 768);
    let (x, weight) = (matrix(tokens, width), matrix(width, width));
    let product = seconds(|| linear(x.clone(), weight.clone(), None));
    let (tokens, ones) = (8192, Tensor::<1>::ones([width], device));
    let wide = matrix(tokens, width);
    let pass = seconds(|| layer_norm(wide.clone(), ones.clone(), ones.clone(), 1e-5));
    Rates {
        operations_per_s: (2 * 1024 * width * width) as f64 / product,
        bytes_per_s: (2 * 4 * tokens * width) as f64 / pass,
    }
}

/// The median time of a computation, repeated for a while.
fn seconds(mut compute: impl FnMut() -> Tensor<2>) -> f64 {
    let mut run = || {
        let start = Instant::now();
        // Reading a value waits for a device that works by itself.
        let _ = compute().narrow(0, 0, 1).narrow(1, 0, 1).into_data();
        start.elapsed().as_secs_f64()
    };
    run();
    let (start, mut times) = (Instant::now(), Vec::new());
    while start.elapsed() < MEASURED || times.len() < 3 {
        times.push(run());
    }
    times.sort_by(f64::total_cmp);
    times[times.len() / 2].max(f64::MIN_POSITIVE)
}
