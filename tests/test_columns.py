"""Letters that take two places of a terminal, or none, leave columns straight."""

from types import SimpleNamespace

import numpy as np
import torch

from seg.columns import padded, places
from seg.crossval.summary import Summary
from seg.crossval.summary import table as folds_table
from seg.doctor.summary import _table as survey_table
from seg.metrics import scores, table


def test_places_are_those_of_a_terminal():
    for text, expected in (("road", 4), ("道路", 4), ("🚗 car", 6), ("e\u0301", 1), ("ｶﾞ", 2), ("", 0)):
        assert places(text) == expected, text
    assert padded("道路", 6) == "道路  "
    assert padded("道路", 3) == "道 "
    assert padded("pavement", 4) == "pave"


def test_figures_stand_under_each_other_whatever_the_script_of_a_name():
    matrix = torch.tensor([[3, 1, 0], [0, 4, 0], [1, 0, 2]])
    names = ["道路", "🚗 car", "sky"]
    summary = Summary(names, torch.eye(2, 3).numpy(), torch.zeros(2).numpy(), scores(matrix))
    survey = SimpleNamespace(data=SimpleNamespace(class_names=names), frequencies={"train": np.ones((2, 4))})
    examined = "\n".join(survey_table(SimpleNamespace(survey=survey)))
    for text in (table(scores(matrix), names), folds_table(summary), examined):
        assert len({places(line) for line in text.splitlines()[:4]}) == 1, text
