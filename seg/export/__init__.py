"""A checkpoint on its way to other runtimes: folded, traced, checked, quantised, and run again."""
