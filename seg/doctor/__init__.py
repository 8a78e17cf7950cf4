"""Examinations: whether a data set is fit to train on."""
