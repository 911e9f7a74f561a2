"""Architectures by name. Each name is a file with ``Options`` and ``build``, imported on first use."""

NAMES = (
    "cnn",
    "densenet40",
    "gpt",
    "mlp",
    "pinn",
    "resnet18",
    "resnet50",
    "transformer",
    "vgg11",
    "vit",
)
