"""Cross-validation: one run a fold, pooled and averaged."""
