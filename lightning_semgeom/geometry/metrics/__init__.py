"""Figures over a stream of rows, as torchmetrics Metrics: these alone import torchmetrics."""
