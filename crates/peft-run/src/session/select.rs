//! Which adapter is kept.

use burn::module::Module;
use peft_core::save_adapter;
use peft_data::Dataset;
use peft_models::Model;
use peft_train::{BadTensor, Confusion, Evaluation, TrainError, first_not_finite};

use super::Session;
use crate::{
    RunError,
    checkpoint::Best,
    evaluate::evaluate_rows,
    event::{Event, fault},
    features::{FeaturesOf, Split},
    report::worst::{self, Evaluated, worst_rows},
};

/// The part of the output folder that holds the newest adapter, whatever its quality.
pub const LAST: &str = "last";
/// Rows a batch when evaluating, where no gradients are kept.
pub(crate) const EVAL_BATCH: usize = 64;

impl Session<'_> {
    /// Evaluate the adapter, save it as the last one, and as the best one if it is; returns the best.
    ///
    /// A run that is killed in here has a checkpoint from before, and comes through here again.
    pub fn select(&mut self, epoch: f64) -> Result<Best, RunError> {
        let step = self.state.step;
        if let Some(best) = &self.state.best
            && (best.step == step || self.state.selected == Some(step))
        {
            return Ok(best.clone());
        }
        let model = self.model.valid();
        let (selection, mut predictions) = self.evaluate(&model, &self.select, Split::Select)?;
        self.evaluated(step, epoch, "selection", &selection)?;
        self.warn_of_one_class(&selection);
        // The rows that only report choose nothing; their curve is of the whole run.
        let report = match &self.report {
            Some(data) => {
                let (report, of_rows) = self.evaluate(&model, data, Split::Report)?;
                predictions = of_rows;
                Some(report)
            }
            None => None,
        };
        if let Some(report) = &report {
            self.evaluated(step, epoch, "report", report)?;
        }
        let (shown, split) = match &self.report {
            Some(data) => (data, "report"),
            None => (&self.select, "selection"),
        };
        let (labels, most) = (&self.task.labels, self.config.worst_rows);
        let worst = worst_rows(shown, split, &predictions, labels, &self.tokenizer, most);
        self.save(&model, LAST)?;
        if let Some(best) = &self.state.best
            && !self.selector.better(&selection, &best.selection)
        {
            let best = best.clone();
            self.state.waited += 1;
            self.state.selected = Some(step);
            return Ok(best);
        }
        self.save(&model, "")?;
        worst::write(&worst, &self.config.output)?;
        let best = Best {
            step,
            selection,
            report,
        };
        self.state.best = Some(best.clone());
        self.state.waited = 0;
        self.state.selected = Some(step);
        Ok(best)
    }

    /// Tell where every row is predicted to have one class, which accuracy may hide.
    fn warn_of_one_class(&mut self, selection: &Evaluation) {
        let only = selection
            .confusion
            .as_ref()
            .and_then(Confusion::only_prediction);
        let Some(label) = only.and_then(|class| self.task.labels.get(class)) else {
            return;
        };
        let text = format!(
            "after step {} every row of the selection is predicted to be `{}`, so nothing is learned yet; if it stays so, \
             change the setting `learning_rate`, train longer, or balance the classes with the setting `class_weights`",
            self.state.step,
            peft_format::shorten(label)
        );
        self.recorder.progress.notice(&text);
    }

    fn evaluate(&self, model: &Model, data: &Dataset, split: Split) -> Result<Evaluated, RunError> {
        let device = self.device.clone().inner();
        let objective = self.objective.as_ref();
        // Of the model with gradients: this one tells no more what is trained.
        let features = self.features.as_deref();
        let features = features.map(|features| FeaturesOf::new(features, &self.model, split));
        let evaluated = evaluate_rows(model, data, objective, EVAL_BATCH, &device, features);
        let module = match evaluated {
            Ok(evaluated) if evaluated.0.loss.is_finite() => return Ok(evaluated),
            Ok(_) => None,
            Err(RunError::NotFinite { module, .. }) => module,
            Err(other) => return Err(other),
        };
        let parameter = first_not_finite(model).map(BadTensor::Parameter);
        let module = module.map(BadTensor::Output);
        let what = parameter.or(module);
        let what = what.unwrap_or(BadTensor::Evaluation(split.name()));
        let error = TrainError::NotFinite {
            step: self.state.step,
            what,
            learning_rate: self.trainer.config().learning_rate,
        };
        Err(self.named(error.into()))
    }

    fn evaluated(
        &mut self,
        step: u64,
        epoch: f64,
        split: &'static str,
        evaluation: &Evaluation,
    ) -> Result<(), RunError> {
        let (loss, metrics) = (evaluation.loss, evaluation.metrics.clone());
        self.recorder.event(&Event::Eval {
            step,
            epoch,
            split,
            loss,
            metrics,
        })
    }

    /// Write the adapter into a part of the output folder.
    pub fn save(&self, model: &Model, part: &str) -> Result<(), RunError> {
        let folder = self.config.output.join(part);
        std::fs::create_dir_all(&folder).map_err(|error| fault(&folder, &error))?;
        let method = self.method.as_ref();
        let mut config = self.adapter_config.clone();
        // A folder of this machine says nothing elsewhere.
        if let Some(name) = self.base.hub_name() {
            config.set("base_model_name_or_path", name)?;
        }
        save_adapter(model, &folder, &config, method, &self.names)?;
        self.task.write(&folder)?;
        self.base.write(&folder)
    }
}
