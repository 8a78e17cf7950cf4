"""Semantic segmentation with PyTorch Lightning.

labels, probabilities = seg.load("best.ckpt").predict("photo.jpg")
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from seg.infer import Predictor
    from seg.loading import load

__version__ = "0.1.0"
__all__ = ["Predictor", "__version__", "load"]


def __getattr__(name: str) -> Any:
    """Import what predicts where it is asked for; `import seg` itself costs nothing."""
    if name == "load":
        from seg.loading import load

        return load
    if name == "Predictor":
        from seg.infer import Predictor

        return Predictor
    raise AttributeError(f"module 'seg' has no attribute '{name}'")
