"""Tensors in, numbers out: sums of rows and the figures that follow from them."""
