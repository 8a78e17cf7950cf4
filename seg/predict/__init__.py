"""Predicting files: images in; masks, pictures of them, annotations to correct and tables out.

`seg.load` is the way to predict from Python; what is here beside the command predicts many files at once.
"""

from seg.predict.command import main
from seg.predict.inputs import SUFFIXES, images_in
from seg.predict.plan import outputs_of
from seg.predict.run import predict_files

__all__ = ["SUFFIXES", "images_in", "main", "outputs_of", "predict_files"]
