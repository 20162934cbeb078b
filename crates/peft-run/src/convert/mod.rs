//! An adapter written for other programs: as LoRA, or bottleneck modules as AdapterHub's library has them.

mod adapterhub;
mod error;
mod factors;
mod gguf;
mod lora;
mod mlx;

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    path::Path,
    str::FromStr,
};

use burn::tensor::Device;
use peft_core::{LoadedAdapter, Method};
use peft_format::{AdapterConfig, adapterhub::AdapterHubFolder, atomic::AtomicDir};
use peft_models::ModelFolder;
use serde::Serialize;

use self::factors::Factors;
use crate::{
    BaseFile, RunError, TaskFile, base,
    merge::{Places, head_of},
    occupied::expect_ours,
    open::{expect_covered, fit_adapter, fit_tie, read_with_method},
    sidecar, task,
};

/// What a conversion came to, beside the adapter: it says that the folder is ours.
const REPORT: &str = "convert.json";

/// Whose files a conversion writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AdapterFormat {
    /// Plain LoRA of Hugging Face PEFT.
    #[default]
    Lora,
    /// An adapter folder of MLX-LM.
    Mlx,
    /// A LoRA adapter of llama.cpp, in GGUF form.
    Gguf,
    /// Bottleneck modules of AdapterHub's library `adapters`.
    AdapterHub,
}

impl FromStr for AdapterFormat {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "lora" => Ok(Self::Lora),
            "mlx" => Ok(Self::Mlx),
            "gguf" => Ok(Self::Gguf),
            "adapterhub" => Ok(Self::AdapterHub),
            _ => Err("the formats are lora, mlx, gguf and adapterhub".into()),
        }
    }
}

impl AdapterFormat {
    /// What is written of the adapter itself.
    fn files(self) -> &'static [&'static str] {
        match self {
            Self::Lora => &["adapter_config.json", "adapter_model.safetensors"],
            Self::Mlx => &["adapter_config.json", "adapters.safetensors"],
            Self::Gguf => &[gguf::NAME],
            Self::AdapterHub => &AdapterHubFolder::FILES,
        }
    }
}

/// What [`convert`] is asked for.
#[derive(Debug, Clone, Copy)]
pub struct ConvertOptions<'a> {
    /// Hugging Face model folder or GGUF file: the base, for the widths and the heads of its weights.
    pub model: &'a Path,
    /// Adapter folder, of PEFT or of MLX-LM.
    pub adapter: &'a Path,
    /// Folder to write.
    pub output: &'a Path,
    /// Whose files to write.
    pub to: AdapterFormat,
    /// Convert even with another base than the one the adapter was trained on.
    pub any_base: bool,
    /// Replace what an earlier conversion wrote.
    pub overwrite: bool,
    /// Where to compute.
    pub device: &'a Device,
}

/// What converting did.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ConvertReport {
    /// Adapted weights.
    pub modules: usize,
    /// Largest rank; of bottleneck modules their width.
    pub rank: usize,
    /// Values of the factors, or of the modules.
    pub parameters: usize,
    /// Parameters carried over in full: the head.
    pub saved: usize,
    /// Largest of [`errors`](Self::errors).
    pub relative_error: f64,
    /// The layer on which Hugging Face PEFT refuses what was written for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refused_by_peft: Option<&'static str>,
    /// Of every adapted weight, the error of the update that the written files say against the adapter's
    /// own, relative to the largest of its elements: what rounding the two factors to `f32` cost. Of a bottleneck
    /// module that of its values, which are written as they are.
    pub errors: BTreeMap<String, f64>,
}

/// Writes the files of a format; the error of each module.
type Writer = fn(&Conversion, &[Factors], &Path) -> Result<BTreeMap<String, f64>, RunError>;

/// A conversion under way.
struct Conversion<'a> {
    options: &'a ConvertOptions<'a>,
    folder: &'a ModelFolder,
    places: &'a Places<'a>,
    loaded: &'a LoadedAdapter,
    /// Is told how many of how many modules are done; each is read, and looked at again once it is written.
    watch: RefCell<&'a mut dyn FnMut(u64, u64)>,
    done: Cell<u64>,
}

/// Write an adapter whose updates are products of two narrow matrices as LoRA: for Hugging Face PEFT, for
/// MLX-LM (DoRA, too), or for llama.cpp; or one of bottleneck modules for AdapterHub's library. The folder appears
/// whole or not at all.
///
/// In PEFT's files `r` and `lora_alpha` are the product's rank, so the scale is 1; in the others it is the
/// adapter's own. The head and other modules saved in full come along into PEFT's files. The records of
/// the task and the base come along into all of them.
///
/// # Errors
/// If an update is no such product, the format has no place for a part of the adapter, the adapter belongs
/// to another base, is the folder to write or is not finite; if files cannot be read or written, or the
/// folder to write holds anything but a conversion that may be replaced.
pub fn convert(options: &ConvertOptions) -> Result<ConvertReport, RunError> {
    convert_watched(options, &mut |_, _| ())
}

/// As [`convert`]; `done` is told after every module how many of how many are done, where each counts twice:
/// once when its factors are there, and once when its error is measured.
///
/// # Errors
/// As [`convert`].
pub fn convert_watched(
    options: &ConvertOptions,
    done: &mut dyn FnMut(u64, u64),
) -> Result<ConvertReport, RunError> {
    written(options, done).map_err(|error| error.of_adapter(options.adapter))
}

fn written(
    options: &ConvertOptions,
    done: &mut dyn FnMut(u64, u64),
) -> Result<ConvertReport, RunError> {
    let mut folder = ModelFolder::open(options.model)?;
    let (method, mut loaded) = read_with_method(options.adapter)?;
    fit_tie(&mut folder, &loaded)?;
    fit_adapter(&folder, &mut loaded)?;
    if !options.any_base {
        BaseFile::expect(options.adapter, &folder)?;
    }
    let same = |path: &Path| std::fs::canonicalize(path).ok();
    if options.output.exists() && same(options.output) == same(options.adapter) {
        return Err(RunError::setting(
            "`output`",
            "it is the adapter's own folder",
            "give another folder",
        ));
    }
    let own = [REPORT, task::NAME, base::NAME];
    let names: Vec<&str> = own.iter().chain(options.to.files()).copied().collect();
    expect_ours(options.output, &names, options.overwrite)?;
    let task = TaskFile::read(options.adapter)?;
    let head = head_of(&folder, Some(&loaded), task.as_ref());
    let layout = folder.layout(head)?;
    loaded.spread(method.as_ref(), &layout.sites)?;
    expect_covered(options.adapter, &folder, head, method.as_ref(), &loaded)?;
    let staged = AtomicDir::create(options.output)?;
    let of_factors: Option<Writer> = match options.to {
        AdapterFormat::Lora => Some(lora::write),
        AdapterFormat::Mlx => Some(mlx::write),
        AdapterFormat::Gguf => Some(gguf::write),
        AdapterFormat::AdapterHub => None,
    };
    let report = match of_factors {
        None => {
            let base = adapterhub::Base {
                folder: &folder,
                layout: &layout,
                task: task.as_ref(),
            };
            base.write(method.as_ref(), &loaded, staged.path())?
        }
        Some(writer) => {
            let places = Places::find(&folder, &layout, method.as_ref(), &loaded)?;
            let conversion = Conversion {
                options,
                folder: &folder,
                places: &places,
                loaded: &loaded,
                watch: RefCell::new(done),
                done: Cell::new(0),
            };
            conversion.write(writer, method.as_ref(), staged.path())?
        }
    };
    if let Some(task) = task {
        task.write(staged.path())?;
    }
    if let Some(base) = BaseFile::read(options.adapter)? {
        base.write(staged.path())?;
    }
    sidecar::write(staged.path(), REPORT, &report)?;
    staged.commit()?;
    Ok(report)
}

impl Conversion<'_> {
    /// Write the files of a format of factors.
    fn write(
        &self,
        writer: Writer,
        method: &dyn Method,
        folder: &Path,
    ) -> Result<ConvertReport, RunError> {
        let all = factors::all(self, method)?;
        let errors = writer(self, &all, folder)?;
        let values = |factors: &Factors| factors.a.len() + factors.b.len();
        Ok(ConvertReport {
            modules: all.len(),
            rank: all.iter().map(|factors| factors.rank).max().unwrap_or(0),
            parameters: all.iter().map(values).sum(),
            saved: self.loaded.saved.len(),
            relative_error: errors.values().copied().fold(0.0, f64::max),
            refused_by_peft: match self.options.to {
                AdapterFormat::Lora => AdapterConfig::read(folder)?
                    .refused_by_peft(&self.folder.description().model_type),
                _ => None,
            },
            errors,
        })
    }

    /// One more module is done.
    fn advance(&self) {
        let adapted = self.places.adapted.values();
        let modules = adapted.filter(|adapted| !adapted.bias).count() as u64;
        self.done.set(self.done.get() + 1);
        (self.watch.borrow_mut())(self.done.get(), 2 * modules);
    }

    /// Refuse factors of tables, and those of a head that is the table of tokens, for which the format has no
    /// place.
    fn expect_matrices(&self, all: &[Factors], whose: &str, then: &str) -> Result<(), RunError> {
        let refuse = |problem: String| {
            let fix = format!("merge the adapter into its base with `peft merge`, then {then}");
            Err(RunError::setting("`adapter`", problem, fix))
        };
        if let Some(table) = all.iter().find(|factors| factors.table) {
            return refuse(format!(
                "`{}` is a table, and {whose} are for matrices",
                table.module
            ));
        }
        let tied = self.folder.tied_head();
        let is_head = |factors: &&Factors| {
            let head = tied.as_ref().map(|tied| tied.head.as_str());
            head == Some(factors.module.as_str())
        };
        match all.iter().find(is_head) {
            None => Ok(()),
            Some(head) => refuse(format!(
                "`{}` is the table of tokens in the base, and {whose} have no place for one of them alone",
                head.module
            )),
        }
    }

    /// Refuse parameters saved in full, which the format has no place for.
    fn expect_factors_alone(&self, whose: &str, then: &str) -> Result<(), RunError> {
        let saved: Vec<&String> = self.loaded.saved.keys().collect();
        let Some(first) = saved.first() else {
            return Ok(());
        };
        let more = match saved.len() {
            1 => " is".to_owned(),
            count => format!(" and {} more are", count - 1),
        };
        Err(RunError::setting(
            "`adapter`",
            format!(
                "`{first}`{more} saved in full (`modules_to_save`), and {whose} hold the factors of LoRA alone"
            ),
            format!("merge the adapter into its base with `peft merge`, then {then}"),
        ))
    }
}
