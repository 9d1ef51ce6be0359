"""Metrics as pure functions, one subject a file; nothing of ours is imported here.

What a library already computes is taken from it where it is used: LPIPS and ST-LPIPS from their
authors' packages, the confusion matrix and KID's subsets from torchmetrics.
"""
