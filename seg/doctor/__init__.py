"""Examinations: whether a data set is fit to train on, and whether a set-up is able to learn."""
