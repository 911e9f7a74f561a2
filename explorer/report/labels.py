"""What a reader is told of each axis and measure: title, unit, number format, palette, what to see.

A new measure needs one line in ``MEASURES``; a new axis needs one in ``AXES`` only where its plain column
name would not do.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import NamedTuple

from explorer.phases import spoken
from explorer.tasks import Words


class Measure(NamedTuple):
    """``digits`` after the point in text (None: three significant)."""

    title: str
    unit: str
    see: str
    log: bool = False
    diverging: bool = False
    digits: int | None = None


class Axis(NamedTuple):
    """``hint`` says which end is hot or loaded. Hot is on top in a map, so batch size counts downwards."""

    title: str
    hint: str = ""
    large_on_top: bool = True


RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")

MEASURES: dict[str, Measure] = {
    "test_accuracy_percent": Measure(
        "Test accuracy", "%", "What all else is compared with: where do models generalise?", digits=1
    ),
    "train_loss": Measure(
        "Training loss",
        "nats",
        "Tells fitted from underfitted cells: look for the drop of ten times or more.",
        log=True,
    ),
    "mode_connectivity": Measure(
        "Mode connectivity",
        "points",
        "Percentage points of training error. Below 0 (orange) a barrier stands between replicates; near 0 "
        "they are connected; above 0 (blue) the curve found better points than its ends, so these had not "
        "converged.",
        diverging=True,
        digits=1,
    ),
    "loss_barrier": Measure(
        "Curve loss barrier",
        "nats",
        "Still tells cells apart where the training error is 0 everywhere and mode connectivity cannot.",
    ),
    "cka": Measure(
        "CKA similarity",
        "",
        "1: replicates answer alike. Among fitted, connected cells it tells IV-A from IV-B.",
    ),
    "hessian_top_eigenvalue": Measure(
        "Hessian top eigenvalue",
        "",
        "Large: the loss bends sharply in one direction. It tends to follow temperature.",
        log=True,
    ),
    "hessian_trace": Measure(
        "Hessian trace", "", "Large: the loss bends sharply in many directions.", log=True
    ),
    "train_error_percent": Measure(
        "Training error",
        "%",
        "Where it is 0 over a region, mode connectivity there is near 0 for that reason alone.",
        digits=2,
    ),
    "test_loss": Measure(
        "Test loss", "nats", "Can grow while accuracy holds: models that are sure of their mistakes."
    ),
    "disagreement_percent": Measure(
        "Disagreement", "%", "Share of test inputs that two replicates answer differently.", digits=1
    ),
    "l2_distance": Measure(
        "Parameter distance",
        "",
        "L2 norm: how far apart replicates end; grows with the number of parameters.",
    ),
    "linear_barrier": Measure(
        "Linear barrier",
        "points",
        "On the straight line; large nearly everywhere: unless their neurons are aligned, networks are "
        "seldom linearly connected.",
        digits=1,
    ),
    "linear_loss_barrier": Measure(
        "Linear loss barrier", "nats", "The rise of the training loss on the straight line."
    ),
    "barrier": Measure(
        "Curve barrier", "points", "Largest rise of the training error on the curve.", digits=1
    ),
    "dip": Measure(
        "Curve dip",
        "points",
        "Largest fall of the training error on the curve: ends not converged.",
        digits=1,
    ),
    "hessian_bottom_eigenvalue": Measure(
        "Hessian bottom eigenvalue",
        "",
        "Below 0: some direction still leads downhill, so training has not ended in a minimum.",
        diverging=True,
    ),
    "sharpness": Measure(
        "Sharpness",
        "nats",
        "Rise of the training loss to the highest point within a fixed radius.",
        log=True,
    ),
    "adaptive_sharpness": Measure(
        "Adaptive sharpness",
        "nats",
        "As sharpness, but distances are taken relative to each parameter, so that rescaling does not count.",
        log=True,
    ),
    "noise_scale": Measure(
        "Gradient noise scale",
        "inputs",
        "The batch size at which noise and gradient are of one size: above it, larger batches bring little.",
        log=True,
    ),
    "spectral_alpha": Measure(
        "Spectral exponent",
        "",
        "Exponent of the heavy tail of the weights' spectra, mean over layers; small: heavier tails.",
    ),
    "spectral_alpha_weighted": Measure(
        "Weighted spectral exponent",
        "",
        "The exponents weighted by the logarithm of each largest eigenvalue.",
    ),
    "cka_debiased": Measure(
        "CKA, debiased", "", "As CKA, without the bias that few inputs and wide layers bring.", digits=2
    ),
    "aligned_linear_barrier": Measure(
        "Aligned linear barrier",
        "points",
        "On the straight line once the hidden units are matched: what is left is no mere permutation.",
        digits=1,
    ),
    "aligned_linear_loss_barrier": Measure(
        "Aligned linear loss barrier", "nats", "The same for the training loss."
    ),
    "aligned_l2_distance": Measure(
        "Aligned parameter distance", "", "How far apart replicates are once their hidden units are matched."
    ),
    "ensemble_accuracy_percent": Measure(
        "Ensemble accuracy",
        "%",
        "Test accuracy of the vote of a cell's models: it gains most where they err differently.",
        digits=1,
    ),
    "ensemble_improvement_rate": Measure(
        "Ensemble improvement rate", "", "Share of a model's error that the vote does without."
    ),
    "disagreement_error_ratio": Measure(
        "Disagreement-error ratio", "", "Disagreement of two models over the error of one."
    ),
    "bleu": Measure(
        "BLEU",
        "",
        "How near the translations of test sentences come to the true ones, from 0 to 100.",
        digits=1,
    ),
    "bleu_copy": Measure(
        "BLEU of copying", "", "Of the source taken as its translation: what is worth nothing."
    ),
    "test_perplexity": Measure(
        "Test perplexity", "", "Tokens among which a model hesitates, as it were.", log=True
    ),
    "train_perplexity": Measure("Training perplexity", "", "The same of the training set.", log=True),
    "bits_per_character": Measure("Bits per character", "", "Of the test text; 8 is a plain file."),
    "cka_logits": Measure(
        "CKA of the logits", "", "As CKA, but before the softmax, which hides all but the top answer."
    ),
}

AXES: dict[str, Axis] = {
    "width": Axis("Width", "small = high load"),
    "train_size": Axis("Training-set size"),
    "label_noise": Axis("Label noise", "large = high load"),
    "pixel_noise": Axis("Pixel noise", "large = high load"),
    "batch_size": Axis("Batch size", "small = hot", large_on_top=False),
    "learning_rate": Axis("Learning rate", "large = hot"),
    "weight_decay": Axis("Weight decay", "large = hot"),
}


_words: ContextVar[Words] = ContextVar("words", default=Words())  # noqa: B039 (frozen)


@contextmanager
def in_words(words: Words) -> Iterator[None]:
    """Inside, labels and :func:`said` speak of a task in its own words."""
    before = _words.set(words)
    try:
        yield
    finally:
        _words.reset(before)


def said(text: str) -> str:
    """A sentence written for classification, in the words of the task that is drawn."""
    return _words.get().say(text)


def measure(name: str) -> Measure:
    """The label of a measure; one made from its column name where none is written down."""
    label = MEASURES.get(name, Measure(_sentence(name), "", ""))
    return label._replace(title=said(label.title), unit=said(label.unit), see=said(label.see))


def axis(name: str) -> Axis:
    """The label of an axis; one made from its column name where none is written down."""
    return AXES.get(name, Axis(_sentence(name)))


def measure_title(name: str, exponent: int = 0) -> str:
    """``Training loss (nats)``, with an exponent ``Training loss (10⁻³ nats)``."""
    label = measure(name)
    power = f"10{str(exponent).translate(RAISED)} " if exponent else ""
    unit = f"{power}{label.unit}".strip()
    return f"{label.title} ({unit})" if unit else label.title


def axis_title(name: str) -> str:
    """``Batch size (small = hot)``."""
    label = axis(name)
    return f"{label.title} ({label.hint})" if label.hint else label.title


def _sentence(name: str) -> str:
    words = spoken(name)
    return words[:1].upper() + words[1:]
