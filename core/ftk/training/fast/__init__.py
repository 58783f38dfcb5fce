"""The fast path: rows without padding, fused adapter matmuls, a chunked loss, compiled layers.

Each part stands alone and gives the numbers of the plain path up to rounding; `passes.choose` decides which
of them a model and a device get.
"""
