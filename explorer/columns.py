"""What every column of every table means: its name, its type, its unit.

Each column name is defined once, here. ``docs/tables.md`` is printed from this module
(``python -m explorer.report.reference``), and the tests compare it with what a run really writes.
A space's own axes appear as columns of ``models``, ``pairs`` and ``cells`` under the name of the
setting (``width``, ``batch_size``, …).
"""

from __future__ import annotations

from typing import NamedTuple


class Column(NamedTuple):
    """``kind``: text, integer, number, numbers (a list), flag; ``unit`` is empty for pure numbers."""

    kind: str
    unit: str
    meaning: str


IDS: dict[str, Column] = {
    "model_id": Column("text", "", "the model: a hash of everything that decides it"),
    "cell_id": Column("text", "", "the grid point: a hash of its settings without the seed"),
}

SETTINGS: dict[str, Column] = {
    "task": Column("text", "", "what is learnt"),
    "dataset": Column("text", "", "data set by name"),
    "architecture": Column("text", "", "architecture by name"),
    "seed": Column("integer", "", "replicate within the cell, from 0"),
}

MODELS: dict[str, Column] = {
    "status": Column(
        "text", "", "`ok`, `diverged` (not finite, or dead: one answer for all inputs) or `failed`"
    ),
    "error": Column("text", "", "what went wrong; empty when all is well"),
    "steps": Column(
        "integer",
        "optimiser steps",
        "steps trained, up to the model's checkpoint or early stop; the axis's value, where it is an axis",
    ),
    "train_loss": Column(
        "number",
        "nats",
        "mean loss on the training set, evaluation mode: cross-entropy (a token), or squared error",
    ),
    "train_error_percent": Column(
        "number",
        "percent",
        "error on the training set (with its noisy labels): 0/1, of tokens, or unexplained variance",
    ),
    "test_loss": Column("number", "nats", "mean loss on the test set"),
    "test_accuracy_percent": Column(
        "number", "percent", "100 less the error on the test set (labels always clean)"
    ),
    "parameters": Column("integer", "", "trainable parameters of the model"),
    "wall_s": Column("number", "seconds", "training time of the model's stack divided by its models"),
    "weights_sha256": Column("text", "", "SHA-256 of the file of its weights, by which damage is noticed"),
    "stack": Column("text", "", "stack it was trained in; its weights are `weights/<stack>.safetensors`"),
    "peak_memory_mb": Column(
        "number", "megabytes", "peak memory of the worker (of the GPU, where there is one)"
    ),
    "hessian_top_eigenvalue": Column(
        "number", "", "largest eigenvalue of the Hessian of the mean training loss"
    ),
    "hessian_trace": Column("number", "", "trace of that Hessian (Hutchinson estimate)"),
    "hessian_trace_stderr": Column("number", "", "standard error of the trace over probes"),
    "hessian_bottom_eigenvalue": Column(
        "number", "", "its smallest eigenvalue, signed; only a bound from above without `smallest: true`"
    ),
    "hessian_eigenvalues": Column(
        "numbers", "", "its largest eigenvalues, falling (as many as `top` asks for)"
    ),
    "hessian_converged": Column(
        "flag", "", "eigenvalues and trace reached their tolerance within the budget"
    ),
    "density_nodes": Column(
        "numbers", "", "eigenvalues at which the spectral density of the Hessian has mass"
    ),
    "density_weights": Column(
        "numbers", "", "share of the eigenvalues at each of `density_nodes`; they sum to 1"
    ),
    "sharpness": Column("number", "nats", "rise of the training loss to the highest point within the radius"),
    "adaptive_sharpness": Column("number", "nats", "the same, distances taken relative to each parameter"),
    "noise_scale": Column("number", "inputs", "gradient noise scale tr Σ / |G|²"),
    "noise_scale_stderr": Column("number", "inputs", "its jackknife standard error"),
    "spectral_alpha": Column(
        "number", "", "heavy-tail exponent of the weight matrices' spectra, mean over layers"
    ),
    "spectral_alpha_weighted": Column(
        "number", "", "mean over layers of alpha · log₁₀ of the largest eigenvalue"
    ),
    "bleu": Column("number", "", "BLEU of the test sentences' translations, 0 to 100 (corpus, sacrebleu)"),
    "bleu_copy": Column("number", "", "the same of the source sentences, copied as their translation"),
    "train_perplexity": Column("number", "", "exp of the mean loss of a training token"),
    "test_perplexity": Column("number", "", "exp of the mean loss of a test token"),
    "bits_per_character": Column("number", "bits", "test loss in bits, where tokens are characters"),
}

EPOCHS: dict[str, Column] = {
    "step": Column("integer", "optimiser steps", "steps done"),
    "epoch": Column("number", "epochs", "passes over the training set done"),
    "learning_rate": Column("number", "", "rate of the next step (of the last step, at the end)"),
    **{k: MODELS[k] for k in ("train_loss", "train_error_percent", "test_loss", "test_accuracy_percent")},
}

PAIR_IDS: dict[str, Column] = {
    "model_a": Column("text", "", "`model_id` of the first model"),
    "model_b": Column("text", "", "`model_id` of the second model"),
    "seed_a": Column("integer", "", "seed of the first model"),
    "seed_b": Column("integer", "", "seed of the second model"),
    "cell_id_b": Column(
        "text", "", "`cell_id` of the second model; another one only for pairs beyond the cell"
    ),
}

PAIRS: dict[str, Column] = {
    "mode_connectivity": Column(
        "number",
        "percentage points",
        "m − e(t*): mean training error of the two ends, less the error at the point "
        "of the Bézier curve that differs most from it; negative = barrier, positive = better than the ends",
    ),
    "barrier": Column(
        "number",
        "percentage points",
        "largest rise of the training error along the curve above m, at least 0",
    ),
    "dip": Column(
        "number",
        "percentage points",
        "largest fall of the training error along the curve below m, at least 0",
    ),
    "loss_barrier": Column(
        "number", "nats", "largest rise of the training loss along the curve above its ends' mean"
    ),
    "linear_barrier": Column(
        "number", "percentage points", "`barrier` along the straight line instead of the curve"
    ),
    "linear_loss_barrier": Column("number", "nats", "`loss_barrier` along the straight line"),
    "curve_steps": Column(
        "integer", "optimiser steps", "budget of the curve fit (mode connectivity depends on it)"
    ),
    "curve_converged": Column(
        "flag", "", "the loss along the curve had stopped falling: more steps would change little"
    ),
    "curve_loss_fall": Column(
        "number", "nats", "how much the loss along the curve still fell at the full learning rate"
    ),
    "aligned_linear_barrier": Column(
        "number",
        "percentage points",
        "`linear_barrier` after the hidden units of `model_b` are permuted to match",
    ),
    "aligned_linear_loss_barrier": Column("number", "nats", "`linear_loss_barrier` after that permutation"),
    "aligned_l2_distance": Column("number", "", "`l2_distance` after that permutation"),
    "cka": Column(
        "number", "", "linear CKA (biased) of the softmax outputs on mixed-up training inputs; 1 = alike"
    ),
    "cka_logits": Column("number", "", "the same of the logits"),
    "cka_debiased": Column("number", "", "`cka` with the debiased HSIC estimate"),
    "disagreement_percent": Column(
        "number",
        "percent",
        "share of test inputs on which the two models answer differently; of numbers, 100 times the mean "
        "squared difference",
    ),
    "l2_distance": Column("number", "", "Euclidean distance of the two parameter vectors"),
    "status": Column("text", "", "`ok`, or `failed` where nothing of the pair could be measured"),
    "error": Column("text", "", "what went wrong, maybe in one measure only; empty when all is well"),
}

CURVES: dict[str, Column] = {
    "path": Column("text", "", "`bezier` (fitted) or `linear` (straight)"),
    "t": Column("number", "", "place on the path: 0 = `model_a`, 1 = `model_b`"),
    "train_loss": MODELS["train_loss"],
    "train_error_percent": MODELS["train_error_percent"],
    "test_loss": MODELS["test_loss"],
    "test_error_percent": Column("number", "percent", "error on the test set, of the same kind"),
}

# Averaged over the models and the pairs of a cell: the mean keeps the name, `<name>_std` is the spread.
AVERAGED_MODELS = (
    "train_loss",
    "train_error_percent",
    "test_loss",
    "test_accuracy_percent",
    "hessian_top_eigenvalue",
    "hessian_trace",
    "hessian_bottom_eigenvalue",
    "sharpness",
    "adaptive_sharpness",
    "noise_scale",
    "spectral_alpha",
    "spectral_alpha_weighted",
    "bleu",
    "bleu_copy",
    "train_perplexity",
    "test_perplexity",
    "bits_per_character",
)
OF_CURVES = (  # which some pairs of a cell may be without
    "mode_connectivity",
    "barrier",
    "dip",
    "loss_barrier",
    "linear_barrier",
    "linear_loss_barrier",
)
AVERAGED_PAIRS = (
    *OF_CURVES,
    "cka",
    "cka_logits",
    "disagreement_percent",
    "l2_distance",
    "cka_debiased",
    "aligned_linear_barrier",
    "aligned_linear_loss_barrier",
    "aligned_l2_distance",
)

CELLS: dict[str, Column] = {
    "n_models": Column("integer", "", "models that count: status `ok`"),
    "n_diverged": Column("integer", "", "models left out: status `diverged` or `failed`"),
    "n_pairs": Column("integer", "", "pairs that count"),
    "n_curves": Column("integer", "", "those that have a curve: of so many is the mean mode connectivity"),
    "phase": Column("text", "", "`I`, `II`, `III`, `IV-A`, `IV-B`; empty where a measure is missing"),
    "near_cut": Column("text", "", "cuts that the cell lies so near to that its spread reaches over them"),
    "ensemble_accuracy_percent": Column(
        "number", "percent", "test accuracy of the majority vote of the cell's models"
    ),
    "ensemble_improvement_rate": Column(
        "number", "", "(E − V) / E: E the mean error of a model, V that of the vote"
    ),
    "disagreement_error_ratio": Column(
        "number",
        "",
        "D / E: D the share of inputs on which two models disagree (of numbers, E and D are squares)",
    ),
    "ensemble_models": Column("integer", "", "models that voted"),
}

EVERY: dict[str, Column] = {**IDS, **SETTINGS, **EPOCHS, **CURVES, **PAIR_IDS, **PAIRS, **MODELS, **CELLS}
